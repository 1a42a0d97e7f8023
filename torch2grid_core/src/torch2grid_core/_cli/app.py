"""The click application: the drawing command as default, the subcommands, and one help page for all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import click
from click.shell_completion import CompletionItem
from click_default_group import DefaultGroup

from torch2grid_core import __version__
from torch2grid_core._cli.completion import completion_command
from torch2grid_core._cli.config import ConfigFile, default_map
from torch2grid_core._cli.list_plugins import list_transformers, plugins_command
from torch2grid_core._cli.options import CHOOSING, DRAWING, PROCESS, GroupedOption, drawing_options, process_options
from torch2grid_core._cli.show_config import config_command
from torch2grid_core._errors import Torch2GridError
from torch2grid_core._guard import call, describe
from torch2grid_core._plugins.discovery import BATTERIES
from torch2grid_core._plugins.manager import PluginManager
from torch2grid_core._plugins.record import Provided

VIEWS = "Views"
FILTERS = "torch2grid.filters"  # (name, value of its flag or None for a --filter spec), in the order of the line
_DEFAULT = "draw"
EXAMPLES = (
    ("torch2grid model.pth", "one grid of all weights"),
    ("torch2grid model.pth --layers --stats", "a picture per layer, and a table"),
    ("torch2grid model.pth --plugin atlas -o atlas.png", "another transformer, one file"),
    ("torch2grid model.pth --only '*.weight' --histogram", "some of the tensors"),
)
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
        # Built when they are asked for: each asks plugins for what it lists, and a run asks for no more than it needs.
        self._builders: dict[str, Callable[[], click.Command]] = {
            _DEFAULT: lambda: draw_command(manager),
            "plugins": plugins_command,
            "config": lambda: config_command(self._options(), config),
            "completion": completion_command,
        }
        self.commands = dict.fromkeys(self._builders)

    def _options(self) -> list[GroupedOption]:
        return [each for each in self._own(_DEFAULT).params if isinstance(each, GroupedOption)]

    def _own(self, name: str) -> click.Command:
        if self.commands[name] is None:
            self.commands[name] = self._builders[name]()
        return cast("click.Command", self.commands[name])

    def defaults(self) -> dict[str, Any]:
        """The settings file as click's defaults. Raises ``UsageError`` for a wrong key or value."""
        found = default_map(self.config, self._options(), self.manager) if self.config else {}
        return {_DEFAULT: found, "config": found}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*self._builders, *self._plugin_commands()} - {_DEFAULT})

    def _plugin_commands(self) -> dict[str, Provided]:
        names = self.manager.names("command")
        for name in self._builders.keys() & names.keys():
            self.manager.note(f"command {name!r} of {names[name].record.owner} is torch2grid's own and cannot be taken")
        return {name: each for name, each in names.items() if name not in self._builders}

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self._builders:
            return self._own(cmd_name)
        provided = self._plugin_commands().get(cmd_name)
        if provided is None:  # no subcommand: the first word of what the drawing command gets
            ctx.arg0 = cmd_name  # type: ignore[attr-defined]
            return self._own(_DEFAULT)
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
            provided = self._plugin_commands().get(str(ctx.invoked_subcommand))
            if provided is None:
                raise
            raise provided.origin.error(describe(error)) from error

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Subcommands, and what the drawing command completes: options and paths."""
        if incomplete.startswith("-"):
            drawing = self._own(_DEFAULT)
            return drawing.shell_complete(click.Context(drawing, parent=ctx, obj=self.manager), incomplete)
        found = [CompletionItem(name) for name in self.list_commands(ctx) if incomplete and name.startswith(incomplete)]
        return found or [CompletionItem(incomplete, type="file")]

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
        write_groups(self._own(_DEFAULT), ctx, formatter)
        brought = self._plugin_commands()
        rows = [
            (name, brought[name].summary if name in brought else self._own(name).get_short_help_str(90))
            for name in self.list_commands(ctx)
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
        with formatter.section("Examples"):
            formatter.write_dl(list(EXAMPLES))
        if not self.manager.names("loader"):
            formatter.write_paragraph()
            formatter.write_text(f"The usual loaders, views and renderers come with {BATTERIES}.")


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


@dataclass
class PluginFlags:
    """The options that views and filters add to the drawing command."""

    views: dict[str, GroupedOption]
    filters: list[GroupedOption]


def plugin_flags(manager: PluginManager) -> PluginFlags:
    """A flag for each view, and an option for each filter that wants one.

    The core's options keep their names, then those of torch2grid-builtin; whoever comes later is told of, and is reached by
    ``--view`` or ``--filter``. These and ``--filter`` apply in the order in which they first stand.
    """
    found = PluginFlags({}, [])
    taken = {flag for option in [*drawing_options(), *process_options()] for flag in (*option.opts, *option.secondary_opts)}
    taken |= {"--version", "--help"}
    wanting = [
        (each.record.owner != BATTERIES, each.qualified, kind, name, each)
        for kind in ("view", "filter")
        for name, each in manager.names(kind).items()
        if kind == "view" or each.facts.get("flag")
    ]
    for _, _, kind, name, each in sorted(wanting, key=lambda item: item[:4]):
        flag = "--" + name.replace("_", "-").replace("/", "-")
        if taken & {flag, f"--no-{flag[2:]}"}:
            manager.note(f"{kind} {name!r} of {each.record.owner} gets no flag: {flag} is taken; use --{kind} {name}")
            continue
        taken |= {flag, f"--no-{flag[2:]}"}
        if kind == "view":
            parameter = f"view_{len(found.views)}"
            found.views[name] = GroupedOption([flag, parameter], group=VIEWS, is_flag=True, help=each.summary)
        else:
            options = {"multiple": True, "metavar": each.facts["flag"], "help": f"Draw {each.summary}."}
            parameter = f"filter_{len(found.filters)}"
            option = GroupedOption([flag, parameter], group=CHOOSING, callback=_add_filter(name), **options)
            found.filters.append(option)
    found.views = dict(sorted(found.views.items()))
    return found


def _add_filter(name: str) -> Any:
    def add(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
        chosen = context.meta.setdefault(FILTERS, [])
        if parameter.name == "filters":
            chosen += [(value, None) for value in values]
        elif values:  # a flag given twice means either: one filter, its values joined
            chosen.append((name, ",".join(values)))
        return values

    return add


def draw_command(manager: PluginManager) -> click.Command:
    """``torch2grid MODEL …`` for the views that *manager* knows."""
    options = drawing_options()
    flags = plugin_flags(manager)
    drawing = [option for option in options if option.group == DRAWING]
    rest = [option for option in options if option.group != DRAWING]
    next(option for option in rest if option.name == "filters").callback = _add_filter("")

    def run(models: tuple[str, ...], version: bool, list_plugins: bool, **given: Any) -> int:
        if version:
            print(f"torch2grid {__version__}")
            return 0
        if list_plugins:
            list_transformers(manager)
            return 0
        from torch2grid_core._cli.batch import draw  # numpy comes with it

        chosen = [name for name, flag in flags.views.items() if given.pop(str(flag.name))]
        for flag in flags.filters:
            given.pop(str(flag.name))
        given["filters"] = click.get_current_context().meta.get(FILTERS, [])
        named = {spec.partition(":")[0] for spec in given["views"]}  # `--layers --view layers:sheet=9` is one view
        given["views"] = [*(name for name in chosen if name not in named), *given["views"]]
        return draw(manager, models, **given)

    version_option = click.Option(["--version"], is_flag=True, help="Show the version and stop.")
    return DrawCommand(
        _DEFAULT,
        callback=run,
        params=[
            click.Argument(["models"], nargs=-1, metavar="MODEL...", type=click.Path()),
            *drawing,
            *flags.views.values(),
            *flags.filters,
            *rest,
            *process_options(),
            version_option,
        ],
        help="Draw MODEL: one grid of all its weights, or the views asked for.",
        context_settings=_CONTEXT,
    )
