"""What is in a file: modules, totals, and the forms in which they are written."""
