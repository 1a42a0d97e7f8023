"""Settings as options of click: for parsing, for help in groups, and for the commands of plugins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click
from click.core import ParameterSource

from torch2grid_core._cli.completion import formats, one_of, one_path, owners, plugin_names, quiet
from torch2grid_core._errors import UsageError
from torch2grid_core._plugins.added import options_given
from torch2grid_core._plugins.manager import PluginManager
from torch2grid_core._settings import FIELDS, GIVEN, GROUPS, PROCESS, PROCESS_SETTINGS, SET, Setting


class SettingOption(click.Option):
    """The option of one setting. Its value goes to ``Settings.from_context``, and not to the function of the command.

    A flag that a file may set has a ``--no-`` form, so that the command line can take it back.
    """

    def __init__(self, setting: Setting, help: str = "") -> None:
        self.setting, self.group = setting, setting.group
        long = "--" + setting.name.replace("_", "-")
        declarations = [*(flag for flag in setting.flags if len(flag) == 2), long]
        declarations += [flag for flag in setting.flags if len(flag) > 2]
        attributes: dict[str, Any] = {"expose_value": False, "help": help or setting.help, "default": setting.default}
        if setting.is_flag:
            if setting.group != PROCESS:
                declarations = [f"{each}/--no-{each[2:]}" if each.startswith("--") else each for each in declarations]
            attributes["is_flag"] = True
        else:
            attributes |= {"type": click.UNPROCESSED, "multiple": setting.many, "shell_complete": quiet(_completer(setting))}
            attributes["metavar"] = f"[{'|'.join(setting.choices)}]" if setting.choices else setting.metavar
            attributes["show_default"] = not (setting.default is None or setting.default in ("", (), 0))
        if setting.group != PROCESS:
            attributes["envvar"] = setting.variable
        super().__init__([*declarations, setting.name], **attributes)

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the line of ``--help``, without the ``--no-`` form, which would double the page and say nothing new."""
        record = super().get_help_record(ctx)
        return None if record is None else (record[0].partition(" / ")[0], record[1])

    def value_from_envvar(self, ctx: click.Context) -> Any:
        """Return the variable's text. A repeatable option takes it as one value, blanks included."""
        if self.multiple:
            text = self.resolve_envvar_value(ctx)
            return None if text is None else (text,)
        return super().value_from_envvar(ctx)

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        """Return the value as the setting takes it. The error for a wrong one names the variable that it came from."""
        hint = self.setting.variable if ctx.get_parameter_source(self.name) is ParameterSource.ENVIRONMENT else None
        try:
            value = super().process_value(ctx, value)
            if value is None or value == () or self.setting.group == PROCESS:
                return value
            return self.setting.parse(value)
        except (click.BadParameter, ValueError, UsageError) as error:
            told = error.message if isinstance(error, click.BadParameter) else str(error)
            raise click.BadParameter(told, param_hint=hint) from error

    def handle_parse_result(self, ctx: click.Context, opts: Mapping[str, Any], args: list[str]) -> tuple[Any, list[str]]:
        value, rest = super().handle_parse_result(ctx, opts, args)  # called in the order of the line
        source = ctx.get_parameter_source(self.name)
        if source is not None and source is not ParameterSource.DEFAULT and self.group != PROCESS:
            self.give(ctx, value, source)
        return value, rest

    def give(self, ctx: click.Context, value: Any, source: ParameterSource) -> None:
        """Add the value to what the command was given."""
        give(ctx, self.setting, value, source, self.setting)


class SetOption(SettingOption):
    """``--set NAME:key=value``: options of plugins as a whole. Those of the line, the environment and a file hold together."""

    def give(self, ctx: click.Context, value: Any, source: ParameterSource) -> None:
        self._give(ctx, value, source)
        weaker = {
            ParameterSource.ENVIRONMENT: self.value_from_envvar(ctx),
            ParameterSource.DEFAULT_MAP: ctx.lookup_default(SET.name),
        }
        for other, specs in weaker.items():
            if specs and STRENGTH.index(other) < STRENGTH.index(source):
                self._give(ctx, self.setting.parse(specs), other)

    def _give(self, ctx: click.Context, specs: Any, source: ParameterSource) -> None:
        manager = ctx.find_object(PluginManager)
        hint = SET.variable if source is ParameterSource.ENVIRONMENT else None
        for spec in specs:
            try:
                pairs = options_given(manager or PluginManager(), spec)
            except UsageError as error:
                raise click.BadParameter(str(error), ctx, self, hint) from error
            for setting, value in pairs:
                give(ctx, setting, value, source, SET)


