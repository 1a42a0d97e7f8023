"""Decoders of quantised checkpoints, a file for each family of formats: codes and scales become the weights they stand for."""
