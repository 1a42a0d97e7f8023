"""What a file asks Python to do when it is loaded, and what was not done here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]
ActionKind = Literal["call", "make", "state", "items", "import", "run"]

_LINES = {"make": "making ", "state": "setting the state of ", "items": "adding items to ", "import": "importing "}
_LINES |= {"run": "running "}
_VERBS = {"call": "calls ", "make": "makes ", "state": "sets the state of ", "items": "adds items to ", "import": "imports "}
_VERBS |= {"run": "runs "}


@dataclass(frozen=True)
class Action:
    """One name that a file wants imported, and the most that it does with it.

    kind: ``call``; ``make`` an instance of a class without calling anything else; set the ``state`` of an object; add
    ``items`` to one; ``import`` alone; ``run`` source code that the file brings along. what: the callee with its first
    arguments, or the name, as short text. name: dotted, as the file states it; empty where *what* stands for several.
    severity: ``error`` where it may run any code, ``warning`` for a class of another package that is only made and filled.
    count: how often.
    """

    kind: ActionKind
    what: str
    name: str = ""
    severity: Severity = "error"
    count: int = 1

    def __str__(self) -> str:
        """As ``not run: …`` names it: ``posix.system('x')``, ``importing os.system``."""
        return f"{_LINES.get(self.kind, '')}{self.what}{self._times}"

    @property
    def sentence(self) -> str:
        """What the file does, in the words of a finding: ``calls posix.system('x')``."""
        return f"{_VERBS[self.kind]}{self.what}{self._times}"

    @property
    def _times(self) -> str:
        return f" (and {self.count - 1:,} more like it)" if self.count > 1 and self.name else ""
