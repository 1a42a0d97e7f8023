"""The kinds of things that plugins bring, one base class each, and the table that the manager and the CLI work from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A hook kind. hook: the hook that yields its classes; base: import path of its base class, ``module:Class``."""

    name: str
    hook: str
    base: str


KINDS = {
    kind.name: kind
    for kind in (
        Kind("source", "torch2grid_sources", "torch2grid_core.kinds.source_opener:SourceOpener"),
        Kind("loader", "torch2grid_loaders", "torch2grid_core.kinds.loader:Loader"),
        Kind("filter", "torch2grid_filters", "torch2grid_core.kinds.tensor_filter:TensorFilter"),
        Kind("transformer", "torch2grid_transformers", "torch2grid_core.kinds.transformer:GridTransformer"),
        Kind("view", "torch2grid_views", "torch2grid_core.kinds.view:View"),
        Kind("renderer", "torch2grid_renderers", "torch2grid_core.kinds.renderer:Renderer"),
        Kind("rule", "torch2grid_rules", "torch2grid_core.kinds.rule:Rule"),
        Kind("settings", "torch2grid_settings", "torch2grid_core.kinds.plugin_settings:PluginSettings"),
        Kind("command", "torch2grid_commands", "torch2grid_core.kinds.command:Command"),
    )
}
