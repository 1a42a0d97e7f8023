"""Singular values of weights, and what random matrix theory says of them."""
