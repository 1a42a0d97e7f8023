"""What can go wrong, each as one line for the person who runs torch2grid.

The command line prints ``str(error)`` and leaves with ``error.exit_code``; a traceback is shown only with ``--debug``.
"""

from __future__ import annotations

from torch2grid_core.text import visible


class Torch2GridError(Exception):
    """A failure that the user can act on. Its text is one line; control characters in it are made visible."""

    exit_code = 1

    def __str__(self) -> str:
        return visible(super().__str__(), limit=2000)


class UsageError(Torch2GridError):
    """The call itself is wrong: an unknown option, plugin or name. Exit code 2."""

    exit_code = 2


class LoadError(Torch2GridError):
    """A file cannot be read as a checkpoint: which file, what is wrong with it, and what to do."""

    def __init__(self, path: object, reason: str, advice: str = "") -> None:
        self.path = str(path)
        self.reason = reason
        self.advice = advice
        super().__init__(f"{self.path}: {reason}" + (f"; {advice}" if advice else ""))

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return (type(self), (self.path, self.reason, self.advice))


class PluginError(Torch2GridError):
    """A plugin raised, or returned what its hook does not allow.

    kind: the hook kind or ``"plugin"``; name: of the thing called; distribution and version: who ships it.
    """

    def __init__(self, kind: str, name: str, distribution: str, version: str, reason: str) -> None:
        self.kind, self.name, self.distribution, self.version, self.reason = kind, name, distribution, version, reason
        who = f"{distribution} {version}".strip()
        super().__init__(f"{kind} {name!r} of {who}: {reason}" if who else f"{kind} {name!r}: {reason}")

    def __reduce__(self) -> tuple[type, tuple[str, str, str, str, str]]:
        return (type(self), (self.kind, self.name, self.distribution, self.version, self.reason))


class NotDrawable(Torch2GridError):
    """A transformer, view or rule declines these tensors (``can_handle`` is False, or nothing is left for it)."""
