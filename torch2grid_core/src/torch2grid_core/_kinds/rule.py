"""What ``torch2grid check`` looks for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch2grid_core._data.action import Severity as Severity
from torch2grid_core._data.checkpoint import Checkpoint
from torch2grid_core._measures.need import Need
from torch2grid_core._settings import Settings


@dataclass(frozen=True)
class Finding:
    """One thing that a rule found. tensor: its name, empty for the whole file; index: of the weight, where there is one.

    message: one line, about the tensor without naming it. severity: where it differs from the rule's.
    """

    message: str
    tensor: str = ""
    index: tuple[int, ...] | None = None
    severity: Severity | None = None


class Rule(ABC):
    """Finds one defect. Stateless; its thresholds are options.

    code: short and stable, a letter and three digits (``T101``), which ``--select`` and ``--ignore`` take. severity: what
    ``--fail-on`` compares with. judges: what the rule is about: ``"values"``, NaN, Inf and structure, which hold for any
    numbers of the file; ``"weights"``, only weights of the model and of copies of it; ``"file"``, the file as a whole.
    together: how the text report says in one line what it finds in many tensors: regular expression that is looked for in
    a message → what is said of the tensors that have such a message, by the first that fits (``{"": "hold NaN"}``). What
    follows a semicolon stands behind their names, and ``{first}`` is the message about the first of them.
    """

    name: ClassVar[str]
    code: ClassVar[str]
    severity: ClassVar[Severity] = "error"
    judges: ClassVar[Literal["values", "weights", "file"]] = "weights"
    together: ClassVar[Mapping[str, str]] = {}

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Need[Any]]:
        """What the rule wants of the tensors, as the overview of a view does; all rules and views share one pass.

        Raises ``NotDrawable`` where the file has nothing for the rule: it finds nothing then.
        """
        return {}

    @abstractmethod
    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Finding]:
        """The findings, in the order of the checkpoint. results: under the keys of ``needs``, tensor name → result."""
