"""A check: its name, the kind it is for, and the function that runs it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch2grid_core.testing.subject import Subject

Run = Callable[["Subject"], None]


class NotConforming(AssertionError):
    """A plugin does not keep what its kind promises."""


def expect(condition: object, message: str) -> None:
    """Raise ``NotConforming`` unless *condition*; unlike ``assert``, under ``-O`` too."""
    if not condition:
        raise NotConforming(message)


@dataclass(frozen=True)
class Check:
    """One promise. kind: of the classes that make it, empty for all of them."""

    name: str
    kind: str
    run: Run

    @property
    def description(self) -> str:
        """What is promised, in one line."""
        return (inspect.getdoc(self.run) or "").partition("\n")[0]


_CHECKS: list[Check] = []


def check(*kinds: str) -> Callable[[Run], Run]:
    """Register a function as a check of *kinds*, of every kind without any; its name is the check's."""

    def register(run: Run) -> Run:
        _CHECKS.extend(Check(getattr(run, "__name__", ""), kind, run) for kind in kinds or ("",))
        return run

    return register


def checks(kind: str) -> tuple[Check, ...]:
    """The checks of one kind: those of every kind first."""
    from torch2grid_core.testing import (  # noqa: F401  registered by their import
        command_checks,
        common_checks,
        filter_checks,
        loader_checks,
        renderer_checks,
        rule_checks,
        source_checks,
        transformer_checks,
        view_checks,
    )

    return tuple(each for wanted in ("", kind) for each in _CHECKS if each.kind == wanted)
