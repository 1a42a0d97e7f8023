"""The parameter groups of optimizers in a distributed checkpoint, whose settings are entries of their own.

Formats: ``torch/distributed/checkpoint/state_dict.py``: ``param_groups``, number, setting; or, made flat for each parameter,
``param_groups.NAME.setting``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch2grid_builtin._inert.groups import settings_of
from torch2grid_builtin._inert.limits import Work
from torch2grid_builtin._inert.values import Pairs
from torch2grid_core.text import visible

_GROUPS, _SETTINGS, _PARAMETERS = 100, 60, 200_000
_FLAT = re.compile(r"(?P<prefix>(?:[^.]+\.){0,4}?)param_groups\.(?P<parameter>.+)\.(?P<setting>[^.]+)")


class Groups:
    """Collects settings while the entries of a checkpoint go by."""

    def __init__(self, paths: Mapping[str, Sequence[Any]]) -> None:
        self._paths = paths
        self._numbered: dict[str, dict[int, list[tuple[str, Any]]]] = {}
        self._flat: dict[str, dict[str, list[tuple[str, Any]]]] = {}

    def is_setting(self, name: str) -> bool:
        """True where the entry *name* is one of a group."""
        return "param_groups." in name

    def take(self, name: str, value: Any) -> None:
        """Keep the *value* of the entry *name*, where that is a setting of a group."""
        path = self._paths.get(name, (name,))
        if "param_groups" in path:
            at = list(path).index("param_groups")
            if len(path) != at + 3 or type(path[at + 1]) is not int or type(path[at + 2]) is not str:
                return
            groups = self._numbered.setdefault("".join(f"{each}." for each in path[:at]), {})
            self._add(groups, path[at + 1], path[at + 2], value, _GROUPS)
        elif (found := _FLAT.fullmatch(name)) is not None:
            self._add(self._flat.setdefault(found["prefix"], {}), found["parameter"], found["setting"], value, _PARAMETERS)

    def _add(self, groups: dict[Any, list[tuple[str, Any]]], key: Any, setting: str, value: Any, most: int) -> None:
        if key in groups or len(groups) < most:
            settings = groups.setdefault(key, [])
            if len(settings) < _SETTINGS:
                settings.append((setting, value))

    def containers(self, tensors: Iterable[str]) -> list[str]:
        """The mappings that hold states whose names were made flat, and nothing else, by their full names."""
        inside: dict[str, bool] = {}
        for name in tensors:
            for prefix, parameters in self._flat.items():
                if name.startswith(f"{prefix}state."):
                    known = name[len(prefix) + len("state.") :].rpartition(".")[0] in parameters
                    inside[prefix] = inside.get(prefix, True) and known
        return [prefix[:-1] if prefix else "state" for prefix, known in inside.items() if known]

    def facts(self, work: Work) -> dict[str, str]:
        """Metadata ``<prefix>param_groups`` as other files have it: JSON, a mapping of plain settings for each group.

        Parameters of equal settings are one group.
        """
        found: dict[str, list[dict[str, Any]]] = {}
        for prefix, groups in self._numbered.items():
            found[prefix] = [settings_of(Pairs("dict", list(groups[number])), work) for number in sorted(groups)]
        for prefix, parameters in self._flat.items():
            alike: dict[str, dict[str, Any]] = {}
            for name, settings in parameters.items():
                plain = settings_of(Pairs("dict", list(settings)), work)
                alike.setdefault(json.dumps(plain, sort_keys=True), {**plain, "params": []})["params"].append(visible(name))
            found.setdefault(prefix, list(alike.values())[:_GROUPS])
        return {f"{prefix}param_groups": json.dumps(groups) for prefix, groups in found.items()}
