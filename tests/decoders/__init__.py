"""Decoders of quantised checkpoints."""
