"""Settings of the process from the line, taken before any plugin is imported; settings from a file; and all of them, shown."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from torch2grid_core._cli.options import SettingOption, came_by
from torch2grid_core._conversion import convert
from torch2grid_core._errors import Torch2GridError, UsageError
from torch2grid_core._plugins.added import is_section, options_given
from torch2grid_core._plugins.manager import PluginManager
from torch2grid_core._settings import FIELDS, GIVEN, PROCESS, PROCESS_SETTINGS, SET, Setting, told
from torch2grid_core._text import did_you_mean, visible

_LARGEST = 1 << 20
_MOST_KEYS, _MOST_VALUES = 200, 10_000  # there are some fifty settings; an alias of YAML counts as what it stands for
_DEEPEST = 100  # lists and mappings inside one another
_DIGITS = 30  # of a number: a setting with more is a mistake, and takes long to read
_MISTAKEN = "is this the file that you mean?"
_KINDS = {".yaml": "YAML", ".yml": "YAML", ".json": "JSON", ".toml": "TOML"}
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_TEXT, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
FROM_FILES = ("no_plugins", "debug", "disable_plugin")  # what a file may say of the process


@dataclass
class Process:
    """What the process-wide options say."""

    debug: bool = False
    no_plugins: bool = False
    config: str = ""
    disable_plugin: list[str] = field(default_factory=list)
    load_plugin: list[str] = field(default_factory=list)


def preparse(arguments: Sequence[str]) -> tuple[Process, list[str]]:
    """The process-wide options, and the rest of the line in its order.

    Knows which core options take a value, so that ``--title --debug`` keeps its title, and stops at ``--``. The environment
    sets ``TORCH2GRID_CONFIG``, ``TORCH2GRID_NO_PLUGINS`` and ``TORCH2GRID_DEBUG`` where the line does not.
    Raises ``UsageError`` where a value is missing.
    """
    process = Process(
        debug=_flag("TORCH2GRID_DEBUG"),
        no_plugins=_flag("TORCH2GRID_NO_PLUGINS"),
        config=os.environ.get("TORCH2GRID_CONFIG", ""),
    )
    rest: list[str] = []
    ours, core = _by_flag(PROCESS_SETTINGS.values()), _by_flag(FIELDS.values())
    waiting = list(arguments)
    while waiting:
        word = waiting.pop(0)
        if word == "--":
            return process, [*rest, word, *waiting]
        flag, equals, value = word.partition("=")
        if flag in ours:
            setting = ours[flag]
            if setting.is_flag:
                if equals:
                    raise UsageError(f"{flag} takes no value")
                setattr(process, setting.name, True)
                continue
            if not equals:
                if not waiting:
                    raise UsageError(f"{flag} needs a value: {setting.metavar}")
                value = waiting.pop(0)
            if setting.many:
                getattr(process, setting.name).append(value)
            else:
                setattr(process, setting.name, value)
            continue
        rest.append(word)
        if flag in core and not core[flag].is_flag and not equals and waiting:
            rest.append(waiting.pop(0))
    return process, rest


def _flag(variable: str) -> bool:
    value = os.environ.get(variable, "").strip()
    try:
        return bool(convert(value or "false", bool))
    except ValueError as error:
        raise UsageError(f"{variable}={value!r}: {error}") from None


def _by_flag(settings: Iterable[Setting]) -> dict[str, Setting]:
    return {flag: each for each in settings for flag in (*each.flags, "--" + each.name.replace("_", "-"))}


@dataclass(frozen=True)
class ConfigEntry:
    """One key of a file and the line that it is on."""

    key: str
    value: Any
    line: int


@dataclass(frozen=True)
class ConfigFile:
    """A settings file that was read; its keys are not checked yet."""

    path: str
    settings: tuple[ConfigEntry, ...] = ()

    def error(self, entry: ConfigEntry, reason: str) -> UsageError:
        """Return the error of one entry: file, line, key and reason."""
        return UsageError(f"{self.path}:{entry.line}: {entry.key}: {reason}")


def read_config(path: str, option: str = "--config") -> ConfigFile:
    """Return the settings in *path*, whose ending says what format it has.

    Args:
        path: of the file.
        option: the option that named it, for errors.

    Raises:
        UsageError: the file cannot be read; the error has file and line.
    """
    file = Path(path)
    kind = _KINDS.get(file.suffix.lower())
    if kind is None:
        raise UsageError(f"{option} {path}: the name must end in .yaml, .json or .toml")
    try:
        if file.stat().st_size > _LARGEST:
            raise UsageError(f"{option} {path}: larger than 1 MiB; {_MISTAKEN}")
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{option} {path}: not text in UTF-8; {_MISTAKEN}") from error
    except OSError as error:
        raise UsageError(f"{option} {path}: {error.strerror or error}") from error
    read = {"YAML": _read_yaml, "JSON": _read_json, "TOML": _read_toml}[kind]
    try:
        return ConfigFile(path, tuple(read(path, text)))
    except RecursionError as error:
        raise UsageError(f"{path}: not {kind}: nested too deeply") from error
    except ValueError as error:
        if "int_max_str_digits" in str(error):  # a reader's own advice is for programmers
            line = _line(text, rf"[0-9a-fA-F_]{{{_DIGITS + 1},}}")
            raise UsageError(f"{path}:{line}: a number of thousands of digits") from error
        raise UsageError(f"{path}: not {kind}: {str(error)[:200]}") from error


def _counted(path: str, keys: int) -> None:
    if keys > _MOST_KEYS:
        raise UsageError(f"{path}: more than {_MOST_KEYS} keys, so more than there are settings; {_MISTAKEN}")


def _read_yaml(path: str, text: str) -> list[ConfigEntry]:
    import yaml

    kind: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _count_events(path, yaml.parse(text, kind))
        loader = kind(text)
        root = loader.get_single_node()
        if root is None:
            return []
        if not isinstance(root, yaml.MappingNode):
            raise UsageError(f"{path}:{root.start_mark.line + 1}: settings are 'key: value' lines")
        _count_nodes(path, root)
        _keep_names(root)
        _keys_once(path, root)
        made = loader.construct_object
        settings = [
            ConfigEntry(str(made(key, deep=True)), made(value, deep=True), key.start_mark.line + 1) for key, value in root.value
        ]
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UsageError(f"{path}:{line}: not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not YAML: {error}") from error
    return settings


def _count_events(path: str, events: Iterable[Any]) -> None:
    """Raise ``UsageError`` for more keys, values or levels than any settings have, before anything is made of them."""
    import yaml

    depth = values = parts = 0
    for event in events:
        if isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
            continue
        if not isinstance(event, yaml.NodeEvent):
            continue
        values += 1
        parts += depth == 1
        depth += isinstance(event, yaml.CollectionStartEvent)
        if depth > _DEEPEST:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise UsageError(f"{path}:{line}: nested too deeply")
        _counted(path, (parts + 1) // 2)  # a key and its value
        if values > _MOST_VALUES:
            raise UsageError(f"{path}: more than {_MOST_VALUES:,} values; {_MISTAKEN}")


def _count_nodes(path: str, root: Any) -> None:
    """Raise ``UsageError`` for more values than any settings have, each alias counted as what it stands for, or for a cycle.

    And for a number of many digits: one with colons, in base 60, takes ages to make.
    """
    sizes: dict[int, int] = {}
    waiting = [root]
    while waiting:
        node = waiting[-1]
        if node.tag in _NUMBERS and len(node.value) > 2 * _DIGITS:
            raise UsageError(f"{path}:{node.start_mark.line + 1}: a number of {len(node.value):,} digits")
        parts = [part for item in node.value for part in (item if isinstance(item, tuple) else (item,))]
        inside = parts if isinstance(node.value, list) else []
        unknown = [part for part in inside if id(part) not in sizes]
        if id(node) not in sizes and unknown and len(waiting) <= _MOST_VALUES:
            waiting += unknown
            continue
        waiting.pop()
        sizes[id(node)] = 1 + sum(sizes.get(id(part), _MOST_VALUES) for part in inside)
        if sizes[id(node)] > _MOST_VALUES:
            raise UsageError(f"{path}: its values repeat one another more often than any settings; {_MISTAKEN}")


def _keep_names(root: Any) -> None:
    """Let every key be the text that it is: ``off``, ``yes`` and ``3`` may be names."""
    import yaml

    waiting, seen = [root], set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in seen or not isinstance(node.value, list):
            continue
        seen.add(id(node))
        for item in node.value:
            for place, part in enumerate(item if isinstance(item, tuple) else (item,)):
                if isinstance(item, tuple) and not place and isinstance(part, yaml.ScalarNode):
                    item[0].tag = part.tag if part.tag == _MERGE else _TEXT
                waiting.append(part)


def _keys_once(path: str, root: Any) -> None:
    """Raise ``UsageError`` for a key that a mapping, at the top or inside, has twice: YAML would take the last."""
    import yaml

    waiting, known = [root], set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in known or not isinstance(node.value, list):
            continue
        known.add(id(node))
        lines: dict[str, int] = {}
        for item in node.value:
            waiting += item if isinstance(item, tuple) else (item,)
            if isinstance(item, tuple) and isinstance(item[0], yaml.ScalarNode) and item[0].tag != _MERGE:
                _set_once(path, lines, item[0].value, item[0].start_mark.line + 1)


def _keys_once_in_json(path: str, text: str) -> None:
    """The same of *text*, which is JSON."""
    inside: list[dict[str, int]] = []
    line, place = 1, 0
    for token in re.finditer(r'"(?:[^"\\]|\\.)*"(\s*:)?|[{}\[\]]', text):
        if token[0] in ("{", "["):
            inside.append({})
        elif token[0] in ("}", "]"):
            inside.pop()
        elif token[1]:  # a string before a colon
            line, place = line + text.count("\n", place, token.start()), token.start()
            _set_once(path, inside[-1], json.loads(token[0][: -len(token[1])]), line)


def _set_once(path: str, lines: dict[str, int], key: str, line: int) -> None:
    if key in lines:
        raise UsageError(f"{path}:{line}: {key} is set already on line {lines[key]}")
    lines[key] = line


def _read_json(path: str, text: str) -> list[ConfigEntry]:
    try:
        pairs = json.loads(text, object_pairs_hook=list, parse_int=_integer) if text.strip() else []
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}:{error.lineno}: not JSON: {error.msg}") from error
    if not text.lstrip().startswith("{"):
        raise UsageError(f"{path}:1: settings are one object, {{…}}")
    _counted(path, len(pairs))
    plain = json.loads(text, parse_int=_integer)
    _keys_once_in_json(path, text)
    return [ConfigEntry(key, plain[key], _line(text, rf'"{re.escape(key)}"\s*:')) for key, _ in pairs]


def _read_toml(path: str, text: str) -> list[ConfigEntry]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        raise UsageError(f"{path}:{found[1] if found else 1}: not TOML: {error}") from error
    _counted(path, len(table))
    return [
        ConfigEntry(key, value, _line(text, rf'^[ \t]*\[?\s*"?{re.escape(key)}"?\s*[=\].]')) for key, value in table.items()
    ]


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)


def _line(text: str, pattern: str) -> int:
    found = re.search(pattern, text, flags=re.MULTILINE)
    return text.count("\n", 0, found.start()) + 1 if found else 1


def process_settings(config: ConfigFile) -> dict[str, Any]:
    """The process-wide settings of the file, by key: they act before plugins are imported.

    Raises ``UsageError`` for ``load_plugin``: a plugin's file is named on the command line or not at all.
    """
    found: dict[str, Any] = {}
    for entry in config.settings:
        key = entry.key.replace("-", "_")
        if key == "load_plugin":
            raise config.error(entry, "plugins are loaded from the command line only; give --load-plugin there")
        if key in FROM_FILES:
            found[key] = _typed(config, entry, PROCESS_SETTINGS[key])
    return found


def file_settings(config: ConfigFile, known: Mapping[str, Setting], manager: PluginManager) -> dict[str, Any]:
    """The values of the file by the names of settings. Raises ``UsageError`` with file, line and key."""
    found: dict[str, Any] = {}
    lines: dict[tuple[str, str], int] = {}  # option of a plugin as a whole → where it is set
    for entry in config.settings:
        key = entry.key.replace("-", "_")
        if key in FROM_FILES:
            continue
        try:
            section = is_section(manager, known, key, entry.value)
        except UsageError as error:
            raise UsageError(f"{config.path}:{entry.line}: {error}") from error
        if not section and key not in known:
            nearest = did_you_mean(key, {*known, *FROM_FILES, *manager.names("settings")})
            raise UsageError(f"{config.path}:{entry.line}: unknown key {entry.key!r}{nearest}")
        setting = SET if section else known[key]
        value = ({key: entry.value},) if section else _typed(config, entry, setting)
        if setting.owner is not None:
            _once(config, entry, [setting], lines)
        if setting.name == SET.name:
            try:
                for spec in value:
                    _once(config, entry, [each for each, _ in options_given(manager, spec)], lines)
            except Torch2GridError as error:
                raise error if str(error).startswith(f"{config.path}:") else config.error(entry, str(error)) from error
            found[SET.name] = (*found.get(SET.name, ()), *value)
            continue
        found[key] = value
        if setting.kind:  # make what it names, so that a wrong name or option is told with its line
            try:
                for spec in value if setting.many else (value,):
                    manager.create(setting.kind, spec)
            except Torch2GridError as error:
                raise config.error(entry, str(error)) from error
    return found


def _once(config: ConfigFile, entry: ConfigEntry, settings: Iterable[Setting], lines: dict[tuple[str, str], int]) -> None:
    """Note the line of each. Raises ``UsageError`` for one that is set already."""
    for each in settings:
        line = lines.setdefault((each.section, each.field), entry.line)
        if line != entry.line:
            told = f"{each.section}: {each.field} is set already on line {line}"
            raise UsageError(f"{config.path}:{entry.line}: {told}")


def _typed(config: ConfigFile, entry: ConfigEntry, setting: Setting) -> Any:
    """The value as the setting takes it."""
    value = entry.value
    try:
        if setting.is_flag and not isinstance(value, (bool, Mapping)):
            raise ValueError(f"expected true or false, not {told(value)}")
        return setting.parse(value)
    except (ValueError, Torch2GridError) as error:
        raise config.error(entry, str(error)) from error


def config_command(options: Sequence[SettingOption], config: ConfigFile | None) -> click.Command:
    """The command for the settings that there are and the file that was named."""

    def show() -> None:
        context = click.get_current_context()
        given = {setting.name: value for setting, value in context.meta.get(GIVEN, ())}
        rows = []
        for setting in (option.setting for option in options if option.group != PROCESS and option.setting.name != SET.name):
            source, by = came_by(context, setting)
            value = given.get(setting.name, setting.default)
            rows.append((setting.name, _shown(value), _where(setting, source, by, config)))
        width = [max(len(row[column]) for row in rows) for column in (0, 1)]
        for key, value, where in rows:
            print(visible(f"{key:<{width[0]}}  {value:<{width[1]}}  {where}", 400).rstrip())

    return click.Command(
        "config",
        callback=show,
        params=list(options),  # those of the process, too, which act before: help names what works
        short_help="the settings that a run would have, and where each comes from",
        help="Print each setting, its value and its source: the command line, the environment, a file or the default.",
        add_help_option=True,
    )


def _shown(value: Any) -> str:
    if value is None or value == "" or value == ():
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (tuple, list)):
        return ",".join(str(item) if isinstance(item, float) else _shown(item) for item in value)
    if isinstance(value, Mapping):
        ((name, options),) = value.items()
        return f"{name}:{','.join(f'{key}={_shown(each)}' for key, each in options.items())}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _where(setting: Setting, source: ParameterSource, by: Setting, config: ConfigFile | None) -> str:
    if source is ParameterSource.COMMANDLINE:
        return "command line"
    if source is ParameterSource.ENVIRONMENT:
        return f"environment, {by.variable}"
    if source is ParameterSource.DEFAULT_MAP and config is not None:
        keys = (setting.name,) if by is setting else (setting.section, SET.name)
        lines = [each.line for each in config.settings if each.key.replace("-", "_") in keys]
        return f"{config.path}:{lines[0] if lines else 1}"
    return "default"
