"""What a rule promises: a stable code, and findings that say where."""

from __future__ import annotations

import contextlib
import re
from typing import Any

from torch2grid_core._data.checkpoint import Checkpoint
from torch2grid_core._engine.checking import CODE, SEVERITIES, Found, check as run_rules, choose_rules
from torch2grid_core.testing._samples import settings
from torch2grid_core.testing._subject import ADVICE, Subject, check, expect


def _findings(rule: Any, checkpoint: Checkpoint) -> list[Found]:
    return run_rules(checkpoint, choose_rules([rule]), run=settings())


@check("rule")
def code_and_severity(subject: Subject) -> None:
    """The code is a letter (or more) and three digits (or more), severity, ``judges`` and ``together`` are what they may be."""
    rule = subject.make()
    code = getattr(rule, "code", None)
    expect(isinstance(code, str) and CODE.fullmatch(code), f"code is {code!r}, not like T101")
    expect(rule.severity in SEVERITIES, f"severity is {rule.severity!r}, not error, warning or note")
    expect(rule.judges in ("values", "weights", "file"), f"judges is {rule.judges!r}, not values, weights or file")
    mine = subject.cls.__module__.startswith("torch2grid_builtin.")
    expect(mine or not re.fullmatch(r"T\d+", str(code)), f"code is {code}: T belongs to torch2grid-builtin, take other letters")
    for pattern, said in rule.together.items():
        front, _, rest = str(said).partition("; ")
        strange = [*re.findall(r"\{\w*\}", front), *(word for word in re.findall(r"\{\w*\}", rest) if word != "{first}")]
        expect(not strange, f"together: {said!r} has {' and '.join(strange)}; only {{first}} is filled in, behind a semicolon")
        with contextlib.suppress(re.error, TypeError):
            re.compile(pattern)
            continue
        expect(False, f"together: {pattern!r} is not a regular expression, so {said!r} is never used")


@check("rule")
def findings_say_where(subject: Subject) -> None:
    """Findings have a message of one line, name a tensor of the checkpoint (or none), and an index inside its shape."""
    for about, checkpoint in subject.checkpoints.items():
        for found in _findings(subject.make(), checkpoint):
            one_line = isinstance(found.message, str) and found.message.strip() and "\n" not in found.message
            expect(one_line, f"{about}: a message is {found.message!r}, not one line")
            known = found.tensor in checkpoint or found.tensor == ""
            expect(known, f"{about}: a finding is about {found.tensor[:40]!r}, which is not a tensor")
            expect(found.severity in SEVERITIES, f"{about}: severity {found.severity!r}")
            if found.index is not None:
                expect(found.tensor in checkpoint, f"{about}: index {found.index} without a tensor")
                shape = checkpoint[found.tensor].distinct().shape
                inside = len(found.index) == len(shape) and all(0 <= i < n for i, n in zip(found.index, shape, strict=True))
                expect(inside, f"{about}: index {found.index} in a tensor of shape {shape}")


@check("rule")
def something_is_found(subject: Subject) -> None:
    """It finds something in one sample: of its own, where samples= gives some. declines=True says that it does not have to."""
    if subject.declines:
        return
    tried = subject.meant_for if subject.samples else subject.checkpoints
    if not any(_findings(subject.make(), checkpoint) for checkpoint in tried.values()):
        about = ", ".join(name[:60] for name in tried)
        expect(False, f"it finds nothing in any sample ({about})" + ("" if subject.samples else ADVICE))


@check("rule")
def deterministic(subject: Subject) -> None:
    """The same checkpoint gives the same findings, from the same instance and from another: a rule is stateless."""
    rule = subject.make()
    for about, checkpoint in subject.checkpoints.items():
        first = _findings(rule, checkpoint)
        expect(_findings(rule, checkpoint) == first, f"{about}: a second run finds something else")
        expect(_findings(subject.make(), checkpoint) == first, f"{about}: another instance finds something else")
