"""The click application: the drawing command as default, the subcommands, and one help page for all of it."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem
from click_default_group import DefaultGroup

from torch2grid_core import __version__
from torch2grid_core.cli.completion import completion_command
from torch2grid_core.cli.config import ConfigFile, default_map
from torch2grid_core.cli.list_plugins import list_transformers, plugins_command
from torch2grid_core.cli.options import CHOOSING, DRAWING, PROCESS, GroupedOption, drawing_options, process_options
from torch2grid_core.cli.show_config import config_command
from torch2grid_core.errors import Torch2GridError
from torch2grid_core.plugins.discovery import BATTERIES
from torch2grid_core.plugins.guard import call, describe
from torch2grid_core.plugins.manager import PluginManager

VIEWS = "Views"
FILTERS = "torch2grid.filters"  # (name, value of its flag or None for a --filter spec), in the order of the line
_DEFAULT = "draw"
_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class App(DefaultGroup):  # type: ignore[misc]
    """The group: ``torch2grid MODEL …`` draws, ``torch2grid NAME …`` runs a subcommand, ours or a plugin's."""

    def __init__(self, manager: PluginManager, config: ConfigFile | None = None) -> None:
        super().__init__(
            "torch2grid",
            default=_DEFAULT,
            default_if_no_args=True,
            help="See every weight of a PyTorch checkpoint, without running its code.",
            context_settings=_CONTEXT,
        )
        self.manager, self.config = manager, config
        drawing = draw_command(manager)
        self.drawing = [each for each in drawing.params if isinstance(each, GroupedOption)]
        self.add_command(drawing)
        self.add_command(plugins_command())
        self.add_command(config_command(self.drawing, config))
        self.add_command(completion_command())
        self._own = set(self.commands)

    def defaults(self) -> dict[str, Any]:
        """The settings file as click's defaults. Raises ``UsageError`` for a wrong key or value."""
        found = default_map(self.config, self.drawing) if self.config else {}
        return {_DEFAULT: found, "config": found}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*self._own - {_DEFAULT}, *self.manager.names("command")})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self._own:
            return self.commands[cmd_name]
        provided = self.manager.names("command").get(cmd_name)
        if provided is None:
            found: click.Command | None = super().get_command(ctx, cmd_name)
            return found
        instance = provided.create()
        command = call(instance, instance.build)
        if not isinstance(command, click.Command):
            raise provided.origin.error(f"build returned {type(command).__name__}, not a click command")
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, Torch2GridError, BrokenPipeError):
            raise
        except Exception as error:
            provided = self.manager.names("command").get(str(ctx.invoked_subcommand))
            if provided is None or ctx.invoked_subcommand in self._own:
                raise
            raise provided.origin.error(describe(error)) from error

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Subcommands, and what the drawing command completes: options and paths."""
        drawing = self.commands[_DEFAULT]
        completed: list[CompletionItem] = super().shell_complete(ctx, incomplete)
        found = [each for each in completed if each.value != _DEFAULT]
        if incomplete.startswith("-"):
            return drawing.shell_complete(click.Context(drawing, parent=ctx, obj=self.manager), incomplete)
        return [*found, CompletionItem(incomplete, type="file")]

    def parse_args(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] in ("-h", "--help"):
            args = ["--help"]
        if ctx.resilient_parsing and not args:  # completing the first word: it may become a subcommand
            return click.Group.parse_args(self, ctx, args)
        return super().parse_args(ctx, args)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage("torch2grid", "[OPTIONS] MODEL...")
        formatter.write_usage("torch2grid", "COMMAND [ARGS]...")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_groups(self.commands[_DEFAULT], ctx, formatter)
        rows = []
        for name in self.list_commands(ctx):
            if name in self._own:
                rows.append((name, self.commands[name].get_short_help_str(90)))
            else:
                rows.append((name, self.manager.names("command")[name].summary))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def write_groups(command: click.Command, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """The options of *command* under their headings, in order of first appearance."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is not None and not isinstance(parameter, click.Argument):
            group = parameter.group if isinstance(parameter, GroupedOption) else PROCESS
            groups.setdefault(group, []).append(record)
    for group, rows in sorted(groups.items(), key=lambda item: item[0] == PROCESS):
        with formatter.section(group):
            formatter.write_dl(rows)


class DrawCommand(click.Command):
    """The drawing command, its help in groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_groups(self, ctx, formatter)


def view_flags(manager: PluginManager) -> dict[str, GroupedOption]:
    """View name → its flag; the names of core options stay theirs, such a view is reached by ``--view``."""
    taken = _core_flags()
    flags: dict[str, GroupedOption] = {}
    for name, provided in manager.names("view").items():
        flag = "--" + name.replace("_", "-").replace("/", "-")
        if flag not in taken:
            taken.add(flag)
            flags[name] = GroupedOption([flag, f"view_{len(flags)}"], group=VIEWS, is_flag=True, help=provided.summary)
    return flags


def filter_flags(manager: PluginManager) -> list[GroupedOption]:
    """An option for each filter that wants one; these and ``--filter`` apply in the order in which they first stand."""
    taken = _core_flags()
    flags: list[GroupedOption] = []
    for name, provided in manager.names("filter").items():
        metavar, flag = provided.facts.get("flag", ""), "--" + name.replace("_", "-").replace("/", "-")
        if metavar and flag not in taken:
            taken.add(flag)
            options = {"multiple": True, "metavar": metavar, "help": f"Draw {provided.summary}.", "expose_value": False}
            flags.append(GroupedOption([flag, f"filter_{len(flags)}"], group=CHOOSING, callback=_add_filter(name), **options))
    return flags


def _core_flags() -> set[str]:
    return {flag for option in [*drawing_options(), *process_options()] for flag in option.opts}


def _add_filter(name: str) -> Any:
    def add(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> None:
        chosen = context.meta.setdefault(FILTERS, [])
        if parameter.name == "filters":
            chosen += [(value, None) for value in values]
        elif values:  # a flag given twice means either: one filter, its values joined
            chosen.append((name, ",".join(values)))

    return add


def draw_command(manager: PluginManager) -> click.Command:
    """``torch2grid MODEL …`` for the views that *manager* knows."""
    options = drawing_options()
    flags = view_flags(manager)
    drawing = [option for option in options if option.group == DRAWING]
    rest = [option for option in options if option.group != DRAWING]
    next(option for option in rest if option.name == "filters").callback = _add_filter("")

    def run(models: tuple[str, ...], version: bool, list_plugins: bool, **given: Any) -> int:
        if version:
            click.echo(f"torch2grid {__version__}")
            return 0
        if list_plugins:
            list_transformers(manager)
            return 0
        from torch2grid_core.cli.draw import draw  # numpy comes with it

        chosen = [name for name, flag in flags.items() if given.pop(str(flag.name))]
        given["filters"] = click.get_current_context().meta.get(FILTERS, [])
        given["views"] = [*chosen, *given["views"]]
        return draw(manager, models, **given)

    version_option = click.Option(["--version"], is_flag=True, help="Show the version and stop.")
    return DrawCommand(
        _DEFAULT,
        callback=run,
        params=[
            click.Argument(["models"], nargs=-1, metavar="MODEL...", type=click.Path()),
            *drawing,
            *flags.values(),
            *filter_flags(manager),
            *rest,
            *process_options(),
            version_option,
        ],
        help="Draw MODEL: one grid of all its weights, or the views asked for.",
        context_settings=_CONTEXT,
        epilog=f"The usual loaders, views and renderers come with {BATTERIES}." if not manager.names("loader") else None,
    )
