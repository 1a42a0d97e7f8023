"""A check: its name, the kind it is for, and the function that runs it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

from torch2grid_core.testing._subject import Subject

RunCheck = Callable[[Subject], None]


@dataclass(frozen=True)
class Check:
    """One promise. kind: of the classes that make it, empty for all of them."""

    name: str
    kind: str
    run: RunCheck

    @property
    def description(self) -> str:
        """What is promised, in one line."""
        return (inspect.getdoc(self.run) or "").partition("\n")[0]


CHECKS: list[Check] = []


def check(*kinds: str) -> Callable[[RunCheck], RunCheck]:
    """Register a function as a check of *kinds*, of every kind without any; its name is the check's."""

    def register(run: RunCheck) -> RunCheck:
        CHECKS.extend(Check(getattr(run, "__name__", ""), kind, run) for kind in kinds or ("",))
        return run

    return register
