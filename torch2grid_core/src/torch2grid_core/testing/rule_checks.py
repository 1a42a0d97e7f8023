"""What a rule promises: a stable code, and findings that say where."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch2grid_core.data.checkpoint import Checkpoint
from torch2grid_core.engine.run import Engine
from torch2grid_core.errors import NotDrawable
from torch2grid_core.kinds.rule import Finding
from torch2grid_core.kinds.view import View
from torch2grid_core.needs import Need
from torch2grid_core.pictures.page import Page
from torch2grid_core.run import Run
from torch2grid_core.testing.checking import check, expect
from torch2grid_core.testing.drawing import settings
from torch2grid_core.testing.samples import sample_checkpoints
from torch2grid_core.testing.subject import Subject


class _Asking(View):
    """A view that asks for what a rule needs and keeps its findings."""

    name = "asking"

    def __init__(self, rule: Any) -> None:
        self.rule, self.found = rule, list[Finding]()

    def needs(self, checkpoint: Checkpoint, run: Run) -> Mapping[str, Need]:
        needs: Mapping[str, Need] = self.rule.needs(checkpoint, run)
        return needs

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Run) -> Iterable[Page]:
        self.found = list(self.rule.findings(checkpoint, results, run))
        return ()


def findings(rule: Any, checkpoint: Checkpoint) -> list[Finding]:
    """What *rule* finds in *checkpoint*."""
    view = _Asking(rule)
    try:
        Engine().run(checkpoint, [view], lambda _: None, settings())
    except NotDrawable:
        return []
    return view.found


@check("rule")
def code_and_severity(subject: Subject) -> None:
    """The code is a letter (or more) and three digits (or more), the severity error or warning."""
    rule = subject.make()
    expect(isinstance(rule.code, str) and re.fullmatch(r"[A-Z]+\d{3,}", rule.code), f"code is {rule.code!r}, not like T101")
    expect(rule.severity in ("error", "warning"), f"severity is {rule.severity!r}, not error or warning")


@check("rule")
def findings_say_where(subject: Subject) -> None:
    """Findings have a message of one line, name a tensor of the checkpoint (or none), and an index inside its shape."""
    for about, checkpoint in sample_checkpoints().items():
        for found in findings(subject.make(), checkpoint):
            expect(isinstance(found, Finding), f"{about}: findings yields {type(found).__name__}, not a Finding")
            one_line = isinstance(found.message, str) and found.message.strip() and "\n" not in found.message
            expect(one_line, f"{about}: a message is {found.message!r}, not one line")
            known = found.tensor in checkpoint or found.tensor == ""
            expect(known, f"{about}: a finding is about {found.tensor[:40]!r}, which is no tensor")
            expect(found.severity in (None, "error", "warning"), f"{about}: severity {found.severity!r}")
            if found.index is not None:
                expect(found.tensor in checkpoint, f"{about}: index {found.index} without a tensor")
                shape = checkpoint[found.tensor].distinct().shape
                inside = len(found.index) == len(shape) and all(0 <= i < n for i, n in zip(found.index, shape, strict=True))
                expect(inside, f"{about}: index {found.index} in a tensor of shape {shape}")


@check("rule")
def deterministic(subject: Subject) -> None:
    """The same checkpoint gives the same findings, from the same instance and from another: a rule is stateless."""
    rule = subject.make()
    for about, checkpoint in sample_checkpoints().items():
        first = findings(rule, checkpoint)
        expect(findings(rule, checkpoint) == first, f"{about}: a second run finds something else")
        expect(findings(subject.make(), checkpoint) == first, f"{about}: another instance finds something else")
