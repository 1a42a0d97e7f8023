"""Histograms of the weights, and the statistics table."""

from torch2grid._compat import compare_layer_statistics, create_histogram_overview, visualize_all_histograms

__all__ = ["compare_layer_statistics", "create_histogram_overview", "visualize_all_histograms"]
