"""What can be measured: needs, their collectors, and what they give."""
