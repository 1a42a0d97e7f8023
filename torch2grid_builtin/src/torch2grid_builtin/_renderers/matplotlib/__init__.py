"""Figures by matplotlib: a page laid out in whole pixels, saved as png, jpg, webp, svg or pdf."""
