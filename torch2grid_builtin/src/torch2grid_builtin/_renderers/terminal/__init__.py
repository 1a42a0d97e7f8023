"""Pages as lines of text, with colours where the terminal has them."""
