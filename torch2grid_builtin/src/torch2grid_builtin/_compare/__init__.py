"""What changed between two checkpoints, or over many."""
