"""What is drawn of a checkpoint."""
