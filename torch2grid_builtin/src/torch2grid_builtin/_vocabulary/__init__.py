"""Rows of embeddings and heads: which of them training has not reached, and the tokens that they stand for."""
