"""What can go wrong, each as one line for the person who runs torch2grid.

The command line prints ``str(error)`` and leaves with ``error.exit_code``; a traceback is shown only with ``--debug``.
"""

from __future__ import annotations

import traceback
from typing import Any

from torch2grid_core._text import visible, without_secrets, without_secrets_in


class Torch2GridError(Exception):
    """A failure that the user can act on. Its text is one line, in which control characters are made visible.

    Locations in it lose their user, password and query.
    """

    exit_code = 1

    def __str__(self) -> str:
        return visible(without_secrets_in(super().__str__()), limit=2000)


class UsageError(Torch2GridError):
    """The call itself is wrong: an unknown option, plugin or name. Exit code 2."""

    exit_code = 2


class LoadError(Torch2GridError):
    """A file cannot be read as a checkpoint: which file, what is wrong with it, and what to do."""

    def __init__(self, path: object, reason: str, advice: str = "") -> None:
        self.path = without_secrets(str(path))
        self.reason = without_secrets_in(reason)
        self.advice = advice
        super().__init__(f"{self.path}: {self.reason}" + (f"; {advice}" if advice else ""))

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return (type(self), (self.path, self.reason, self.advice))


class NotRead(LoadError):
    """No more is read of a file than was meant to: it is not known what is there, and nothing is wrong with it."""


class WrongAnswer(LoadError):
    """A source answers with another type than sources do: a fault of who wrote it, and no file that is missing."""


class PluginError(Torch2GridError):
    """A plugin raised an exception, or returned what its hook does not allow.

    Args:
        reason: what went wrong.
        kind: the hook kind, or ``"plugin"``.
        name: of the thing that was called.
        distribution: the distribution that ships it.
        version: of that distribution.
    """

    def __init__(self, kind: str, name: str, distribution: str, version: str, reason: str) -> None:
        self.kind, self.name, self.distribution, self.version = kind, name, distribution, version
        self.reason = reason = without_secrets_in(reason)
        who = f"{distribution} {version}".strip()
        super().__init__(f"{kind} {name!r} of {who}: {reason}" if who else f"{kind} {name!r}: {reason}")

    def __reduce__(self) -> tuple[Any, ...]:
        given = (self.kind, self.name, self.distribution, self.version, self.reason)
        return (_caused, (type(self), given, None if self.__cause__ is None else traced(self.__cause__)))


class NotDrawable(Torch2GridError):
    """A transformer, view or rule declines these tensors (``can_handle`` is False, or nothing is left for it)."""


class Elsewhere(Exception):
    """The cause of an error that was raised in another process: its traceback, as text."""


def _caused(kind: type[PluginError], given: tuple[str, ...], cause: str | None) -> PluginError:
    """The error as it was pickled; a traceback cannot be, so that its cause travels as text."""
    error = kind(*given)
    error.__cause__ = None if cause is None else Elsewhere(cause)
    return error


def traced(error: BaseException) -> str:
    """The traceback of *error* with its causes, the lines of a plugin's author among them, in printable lines."""
    if isinstance(error, Elsewhere):
        return str(error)
    told = traceback.format_exception(type(error), error, error.__traceback__)
    return "\n".join(visible(without_secrets_in(line), limit=2000) for line in "".join(told).rstrip().split("\n"))


def unforeseen(error: Exception) -> Torch2GridError:
    """Return an unexpected *error* as one line for the user.

    Args:
        error: what was raised; it becomes the cause of the error that is returned.

    Returns:
        The error to raise, or to report, in its place.
    """
    text = visible(" ".join(str(error).split()), limit=500)
    found = Torch2GridError(f"internal error: {type(error).__name__}: {text} (run again with --debug for the traceback)")
    found.__cause__ = error
    return found
