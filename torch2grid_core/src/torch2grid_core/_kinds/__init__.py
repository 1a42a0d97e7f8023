"""The kinds of things that plugins bring: a base class each, and the table that the manager and the CLI work from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A hook kind. hook: the hook that yields its classes; base: import path of its base class, ``module:Class``.

    usual: torch2grid itself comes with some.
    """

    name: str
    hook: str
    base: str
    usual: bool = True


KINDS = {
    kind.name: kind
    for kind in (
        Kind("source", "torch2grid_sources", "torch2grid_core._kinds.reading:SourceOpener", usual=False),
        Kind("loader", "torch2grid_loaders", "torch2grid_core._kinds.reading:Loader"),
        Kind("decoder", "torch2grid_decoders", "torch2grid_core._kinds.reading:Decoder", usual=False),
        Kind("filter", "torch2grid_filters", "torch2grid_core._kinds.reading:TensorFilter"),
        Kind("transformer", "torch2grid_transformers", "torch2grid_core._measures.transformer:GridTransformer"),
        Kind("view", "torch2grid_views", "torch2grid_core._kinds.view:View"),
        Kind("renderer", "torch2grid_renderers", "torch2grid_core._kinds.view:Renderer"),
        Kind("rule", "torch2grid_rules", "torch2grid_core._kinds.view:Rule"),
        Kind("executor", "torch2grid_executors", "torch2grid_core._kinds.running:ExecutorFactory", usual=False),
        Kind("listener", "torch2grid_listeners", "torch2grid_core._kinds.running:Listener", usual=False),
        Kind("settings", "torch2grid_settings", "torch2grid_core._kinds.running:PluginSettings", usual=False),
        Kind("command", "torch2grid_commands", "torch2grid_core._kinds.running:Command"),
    )
}
