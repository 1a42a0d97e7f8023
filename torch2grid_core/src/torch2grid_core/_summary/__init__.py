"""What a set of weights is in figures: distributions and per-unit profiles, mergeable, from one pass."""
