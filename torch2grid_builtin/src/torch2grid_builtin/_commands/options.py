"""Options that subcommands share."""

from __future__ import annotations

import click

from torch2grid_core.commands import standard_options


def options_like_drawing(**help: str) -> list[click.Option]:
    """The drawing command's options of these keys, in this order: same words, same completion, same environment.

    help: what each does here, where that is not what it does there; empty leaves the drawing command's text.
    """
    options = standard_options(*help)
    for option in options:
        option.help = help[option.key] or option.help
    return list(options)


def listed(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """A callback: the words of a repeatable option, each of which may be several with commas between."""
    return tuple(part.strip() for each in value for part in each.split(",") if part.strip())
