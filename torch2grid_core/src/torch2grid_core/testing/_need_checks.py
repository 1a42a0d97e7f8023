"""What a need of the plugin's own promises: names that are called, and parts that merge to what the whole gives."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Iterator, Mapping
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np

from torch2grid_core._data.checkpoint import Checkpoint
from torch2grid_core._data.tensor import LazyTensor
from torch2grid_core._engine.planning import check_needs, needs_of
from torch2grid_core._engine.reading import STOPS, Piece
from torch2grid_core._errors import NotDrawable
from torch2grid_core._guard import Origin, describe, origin_of, returned
from torch2grid_core._measures.need import Collector, Need
from torch2grid_core._measures.transformer import LayoutTransformer
from torch2grid_core._methods import misspelt, never_run
from torch2grid_core.testing._samples import settings
from torch2grid_core.testing._subject import ADVICE, NotConforming, Subject, check, expect

_PARTS = 3
_ROUNDING = 1e-6  # relative: sums of parts are added in another order


@check("view", "rule", "transformer")
def needs_are_spelt(subject: Subject) -> None:
    """Methods of its own needs and collectors have the names that are called."""
    seen: set[type] = set()
    for _, checkpoint, need in _own_needs(subject):
        classes: list[tuple[type, type]] = [(type(need), Need)]
        if not need.reads_itself:
            names = next((names for names in need.groups(checkpoint).values() if names), ())
            made = need.collector({name: checkpoint[name] for name in names}) if names else None
            classes += [(type(made), Collector)] if isinstance(made, Collector) else []
        for each, base in classes:
            if each not in seen and not each.__module__.startswith("torch2grid_core."):
                seen.add(each)
                wrong = [f"nothing calls {name}(); did you mean {meant}()?" for name, meant in misspelt(each, base)]
                wrong += never_run(each, base)
                expect(not wrong, f"{each.__name__}: {'; '.join(wrong)}")


@check("view", "rule", "transformer")
def needs_merge(subject: Subject) -> None:
    """Its own needs give results, and where they merge, parts of a tensor and tensors of a group give what one pass gives."""
    answers: dict[str, bool] = {}  # need → whether a result of it is more than None
    takes: dict[str, bool] = {}  # need → whether a collector of it is another once it has seen weights
    for about, checkpoint, need in _own_needs(subject):
        for names in need.groups(checkpoint).values():
            tensors = [checkpoint[name] for name in names]
            if not tensors or not all(map(_splits, tensors)):
                continue
            gathered = _gathered(need, tensors, 0, tensors[0].size if len(tensors) == 1 else 0)
            whole = _finished(need, gathered)
            kind = type(need).__name__
            if not need.reads_itself:
                fresh = need.collector({tensor.name: tensor for tensor in tensors})
                takes[kind] = takes.get(kind, False) or _differs(gathered, fresh)
            answers[kind] = answers.get(kind, False) or whole is not None
            if need.reads_itself or not all(map(need.merges, tensors)):
                continue
            if len(tensors) > 1:
                parts = [_gathered(need, [tensor], 0, tensor.size) for tensor in tensors]
            else:
                size = tensors[0].size
                step = max(need.aligned // tensors[0].dtype.itemsize, 1)  # a part begins where the need says
                bounds = [0, *(size * place // _PARTS // step * step for place in range(1, _PARTS)), size]
                parts = [_gathered(need, tensors, start, stop) for start, stop in pairwise(bounds)]
            merged = _finished(need, reduce(_merged, map(_sent, parts)))
            what = f"{about}: {type(need).__name__} of {', '.join(map(repr, names[:2]))}"
            expect(
                _alike(merged, whole), f"{what}: {len(parts)} parts merge to {_short(merged)}, one pass gives {_short(whole)}"
            )
    silent = [] if subject.declines else [kind for kind, answered in answers.items() if not answered]
    expect(not silent, f"every result of {' and '.join(silent)} is None; is a 'return' missing?{ADVICE}")
    idle = [] if subject.declines else [kind for kind, taken in takes.items() if not taken]
    expect(not idle, f"no weight changes the collector of {' and '.join(idle)}: its update does nothing{ADVICE}")


def _own_needs(subject: Subject) -> Iterator[tuple[str, Checkpoint, Need[Any]]]:
    """(sample, what it is about, need) of each need of a class that the core does not bring."""
    instance, run = subject.make(), settings()
    if subject.kind == "transformer" and not isinstance(instance, LayoutTransformer):
        return
    for about, checkpoint in subject.checkpoints.items():
        distinct = checkpoint.with_tensors([tensor.distinct() for tensor in checkpoint.values()])
        try:
            asked = list(_asked(subject, instance, distinct, run))
        except NotDrawable:
            continue
        for subjects, needs in asked:
            for need in needs.values():
                inner = need.gathered_by
                if not type(inner).__module__.startswith("torch2grid_core."):
                    yield about, subjects, inner


def _asked(
    subject: Subject, instance: Any, checkpoint: Checkpoint, run: Any
) -> Iterator[tuple[Checkpoint, Mapping[str, Need[Any]]]]:
    if subject.kind == "transformer":
        shapes = {name: tensor.shape for name, tensor in checkpoint.items()}
        yield checkpoint, check_needs(instance.needs(shapes), origin_of(instance), "needs", whole=True)
        return
    here = instance.subject(checkpoint, run)
    expect(isinstance(here, Checkpoint), returned("subject", here, "a Checkpoint"))
    yield here, needs_of(instance, instance.needs, here, run, whole=True)
    for tensor in here.values() if subject.kind == "view" else ():
        yield here.select([tensor.name]), needs_of(instance, instance.tensor_needs, tensor, run)


def _splits(tensor: LazyTensor) -> bool:
    return type(tensor) is LazyTensor and tensor.contiguous and 0 < tensor.size <= 1 << 20


def _gathered(need: Need[Any], tensors: list[LazyTensor], start: int, stop: int) -> Any:
    (found,) = Piece(tuple(tensors), ((need, Origin("need", type(need).__name__)),), start, stop).gather()
    if isinstance(found, STOPS):
        raise found
    return found


def _sent(part: Any) -> Any:
    """A collector as it comes from another process."""
    try:
        return pickle.loads(pickle.dumps(part))
    except Exception as error:
        told = f"a {type(part).__name__} cannot be pickled ({describe(error)}), and travels between processes where it merges"
        raise NotConforming(told) from error


def _merged(one: Any, other: Any) -> Any:
    before = copy.deepcopy(other)
    one.merge(other)
    expect(_alike(other, before), f"{type(one).__name__}.merge changes the collector that it takes in")
    return one


def _finished(need: Need[Any], gathered: Any) -> Any:
    return need.finish(copy.deepcopy(gathered))


def _alike(one: Any, other: Any) -> bool:
    """True where two results say the same, but for the rounding of sums."""
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        if one.shape != other.shape or one.dtype != other.dtype:
            return False
        if one.dtype.kind in "fc":
            return bool(np.allclose(one, other, rtol=_ROUNDING, atol=0, equal_nan=True))
        return bool(np.array_equal(one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=_ROUNDING) or (one != one and other != other)
    if type(one) is not type(other):
        return False
    if isinstance(one, Mapping):
        return list(one) == list(other) and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, (str, bytes, int, set, frozenset, type(None), type)) or callable(one):
        return bool(one == other)
    return _alike(list(one.__reduce_ex__(2)), list(other.__reduce_ex__(2)))  # its class, and its state


def _differs(one: Any, other: Any) -> bool:
    """True where two collectors hold something else, or what nobody can compare."""
    try:
        return not _alike(one, other)
    except Exception:  # a state of any kind
        return True


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:80]}…"
