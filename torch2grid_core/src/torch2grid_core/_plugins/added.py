"""The settings that plugins add to those of the core: flags of views and filters, and options of plugins as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch2grid_core._errors import PluginError, UsageError
from torch2grid_core._plugins.manager import PluginManager
from torch2grid_core._plugins.options import converted, split_spec
from torch2grid_core._plugins.record import Provided
from torch2grid_core._settings import CHOOSING, FIELDS, PROCESS_SETTINGS, SET, VIEWS, Setting, Settings, named, told

_TAKEN = {SET.name, "version", "help", "help_all", "list_plugins"}


def settings_of(manager: PluginManager) -> Mapping[str, Setting]:
    """Every setting there is, by name. One of a name that is taken is told of, and left out."""
    return {**FIELDS, **{each.name: each for kind in ("view", "filter", "settings") for each in added(manager, kind)}}


def settings_from(manager: PluginManager, given: Mapping[str, Any], **usual: Any) -> Settings:
    """Return the settings of keyword arguments, plugins' own included.

    Args:
        manager: knows the plugins.
        given: the keyword arguments.
        usual: values of fields that these do not set.

    Raises:
        UsageError: a value is wrong, or a name unknown; the error has the nearest name.
    """
    known = FIELDS if set(given) <= set(FIELDS) else settings_of(manager)
    pairs: list[tuple[Setting, Any]] = []
    by: dict[tuple[str, str], str] = {}  # option of a plugin as a whole → the argument that set it
    for key, value in given.items():
        before = len(pairs)
        try:
            if is_section(manager, known, key, value):
                pairs += options_given(manager, {key: value})
            elif (setting := named(known, key)).name == SET.name:
                pairs += [pair for spec in setting.parse(value) for pair in options_given(manager, spec)]
            else:
                pairs.append((setting, setting.parse(value)))
        except (ValueError, UsageError) as error:
            raise UsageError(f"{key}: {error}" if key.replace("-", "_") in known else str(error)) from None
        for each, _ in pairs[before:]:
            if each.owner is not None and by.setdefault((each.section, each.field), key) != key:
                raise UsageError(f"{key}: {each.field} of {each.section} is set already by {by[each.section, each.field]}")
    return Settings.of(pairs, **usual)


def is_section(manager: PluginManager, known: Mapping[str, Setting], key: str, value: Any) -> bool:
    """True where *key* stands for the options of a plugin as a whole, and *value* is a mapping of them.

    A setting of the core keeps its name. Where a view or a filter has the same name, a mapping is the options, and anything
    else is for its flag. Raises ``UsageError`` for anything but a mapping where there is no such flag.
    """
    if key in FIELDS or key in PROCESS_SETTINGS or key not in manager.names("settings"):
        return False
    if not isinstance(value, Mapping) and key.replace("-", "_") not in known:
        raise UsageError(f"{key}: expected its options, as in {{key: value}}, not {told(value)}")
    return isinstance(value, Mapping)


def options_given(manager: PluginManager, spec: Any) -> list[tuple[Setting, Any]]:
    """The settings that ``NAME:key=value,…``, or ``{NAME: {key: value}}``, gives of a plugin's own, with their values.

    Raises ``UsageError`` for an unknown name or option, and for a wrong value.
    """
    name, given = split_spec(spec)
    provided = manager.find("settings", name)
    fields = {each.field: each for each in _settings(manager, "settings", name, provided)}
    values = converted(provided.options(), given, f"settings {name!r}")
    return [(fields[field], value) for field, value in values.items()]


def added(manager: PluginManager, *kinds: str) -> list[Setting]:
    """A flag for each view, an option for each filter that wants one, one for each field of a plugin's settings, and ``--set``.

    The core's options keep their names, then those of what comes with torch2grid; whoever comes later is told of: a view is
    reached by ``--view`` then, a filter by ``--filter``.
    """
    found: dict[str, tuple[str, Setting]] = {}
    owners: dict[str, Provided] = {}
    taken = {*FIELDS, *PROCESS_SETTINGS, *_TAKEN, *(flag[2:] for each in FIELDS.values() for flag in each.flags)}
    wanting = [
        (each.record.precedence, each.qualified, kind, name, each)
        for kind in ("view", "filter", "settings")
        for name, each in manager.names(kind).items()
        if kind != "filter" or each.facts.get("flag")
    ]
    for _, _, kind, name, each in sorted(wanting, key=lambda item: item[:4]):
        for setting in _settings(manager, kind, name, each):
            flag = setting.name.replace("_", "-")
            if taken & {setting.name, f"no_{setting.name}"} or (setting.is_flag and setting.name.startswith("no_")):
                what, instead = f"{kind} {name!r}", f"; use --{kind} {name}"
                if kind == "settings":  # one of its fields; the flags of the others work
                    what, instead = f"field {setting.field!r} of {what}", ""
                other = owners.get(setting.name)
                by = f" by its own {other.kind} {other.name!r}" if other and other.record.owner == each.record.owner else ""
                manager.note(f"{what} of {each.record.owner} gets no flag: --{flag} is taken{by}{instead}")
                continue
            taken |= {setting.name, f"no_{setting.name}"}
            owners |= {setting.name: each, f"no_{setting.name}": each}
            found[setting.name] = kind, setting
    views = sorted(name for name, (kind, _) in found.items() if kind == "view")
    order = [*views, *(name for name, (kind, _) in found.items() if kind != "view")]
    chosen = [found[name][1] for name in order if not kinds or found[name][0] in kinds]
    return [SET, *chosen] if not kinds or "settings" in kinds else chosen


def _settings(manager: PluginManager, kind: str, name: str, each: Provided) -> Iterator[Setting]:
    own = name.replace("-", "_").replace("/", "_")
    if kind == "view":
        yield Setting(own, bool, False, each.summary, VIEWS, adds=(kind, name))
    elif kind == "filter":
        words, flag = f"keep {each.summary}", each.facts["flag"]
        if flag is True:
            yield Setting(own, bool, False, words, CHOOSING, adds=(kind, name))
        else:
            yield Setting(own, tuple[str, ...], (), words, CHOOSING, metavar=flag, adds=(kind, name))
    else:
        try:
            options = each.options()
        except PluginError as error:
            each.record.blame(error)
            return
        for option in options.values():
            yield Setting(
                f"{own}_{option.name}",
                option.type,
                option.default,
                option.help,
                f"Options of {name}",
                metavar=option.name.upper(),
                owner=each.create,
                field=option.name,
                section=name,
            )
