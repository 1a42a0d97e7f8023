"""Settings from a file: YAML, JSON or TOML, checked key by key, each error with its line."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from torch2grid_core._cli.options import CHOOSING, PROCESS, GroupedOption
from torch2grid_core._errors import Torch2GridError, UsageError
from torch2grid_core._plugins.manager import PluginManager
from torch2grid_core._plugins.options import quoted
from torch2grid_core._text import did_you_mean

_LARGEST = 1 << 20
_MOST_KEYS, _MOST_VALUES = 200, 10_000  # there are some fifty settings; an alias of YAML counts as what it stands for
_DIGITS = 30  # of a number: a setting with more is a mistake, and takes long to read
_KINDS = {".yaml": "YAML", ".yml": "YAML", ".json": "JSON", ".toml": "TOML"}


@dataclass(frozen=True)
class Setting:
    """One key of a file and the line that it is on."""

    key: str
    value: Any
    line: int


@dataclass(frozen=True)
class ConfigFile:
    """A settings file that was read; its keys are not checked yet."""

    path: str
    settings: tuple[Setting, ...] = ()

    def error(self, setting: Setting, reason: str) -> UsageError:
        """The error of one setting: file, line, key and reason."""
        return UsageError(f"{self.path}:{setting.line}: {setting.key}: {reason}")


def read_config(path: str) -> ConfigFile:
    """The settings in *path*, whose ending says what it is. Raises ``UsageError`` with file and line."""
    file = Path(path)
    kind = _KINDS.get(file.suffix.lower())
    if kind is None:
        raise UsageError(f"--config {path}: the name must end in .yaml, .json or .toml")
    try:
        if file.stat().st_size > _LARGEST:
            raise UsageError(f"--config {path}: larger than 1 MiB; is this the file that you mean?")
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {path}: {getattr(error, 'strerror', None) or error}") from error
    read = {"YAML": _read_yaml, "JSON": _read_json, "TOML": _read_toml}[kind]
    try:
        return ConfigFile(path, tuple(read(path, text)))
    except RecursionError as error:
        raise UsageError(f"{path}: not {kind}: nested too deeply") from error
    except ValueError as error:  # a number of thousands of digits
        raise UsageError(f"{path}: not {kind}: {str(error)[:200]}") from error


def _counted(path: str, keys: int) -> None:
    if keys > _MOST_KEYS:
        raise UsageError(f"{path}: {keys:,} keys, more than there are settings; is this the file that you mean?")


def _read_yaml(path: str, text: str) -> list[Setting]:
    import yaml

    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is None:
            return []
        if not isinstance(root, yaml.MappingNode):
            raise UsageError(f"{path}:{root.start_mark.line + 1}: settings are 'key: value' lines")
        _counted(path, len(root.value))
        _count_nodes(path, root)
        made = loader.construct_object
        settings = [
            Setting(str(made(key, deep=True)), made(value, deep=True), key.start_mark.line + 1) for key, value in root.value
        ]
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UsageError(f"{path}:{line}: not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not YAML: {error}") from error
    return _unique(path, settings)


def _count_nodes(path: str, root: Any) -> None:
    """Raise ``UsageError`` for more values than any settings have, each alias counted as what it stands for, or for a cycle."""
    sizes: dict[int, int] = {}
    waiting = [root]
    while waiting:
        node = waiting[-1]
        parts = [part for item in node.value for part in (item if isinstance(item, tuple) else (item,))]
        inside = parts if isinstance(node.value, list) else []
        unknown = [part for part in inside if id(part) not in sizes]
        if id(node) not in sizes and unknown and len(waiting) <= _MOST_VALUES:
            waiting += unknown
            continue
        waiting.pop()
        sizes[id(node)] = 1 + sum(sizes.get(id(part), _MOST_VALUES) for part in inside)
        if sizes[id(node)] > _MOST_VALUES:
            raise UsageError(
                f"{path}: its values repeat one another more often than any settings; is this the file that you mean?"
            )


def _read_json(path: str, text: str) -> list[Setting]:
    try:
        pairs = json.loads(text, object_pairs_hook=list, parse_int=_integer) if text.strip() else []
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}:{error.lineno}: not JSON: {error.msg}") from error
    if not text.lstrip().startswith("{"):
        raise UsageError(f"{path}:1: settings are one object, {{…}}")
    _counted(path, len(pairs))
    plain = json.loads(text, parse_int=_integer)
    settings = [Setting(key, plain[key], _line(text, rf'"{re.escape(key)}"\s*:')) for key, _ in pairs]
    return _unique(path, settings)


def _read_toml(path: str, text: str) -> list[Setting]:
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
    return [Setting(key, value, _line(text, rf'^[ \t]*\[?\s*"?{re.escape(key)}"?\s*[=\].]')) for key, value in table.items()]


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)


def _line(text: str, pattern: str) -> int:
    found = re.search(pattern, text, flags=re.MULTILINE)
    return text.count("\n", 0, found.start()) + 1 if found else 1


def _unique(path: str, settings: list[Setting]) -> list[Setting]:
    seen: dict[str, int] = {}
    for setting in settings:
        if setting.key in seen:
            raise UsageError(f"{path}:{setting.line}: {setting.key} is set already on line {seen[setting.key]}")
        seen[setting.key] = setting.line
    return settings


def process_settings(config: ConfigFile) -> dict[str, Any]:
    """The process-wide settings of the file, by key: they act before plugins are imported.

    Raises ``UsageError`` for ``load_plugin``: a plugin's file is named on the command line or not at all.
    """
    found: dict[str, Any] = {}
    for setting in config.settings:
        key = setting.key.replace("-", "_")
        if key == "load_plugin":
            raise config.error(setting, "plugins are loaded from the command line only; give --load-plugin there")
        if key in ("no_plugins", "debug"):
            if not isinstance(setting.value, bool):
                raise config.error(setting, f"expected true or false, not {_told(setting.value)}")
            found[key] = setting.value
        elif key == "disable_plugin":
            names = [setting.value] if isinstance(setting.value, str) else setting.value
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise config.error(setting, "expected a name or a list of names")
            found[key] = names
    return found


_KIND_OF_KEY = {"plugin": "transformer", "view": "view", "filter": "filter", "loader": "loader", "renderer": "renderer"}


def default_map(config: ConfigFile, options: Sequence[GroupedOption], manager: PluginManager) -> dict[str, Any]:
    """The file's settings as click's defaults: parameter name → value. Raises ``UsageError`` with file, line and key."""
    process = {"no_plugins", "debug", "disable_plugin"}
    known = {option.key: option for option in options if option.group != PROCESS}
    defaults: dict[str, Any] = {}
    for setting in config.settings:
        key = setting.key.replace("-", "_")
        if key in process:
            continue
        if key not in known:
            nearest = did_you_mean(key, {*known, *process})
            raise UsageError(f"{config.path}:{setting.line}: unknown key {setting.key!r}{nearest}")
        option = known[key]
        value = _checked(config, setting, option)
        try:
            context = click.Context(click.Command("config"))
            cast = option.type_cast_value(context, value)
            if option.callback is not None and not option.multiple:
                option.callback(context, option, cast)
        except click.UsageError as error:
            raise config.error(setting, " ".join(error.format_message().split())) from error
        _try_plugins(config, setting, option, value, manager)
        defaults[str(option.name)] = value
    return defaults


def _try_plugins(config: ConfigFile, setting: Setting, option: GroupedOption, value: Any, manager: PluginManager) -> None:
    """Make what the setting names, so that a wrong name or option is told with its line."""
    try:
        if option.key in _KIND_OF_KEY:
            for spec in value if option.multiple else [value]:
                manager.create(_KIND_OF_KEY[option.key], spec)
        elif option.key == "colormap":
            from torch2grid_core._pictures.colors import colormap

            colormap(value)
    except Torch2GridError as error:
        raise config.error(setting, str(error)) from error


def _checked(config: ConfigFile, setting: Setting, option: GroupedOption) -> Any:
    """The value in the form that the option takes on the command line, its type checked."""
    value = setting.value
    if isinstance(value, int) and abs(value) >= 10**_DIGITS:
        raise config.error(setting, f"is {_told(value)}")
    if option.is_flag:
        if not isinstance(value, bool):
            raise config.error(setting, f"expected true or false, not {_told(value)}")
        return value
    if option.multiple:
        items = value if isinstance(value, list) else [value]
        return tuple(_text(config, setting, option, item) for item in items)
    if option.key == "limits" and isinstance(value, list):
        return ",".join(_text(config, setting, option, item, numbers=True) for item in value)
    if isinstance(option.type, (click.types.IntParamType, click.types.FloatParamType)):
        if isinstance(value, str):
            value = _number(value)  # YAML 1.1 takes 1e-3 for text
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or (isinstance(value, float) and isinstance(option.type, click.types.IntParamType)):
            wanted = "a whole number" if isinstance(option.type, click.types.IntParamType) else "a number"
            raise config.error(setting, f"expected {wanted}, not {_told(value)}")
        return value
    return _text(config, setting, option, value)


def _text(config: ConfigFile, setting: Setting, option: GroupedOption, value: Any, numbers: bool = False) -> str:
    """*value* as text; ``{spiral: {clockwise: false}}`` is the long form of ``spiral:clockwise=false``."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and len(value) == 1 and "KEY=VALUE" in str(option.metavar):
        name, options = next(iter(value.items()))
        if isinstance(options, Mapping):
            try:
                return f"{name}:{','.join(f'{key}={quoted(each)}' for key, each in options.items())}"
            except UsageError as error:
                raise config.error(setting, str(error)) from error
    if (numbers or option.group == CHOOSING) and isinstance(value, (int, float)) and not isinstance(value, bool):
        return repr(value)
    raise config.error(setting, f"expected text, not {_told(value)}")


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _told(value: Any) -> str:
    """A value in a message: short, whatever it is."""
    if isinstance(value, (list, tuple, Mapping)):
        return f"a {'list' if isinstance(value, (list, tuple)) else 'mapping'} of {len(value):,}"
    if isinstance(value, int) and abs(value) >= 10**_DIGITS:
        return f"a number of more than {_DIGITS} digits"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
