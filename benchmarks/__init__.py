"""Measurements beside other tools: whole processes, in turn, medians. See README.md in this folder."""
