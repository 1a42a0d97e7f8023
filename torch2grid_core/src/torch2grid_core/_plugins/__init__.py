"""Finding plugins, keeping a record of each, and calling into them so that a broken one costs a line and nothing else."""
