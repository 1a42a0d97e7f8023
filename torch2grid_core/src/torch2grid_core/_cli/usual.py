"""What runs where nobody says otherwise. The names are looked up like any others, and may be missing."""

VIEW = "grid"
VIEW_OF_A_CHOICE = "layers"  # what is drawn of tensors that were chosen from the menu
OVERVIEW = "layers:each=false"  # all of them on one sheet
DEMO = "demo"  # a command that shows something without a model of one's own
