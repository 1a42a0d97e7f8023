"""Which tensors are drawn: by name, by position, by type and by size."""
