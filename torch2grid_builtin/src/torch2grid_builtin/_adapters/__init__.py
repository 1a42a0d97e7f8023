"""Adapters of low rank: the pairs of matrices that are stored, and the change of a weight that each stands for."""
