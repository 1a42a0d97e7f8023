"""The command line, built from a plugin manager by functions."""
