"""What this plugin brings. torch2grid imports this module at every start: import heavy things where they are used."""

from __future__ import annotations

from torch2grid_core import Lazy, hookimpl


@hookimpl
def torch2grid_sources() -> list[Lazy]:
    return [Lazy("torch2grid_myplugin.source:PiecesOpener", "pieces", "the pieces of a file as one", schemes=("pieces",))]


@hookimpl
def torch2grid_loaders() -> list[Lazy]:
    return [Lazy("torch2grid_myplugin.loader:RawFloats", "raw_floats", "one matrix of float32 behind a line of text")]


@hookimpl
def torch2grid_decoders() -> list[Lazy]:
    return [Lazy("torch2grid_myplugin.decoder:RowScales", "row_scales", "codes with a scale for each row become weights")]


@hookimpl
def torch2grid_filters() -> list[Lazy]:
    return [Lazy("torch2grid_myplugin.filter:Dimensions", "dimensions", "tensors of at least so many dimensions")]


@hookimpl
def torch2grid_transformers() -> list[Lazy]:
    return [
        Lazy("torch2grid_myplugin.transformer:SortedUnits", "sorted_units", "each layer's output units, sorted by norm"),
        Lazy("torch2grid_myplugin.streaming:Shelves", "shelves", "every tensor on a shelf of its own"),
    ]


@hookimpl
def torch2grid_views() -> list[Lazy]:
    return [
        Lazy("torch2grid_myplugin.view:Spread", "spread", "the standard deviation of each tensor, as bars"),
        Lazy("torch2grid_myplugin.need:Signs", "signs", "how many weights of each tensor are negative, and positive"),
    ]


@hookimpl
def torch2grid_renderers() -> list[Lazy]:
    return [Lazy("torch2grid_myplugin.renderer:Tsv", "tsv", "tables with tabs between the columns", formats=("tsv",))]


@hookimpl
def torch2grid_rules() -> list[Lazy]:
    return [Lazy("torch2grid_myplugin.rule:LargeWeights", "large_weights", "weights beyond a limit")]


@hookimpl
def torch2grid_listeners() -> list[Lazy]:
    return [Lazy("torch2grid_myplugin.listener:PageLog", "page_log", "a text file with a line for each file that was written")]


@hookimpl
def torch2grid_commands() -> list[Lazy]:
    return [Lazy("torch2grid_myplugin.command:Count", "count", "count the weights of a checkpoint")]