STRENGTH = (ParameterSource.DEFAULT_MAP, ParameterSource.ENVIRONMENT, ParameterSource.COMMANDLINE)  # the last holds
_CAME = "torch2grid.came"


def give(ctx: click.Context, setting: Setting, value: Any, source: ParameterSource, by: Setting) -> None:
    """Note what the command was given for *setting*, by the option of *by*.

    An option of a plugin as a whole can come by its own flag and by ``--set``: what the stronger source says holds.
    """
    came = ctx.meta.setdefault(_CAME, {})
    key = (setting.owner, setting.field) if setting.owner is not None else setting.name
    held = came.get(key)
    if held is None or STRENGTH.index(held[0]) <= STRENGTH.index(source):
        came[key] = source, by
        ctx.meta.setdefault(GIVEN, []).append((setting, value))


def came_by(ctx: click.Context, setting: Setting) -> tuple[ParameterSource, Setting]:
    """Where the value of *setting* comes from, and the setting that brought it: itself, or ``--set``."""
    key = (setting.owner, setting.field) if setting.owner is not None else setting.name
    found: tuple[ParameterSource, Setting] = ctx.meta.get(_CAME, {}).get(key, (ParameterSource.DEFAULT, setting))
    return found


def _completer(setting: Setting) -> Any:
    if setting.choices:
        return one_of(setting.choices)
    if setting.kind:
        return plugin_names(setting.kind)
    paths = dict.fromkeys(("output", "config", "load_plugin"), one_path)
    return {"format": formats, "disable_plugin": owners, **paths}.get(setting.name, one_of(()))


def settings_options(*names: str, **help: str) -> list[SettingOption]:
    """Return the options of these settings, then of those in *help*, with help texts of the command's own if not empty.

    A command that takes ``filter`` gets the flags of filters with it: ``--only``, ``--skip``, ``--tensors``.
    ``Settings.from_context`` returns what was given.

    Raises:
        KeyError: there is no such setting.
    """
    return [SettingOption(FIELDS[name], text) for name, text in {**dict.fromkeys(names, ""), **help}.items()]


def standard_options(*names: str) -> list[SettingOption]:
    """``settings_options`` whose values come as arguments, as before 0.2."""
    options = settings_options(*names)
    for each in options:
        each.expose_value = True
        each.name += "s" * each.setting.many
    return options


def process_options() -> list[SettingOption]:
    """Options that hold for every command, before or after its name; read before any plugin is imported."""
    return [SettingOption(each) for each in PROCESS_SETTINGS.values()]


def complete_options(command: click.Command, extra: Iterable[Setting]) -> None:
    """Add to *command* what comes with the settings that it takes.

    The flags of filters come with ``filter``, those of views with ``view``; the options of plugins and of the process always.
    """
    taken = {flag for each in command.params for flag in (*each.opts, *each.secondary_opts)}
    own = {each.setting.name for each in command.params if isinstance(each, SettingOption)}
    if not own:
        return
    for setting in extra:
        if setting.adds is not None and setting.adds[0] not in own:
            continue
        option = SetOption(setting) if setting.name == SET.name else SettingOption(setting)
        if not taken & {*option.opts, *option.secondary_opts}:
            beside = [
                n for n, each in enumerate(command.params) if isinstance(each, SettingOption) and each.group == option.group
            ]
            command.params.insert(beside[-1] + 1 if beside else len(command.params), option)
    command.params += process_options()


def setting_options(command: click.Command) -> list[SettingOption]:
    """The options of *command* that are settings."""
    return [each for each in command.params if isinstance(each, SettingOption)]


def write_groups(params: Iterable[click.Parameter], ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """The options among *params* under their headings, in the order of ``GROUPS``, those of plugins before the last."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for parameter in params:
        record = parameter.get_help_record(ctx)
        if record is not None and not isinstance(parameter, click.Argument):
            group = parameter.group if isinstance(parameter, SettingOption) else PROCESS
            groups.setdefault(group, []).append(record)
    for group, rows in sorted(
        groups.items(), key=lambda item: GROUPS.index(item[0]) if item[0] in GROUPS else len(GROUPS) - 1.5
    ):
        with formatter.section(group):
            formatter.write_dl(rows)
