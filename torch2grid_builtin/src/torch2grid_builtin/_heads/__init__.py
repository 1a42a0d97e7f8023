"""The heads of attention: which weights are whose, and what their circuits are like."""
