"""The linter for checkpoints: which rules it asks, what they found, and reports of it."""
