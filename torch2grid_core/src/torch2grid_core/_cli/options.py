"""The options of the core, declared once: for parsing, for help in groups, and for the pre-parser's arities."""

from __future__ import annotations

import math
from typing import Any

import click

from torch2grid_core._cli.completion import formats, owners, plugin_names, quiet

DRAWING, PICTURE, CHOOSING, PLUGINS, PROCESS = "Drawing", "Picture", "Choosing tensors", "Plugins", "Process"

_SPEC = "NAME[:KEY=VALUE,…]"


class GroupedOption(click.Option):
    """An option that says under which heading ``--help`` lists it, and that the environment can set.

    key: its name in a settings file, the long flag with underscores; variable: ``TORCH2GRID_`` and that in capitals.
    A flag that a file may set has a ``--no-`` form, so that the command line can take it back.
    """

    def __init__(self, declarations: list[str], group: str = DRAWING, **attributes: Any) -> None:
        self.key = next(flag for flag in declarations if flag.startswith("--"))[2:].replace("-", "_")
        self.variable = f"TORCH2GRID_{self.key.upper()}"
        self.group = group
        if group != PROCESS:
            attributes.setdefault("envvar", self.variable)
            if attributes.get("is_flag"):
                declarations = [f"{each}/--no-{each[2:]}" if each.startswith("--") else each for each in declarations]
        super().__init__(declarations, **attributes)

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The line of ``--help``, without the ``--no-`` form: it would double the page and say nothing."""
        record = super().get_help_record(ctx)
        return None if record is None else (record[0].partition(" / ")[0], record[1])

    def value_from_envvar(self, ctx: click.Context) -> Any:
        """The variable's text; a repeatable option takes it as one value, blanks and all."""
        if self.multiple:
            text = self.resolve_envvar_value(ctx)
            return None if text is None else (text,)
        return super().value_from_envvar(ctx)


def _finite(context: click.Context, parameter: click.Parameter, value: float) -> float:
    if not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a finite number")
    return value


