"""The click application: the drawing command as default, the subcommands, and the help for all of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, cast

import click
from click.shell_completion import CompletionItem

from torch2grid_core import __version__
from torch2grid_core._cli.completion import completion_command
from torch2grid_core._cli.config import ConfigFile, config_command, file_settings
from torch2grid_core._cli.list_plugins import list_transformers, plugins_command
from torch2grid_core._cli.options import SettingOption, complete_options, setting_options, settings_options, write_groups
from torch2grid_core._errors import LoadError, Torch2GridError, UsageError
from torch2grid_core._guard import call, describe, returned
from torch2grid_core._plugins.added import added, settings_of
from torch2grid_core._plugins.manager import PluginManager
from torch2grid_core._plugins.record import Provided
from torch2grid_core._settings import FIELDS, PROCESS, Settings
from torch2grid_core._text import nearest, visible

_DEFAULT = "draw"
VERBS = (_DEFAULT, "check", "compare", "explore", "tree")  # in the order of the short help, those that are installed
COMMON = ("layers", "histogram", "conv", "stats", "plugin", "only", "slice", "output")  # its options
_OTHER_WORDS = {  # what people call a command
    "tree": ("ls", "list", "show", "info", "inspect", "summary"),
    "check": ("lint", "scan", "verify", "validate"),
    "compare": ("diff", "cmp"),
    "draw": ("plot", "view", "visualize", "render"),
}
_OF_ALL_COMMANDS = {"help": "--help", "usage": "--help", "version": "--version"}
EXAMPLES = (
    ("torch2grid model.pth", "one grid of all weights"),
    ("torch2grid model.pth --layers --stats", "a picture per layer, and a table"),
    ("torch2grid check model.pth", "look for NaN and dead units"),
)
_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class App(click.Group):
    """The group: ``torch2grid MODEL …`` draws, ``torch2grid NAME …`` runs a subcommand, ours or a plugin's."""

    def __init__(self, manager: PluginManager, config: ConfigFile | None = None) -> None:
        super().__init__(
            "torch2grid",
            help="See every weight of a PyTorch checkpoint, without running its code.",
            params=[_help_all_option()],
            context_settings=_CONTEXT,
        )
        self.manager, self.config = manager, config
        # Built when they are asked for: each asks plugins for what it lists, and a run asks for no more than it needs.
        self._builders: dict[str, Callable[[], click.Command]] = {
            _DEFAULT: lambda: draw_command(manager),
            "plugins": plugins_command,
            "config": lambda: config_command(_every_option(manager), config),
            "completion": completion_command,
        }
        self._built: dict[str, click.Command] = {}
        self._file: dict[str, Any] | None = None

    def _own(self, name: str) -> click.Command:
        if name not in self._built:
            self._built[name] = self._builders[name]()
        return self._built[name]

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*self._builders, *self._plugin_commands()})

    def _plugin_commands(self) -> dict[str, Provided]:
        names = self.manager.names("command")
        for name in self._builders.keys() & names.keys():
            self.manager.note(
                f"command {name!r} of {names[name].record.owner} is left out: torch2grid has a command of that name"
            )
        return {name: each for name, each in names.items() if name not in self._builders}

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self._builders:
            command = self._own(cmd_name)
        elif cmd_name in self._plugin_commands():
            provided = self._plugin_commands()[cmd_name]
            instance = provided.create()
            command = call(instance, instance.build)
            if not isinstance(command, click.Command):
                raise provided.origin.error(returned("build", command, "a click command"))
            options = setting_options(command)
            complete_options(command, added(self.manager) if options else ())
        else:
            return None
        options = setting_options(command)
        if self.config is not None and ctx.default_map is not None and options:
            values = self._of_file()
            ctx.default_map[cmd_name] = {
                each.name: values[each.setting.name] for each in options if each.setting.name in values
            }
        return command

    def _of_file(self) -> dict[str, Any]:
        if self._file is None:
            assert self.config is not None
            self._file = file_settings(self.config, settings_of(self.manager), self.manager)
        return self._file

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

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """What names no command is for the drawing command, whatever it begins with."""
        ours = args[:1] in (["-h"], ["--help"], ["--help-all"])
        if not (ours or (ctx.resilient_parsing and not args) or (args and args[0] in self.list_commands(ctx))):
            args = [_DEFAULT, *args]
        return super().parse_args(ctx, args)

    def check_models(self, ctx: click.Context, models: tuple[str, ...]) -> None:
        """Raise ``UsageError`` for a bare word that is no file: a command that is mistyped or not first, or a flag's name."""
        for word in models:
            if word and not (set(word) & {".", "/", os.sep}) and not os.path.exists(word):
                known = self.list_commands(ctx)
                options = [
                    each for each in setting_options(self._own(_DEFAULT)) if each.setting.is_flag and each.group != PROCESS
                ]
                flags = [flag for each in options for flag in each.opts if flag.startswith("--")]
                others = {other: name for name, words in _OTHER_WORDS.items() if name in known for other in words}
                named = {flag[2:]: flag for flag in flags}
                meant = {**named, **_OF_ALL_COMMANDS, **others, **{name: name for name in known}}
                close = [meant[each] for each in ([word.lower()] if word.lower() in meant else nearest(word, meant)[:1])]
                advice = "; a command comes first" if word in known else f"; did you mean {close[0]}?" if close else ""
                if word not in known and (install := self.manager.to_install("command", word)):
                    advice = f"; {install} brings that command"
                raise UsageError(f"no such command or file: {visible(word)!r}{advice}")

    def hint(self, ctx: click.Context, models: tuple[str, ...]) -> str:
        """Advice for a run that failed, where its first word is what people call a command, and a folder is called so here."""
        word = models[0] if models else ""
        for name, words in _OTHER_WORDS.items():
            if word in words and name in self.list_commands(ctx) and os.path.isdir(word):
                return f"did you mean torch2grid {name}?"
        return ""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage("torch2grid", "[COMMAND] [OPTIONS] MODEL...")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The short help: the verbs, the options that most people need, and examples."""
        self._format_commands(ctx, formatter, [name for name in VERBS if name in self.list_commands(ctx)], short=True)
        options = {each.setting.name: each for each in setting_options(self._own(_DEFAULT))}
        records = [options[name].get_help_record(ctx) for name in COMMON if name in options]
        with formatter.section("Options"):
            formatter.write_dl([(first, _one_line(text.partition("  [")[0], 80 - 33)) for first, text in filter(None, records)])
        with formatter.section("Examples"):
            formatter.write_dl(list(EXAMPLES), col_max=40)
        formatter.write_paragraph()
        formatter.write_text("More: torch2grid --help-all, torch2grid COMMAND --help.")
        self._format_hint(formatter)

    def help_all(self, ctx: click.Context) -> str:
        """The long help: every option in groups, and every command."""
        formatter = ctx.make_formatter()
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        drawing = self._own(_DEFAULT)
        write_groups(drawing.get_params(ctx), ctx, formatter)
        self._format_commands(ctx, formatter, self.list_commands(ctx))
        with formatter.section("Examples"):
            formatter.write_dl(list(EXAMPLES), col_max=40)
        self._format_hint(formatter)
        return formatter.getvalue().rstrip("\n")

    def _format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter, names: list[str], short: bool = False
    ) -> None:
        brought = self._plugin_commands()
        rows = [(name, brought[name].summary if name in brought else self._own(name).get_short_help_str(90)) for name in names]
        with formatter.section("Commands"):
            formatter.write_dl([(name, _one_line(text, 80 - 13)) for name, text in rows] if short else rows)

    def _format_hint(self, formatter: click.HelpFormatter) -> None:
        if not self.manager.names("loader"):
            formatter.write_paragraph()
            formatter.write_text("The usual loaders, views and renderers come with pip install torch2grid.")


def _every_option(manager: PluginManager) -> list[SettingOption]:
    """Those of the drawing command, and of the settings that only others take."""
    others = [each.name for each in FIELDS.values() if not each.draws]
    return [*setting_options(draw_command(manager)), *settings_options(*others)]


def _help_all_option() -> click.Option:
    def show(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            click.echo(cast("App", ctx.find_root().command).help_all(ctx.find_root()))
            ctx.exit()

    words = "show every option for drawing and every command, and exit"
    return click.Option(["--help-all"], is_flag=True, is_eager=True, expose_value=False, callback=show, help=words)


def _one_line(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1].rpartition(" ")[0] + " …"


class DrawCommand(click.Command):
    """The drawing command, its help in groups."""

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        option = super().get_help_option(ctx)
        if option is not None:
            option.help = "show this message and exit"  # in the style of the others
        return option

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_groups(self.get_params(ctx), ctx, formatter)


def draw_command(manager: PluginManager) -> click.Command:
    """``torch2grid MODEL …`` for the views that *manager* knows: it takes every setting."""

    def run(models: tuple[str, ...], version: bool, list_plugins: bool) -> int:
        if version:
            print(f"torch2grid {__version__}")
            return 0
        if list_plugins:
            list_transformers(manager)
            return 0
        context = click.get_current_context()
        hint = ""
        if context.parent is not None:
            app = cast("App", context.parent.command)
            app.check_models(context.parent, models)
            hint = app.hint(context.parent, models)
        from torch2grid_core._cli.batch import draw  # numpy comes with it

        try:
            code = draw(manager, models, Settings.from_context(context))
        except LoadError as error:
            if not hint:
                raise
            raise LoadError(error.path, error.reason, hint) from error
        if code and hint:
            click.echo(f"{models[0]}: is a folder here; {hint}", err=True)
        return code

    models = click.Argument(["models"], nargs=-1, metavar="MODEL...", type=click.Path())
    command = DrawCommand(
        _DEFAULT,
        callback=run,
        params=[models, *settings_options(*(each.name for each in FIELDS.values() if each.draws))],
        short_help="draw one grid, or the views that you name; you may leave out 'draw'",
        help="Draw MODEL: one grid of all its weights, or the views that you name.",
        context_settings=_CONTEXT,
    )
    complete_options(command, added(manager))
    command.params += [
        click.Option(
            ["--list-plugins"], is_flag=True, envvar="TORCH2GRID_LIST_PLUGINS", help="list the grid transformers and stop"
        ),
        click.Option(["--version"], is_flag=True, help="show the version and stop"),
        _help_all_option(),
    ]
    return command
