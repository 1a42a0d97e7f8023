"""Shell completion: the script for a shell, and the names of plugins where an option takes one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from torch2grid_core.plugins.manager import PluginManager

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_TORCH2GRID_COMPLETE"

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def completion_command() -> click.Command:
    """``torch2grid completion SHELL``."""

    @click.command("completion", short_help="The script that completes torch2grid in your shell.")
    @click.argument("shell", type=click.Choice(SHELLS))
    def completion(shell: str) -> None:
        """Print the completion script of SHELL; load it in the shell's start-up file.

        \b
        bash:  eval "$(torch2grid completion bash)"            in ~/.bashrc
        zsh:   eval "$(torch2grid completion zsh)"             in ~/.zshrc
        fish:  torch2grid completion fish | source             in ~/.config/fish/config.fish
        """
        made = get_completion_class(shell)
        assert made is not None
        # source_vars alone: the class's own source() asks for the version of an installed bash, which CI may lack
        script = made(click.Command("torch2grid"), {}, "torch2grid", VARIABLE)
        click.echo(script.source_template % script.source_vars())

    return completion


def plugin_names(kind: str) -> Completer:
    """Completes the names of a kind; after the colon, its options."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        manager = context.find_object(PluginManager)
        if manager is None:
            return []
        name, colon, rest = incomplete.partition(":")
        if not colon:
            names = manager.names(kind).items()
            return [CompletionItem(key, help=each.summary) for key, each in names if key.startswith(incomplete)]
        head = incomplete[: len(incomplete) - len(rest.rpartition(",")[2])]
        partial = rest.rpartition(",")[2]
        options = manager.find(kind, name).options().values()
        return [CompletionItem(f"{head}{each.name}=", help=each.help) for each in options if each.name.startswith(partial)]

    return complete


def formats(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Completes formats, the last of a comma-separated list."""
    manager = context.find_object(PluginManager)
    head, comma, partial = incomplete.rpartition(",")
    known = manager.formats() if manager else []
    return [CompletionItem(f"{head}{comma}{name}") for name in known if name.startswith(partial)]


def quiet(complete: Any) -> Any:
    """A completer that offers nothing where it fails: completion must never print an error into a prompt."""

    def tried(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            return list(complete(context, parameter, incomplete))
        except Exception:
            return []

    return tried