def _limits(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    if value is None or value == "shared":
        return value
    parts = value.split(",")
    try:
        low, high = (float(part) for part in parts)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not LO,HI (two numbers)") from None
    if not (low < high and math.isfinite(low) and math.isfinite(high)):
        raise click.BadParameter(f"{value!r}: both must be finite, and the first number must be below the second")
    return low, high


def _formats(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part.strip().lower() for each in value for part in each.split(",") if part.strip())


def drawing_options() -> list[GroupedOption]:
    """The options of the drawing command that the core brings; views add a flag each."""
    return [
        GroupedOption(
            ["-o", "--output"],
            default="grids",
            show_default=True,
            metavar="DIR|FILE",
            type=click.Path(),
            help="Where pictures go; FILE.png takes one.",
        ),
        GroupedOption(
            ["--format", "--export", "formats"],
            multiple=True,
            shell_complete=quiet(formats),
            callback=_formats,
            metavar="LIST",
            help="File formats, such as png,svg,pdf.",
        ),
        GroupedOption(["--title"], default="", metavar="TEXT", help="A title of your own."),
        GroupedOption(
            ["--part"], default="", metavar="NAME", help="Another part of the file, such as optimizer; all shows everything."
        ),
        GroupedOption(["--include-buffers"], group=CHOOSING, is_flag=True, help="Draw counters and index buffers too."),
        GroupedOption(["--raw"], group=CHOOSING, is_flag=True, help="Show what is stored, without decoders."),
        GroupedOption(["-i", "--interactive"], is_flag=True, help="Choose tensors from a menu."),
        GroupedOption(
            ["-j", "--jobs"], type=click.IntRange(0), default=0, metavar="N", help="Processes; 0 is one a core, as needed."
        ),
        GroupedOption(
            ["--executor"],
            shell_complete=quiet(plugin_names("executor")),
            metavar="NAME[:URL]",
            help="Do the work where a plugin says.",
        ),
        GroupedOption(["-v", "--verbose"], is_flag=True, help="Say more: each tensor that was left out, and why."),
        GroupedOption(["-q", "--quiet"], is_flag=True, help="Say nothing but errors and the paths written."),
        GroupedOption(["--list-plugins"], is_flag=True, help="List the grid transformers and stop."),
        GroupedOption(["--colormap"], group=PICTURE, metavar="NAME", help="Colours, by any matplotlib name."),
        GroupedOption(
            ["--reduce"],
            group=PICTURE,
            type=click.Choice(["mean", "absmax", "rms", "min", "max"]),
            default="mean",
            show_default=True,
            help="How weights share a cell.",
        ),
        GroupedOption(
            ["--scale"],
            group=PICTURE,
            type=click.Choice(["auto", "symmetric", "minmax", "symlog"]),
            default="auto",
            show_default=True,
            help="Shape of the colour scale.",
        ),
        GroupedOption(
            ["--clip"],
            group=PICTURE,
            type=click.FloatRange(0.5, 1.0, min_open=True),
            default=0.995,
            show_default=True,
            metavar="SHARE",
            help="Quantile of the cells that the colour limits keep.",
        ),
        GroupedOption(["--limits"], group=PICTURE, callback=_limits, metavar="LO,HI|shared", help="Fixed colour limits."),
        GroupedOption(
            ["--threshold"],
            callback=_finite,
            group=PICTURE,
            type=click.FloatRange(0),
            default=1e-6,
            show_default=True,
            metavar="X",
            help="|weight| below X is near zero.",
        ),
        GroupedOption(
            ["--max-cells"],
            group=PICTURE,
            type=click.IntRange(1, 16384),
            default=2048,
            show_default=True,
            metavar="N",
            help="Cells a side of the grid, at most.",
        ),
        GroupedOption(
            ["--plugin"],
            group=PLUGINS,
            shell_complete=quiet(plugin_names("transformer")),
            metavar=_SPEC,
            help="The grid transformer; see --list-plugins.",
        ),
        GroupedOption(
            ["--view", "views"],
            group=PLUGINS,
            shell_complete=quiet(plugin_names("view")),
            multiple=True,
            metavar=_SPEC,
            help="A view, with options.",
        ),
        GroupedOption(
            ["--filter", "filters"],
            group=CHOOSING,
            shell_complete=quiet(plugin_names("filter")),
            multiple=True,
            metavar=_SPEC,
            help="Draw only what a filter keeps (repeatable).",
        ),
        GroupedOption(
            ["--loader"],
            group=PLUGINS,
            shell_complete=quiet(plugin_names("loader")),
            metavar="NAME",
            help="Read the file with this loader.",
        ),
        GroupedOption(
            ["--renderer"],
            group=PLUGINS,
            shell_complete=quiet(plugin_names("renderer")),
            metavar=_SPEC,
            help="Write files with this renderer.",
        ),
    ]


def standard_options(*keys: str) -> list[GroupedOption]:
    """The drawing command's own options of these keys, for a subcommand that takes the same: same words, same completion.

    Raises ``KeyError`` for a key that there is not.
    """
    options = {option.key: option for option in drawing_options()}
    return [options[key] for key in keys]


def process_options() -> list[GroupedOption]:
    """Options that hold for every command, before or after its name; read before any plugin is imported."""
    path = click.Path()
    return [
        GroupedOption(
            ["--load-plugin"], group=PROCESS, type=path, multiple=True, metavar="FILE.py", help="Add the plugin in a file."
        ),
        GroupedOption(["--no-plugins"], group=PROCESS, is_flag=True, help="Leave installed third-party plugins out."),
        GroupedOption(
            ["--disable-plugin"],
            group=PROCESS,
            shell_complete=quiet(owners),
            multiple=True,
            metavar="NAME",
            help="Leave a plugin or distribution out.",
        ),
        GroupedOption(["--config"], group=PROCESS, type=path, metavar="FILE", help="Settings from a YAML, JSON or TOML file."),
        GroupedOption(["--debug"], group=PROCESS, is_flag=True, help="Show tracebacks."),
    ]
