"""What a decoder promises, on checkpoints that it knows and on others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch2grid_core._data.checkpoint import Checkpoint
from torch2grid_core._errors import LoadError
from torch2grid_core.testing._checking import check
from torch2grid_core.testing._expectation import expect
from torch2grid_core.testing._loader_checks import copy_agrees, reads_of_agree
from torch2grid_core.testing._samples import sample_checkpoints
from torch2grid_core.testing._subject import Subject


def _composed(subject: Subject) -> Iterator[tuple[Checkpoint, Mapping[str, Any], Checkpoint]]:
    """Each checkpoint that *files* made, what the decoder claims of it, and what becomes of it."""
    with subject.made("checkpoints") as found:
        for checkpoint in found:
            expect(isinstance(checkpoint, Checkpoint), f"files= returned {type(checkpoint).__name__}, not a Checkpoint")
            claims = subject.make().claims(checkpoint)
            expect(bool(claims), f"{checkpoint!r}: it claims nothing")
            decoded = subject.make().decode(checkpoint)
            expect(isinstance(decoded, Checkpoint), f"decode returned {type(decoded).__name__}, not a Checkpoint")
            yield checkpoint, claims, decoded


@check("decoder")
def claims_are_stored(subject: Subject) -> None:
    """claims names stored tensors for each new name, the same each time, and leaves the checkpoint as it is."""
    for checkpoint, claims, _ in _composed(subject):
        before = list(checkpoint.items())
        for name, stored in claims.items():
            expect(isinstance(name, str) and isinstance(stored, (list, tuple)), f"claims: {name!r} is not of a list of names")
            expect(all(each in checkpoint for each in stored), f"claims: {name!r} is of {list(stored)!r}, not all are stored")
        again = subject.make().claims(checkpoint)
        expect(
            {name: list(each) for name, each in again.items()} == {name: list(claims[name]) for name in claims},
            "claims says something else the second time",
        )
        expect(list(checkpoint.items()) == before, "the checkpoint was changed")


@check("decoder")
def what_it_claims_is_composed(subject: Subject) -> None:
    """decode composes what it claims, each with a note, and leaves every other tensor as it is, and nothing to claim."""
    for checkpoint, claims, decoded in _composed(subject):
        used = {each for stored in claims.values() for each in stored}
        for name in claims:
            made = decoded.composed.get(name)
            expect(made is not None and made.by == subject.name, f"{name!r} was not composed by checkpoint.compose")
            expect(decoded[name].note, f"{name!r} has no note")
        others = {name: tensor for name, tensor in checkpoint.items() if name not in used}
        kept = {name: tensor for name, tensor in decoded.items() if name not in claims}
        expect(kept == others, f"other tensors were changed: {sorted(kept.keys() ^ others.keys())[:3]}")
        expect(not subject.make().claims(decoded), "it claims something of what it has decoded")


@check("decoder")
def composed_reads_agree(subject: Subject) -> None:
    """Every way to read a composed tensor gives the same weights: whole, in chunks, any range, and from a pickled copy."""
    for _, claims, decoded in _composed(subject):
        for name in claims:
            reads_of_agree(decoded[name].check())
            copy_agrees(decoded[name])


@check("decoder")
def others_are_left_alone(subject: Subject) -> None:
    """Of a checkpoint that has nothing for it, it claims nothing, and decode leaves every tensor as it is."""
    for about, checkpoint in sample_checkpoints().items():
        try:
            claims = subject.make().claims(checkpoint)
        except LoadError:
            continue
        expect(isinstance(claims, Mapping), f"{about}: claims returned {type(claims).__name__}, not a mapping")
        if not claims:
            expect(dict(subject.make().decode(checkpoint)) == dict(checkpoint), f"{about}: decode changed tensors")
