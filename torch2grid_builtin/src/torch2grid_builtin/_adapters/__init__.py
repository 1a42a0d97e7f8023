"""Adapters of low rank: the pairs of matrices that are stored, and the change of a weight that each stands for."""

DECODER = "adapter"  # the name of the decoder, by which what it composed is known
SOUGHT = ("lora_", ".lora.", "_lora.", ".hada_", ".lokr_", ".dora_scale")  # in names of adapters
