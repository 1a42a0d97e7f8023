"""Figures by matplotlib: a page laid out in whole pixels, saved as png, svg or pdf."""
