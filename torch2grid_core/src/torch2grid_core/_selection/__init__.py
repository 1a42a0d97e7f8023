"""Which tensors of a checkpoint are drawn: by part, by filter, and by what a user types."""
