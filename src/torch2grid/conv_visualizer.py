"""The kernels of convolutions."""

from torch2grid._compat import visualize_all_conv_layers

__all__ = ["visualize_all_conv_layers"]
