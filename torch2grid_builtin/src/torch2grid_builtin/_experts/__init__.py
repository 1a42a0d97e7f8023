"""The experts of mixtures: which weights are whose, and how they differ."""
