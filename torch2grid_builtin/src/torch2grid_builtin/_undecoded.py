"""Schemes of quantised weights that are known by the names of their tensors and not decoded: they are said."""

from __future__ import annotations

# Schemes that are known and not decoded: what the module of a weight holds, whole numbers or bytes under the first name.
OTHERS: dict[str, tuple[str, ...]] = {
    "AQLM": ("codes", "codebooks"),
    "VPTQ": ("indices", "centroids.weight"),
    "SpQR": ("dense_weights", "row_offsets"),
    "compressed-tensors' sparse bitmasks": ("bitmask", "compressed"),
    "Marlin's layout": ("B", "s"),
    "EETQ's order for a GPU's kernel": ("weight", "weight_scales"),
    "QuIP#": ("Qidxs", "SU", "SV"),
    "ExLlamaV2": ("q_weight", "q_scale", "q_groups"),
    "ExLlamaV3": ("trellis", "suh", "svh"),
    "HIGGS": ("weight", "scales", "tables"),
}
# Ends of names of which each of these has one, that no other scheme's is, and what names of VPTQ hold.
OTHER_ENDS = ("codebooks", "row_offsets", "bitmask", "s", "weight_scales", "Qidxs", "q_groups", "trellis", "tables")
OTHER_PARTS = ("centroids.weight",)
