"""What is wrong with a tensor that should be another: each known mistake is tried, and named where it is the whole difference.

A mistake is a way to make the tensor of *b* from that of *a* bit by bit, but for rounding. What costs a read of the whole
tensor is tried only where the norms leave it possible: an order of the weights keeps their squares.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from torch2grid_builtin._compare.delta import Delta
from torch2grid_builtin._compare.equal import equal, same_bits
from torch2grid_builtin._compare.figures import kind_and_layer
from torch2grid_builtin._compare.forming import heads_of
from torch2grid_builtin._compare.forms import Form, Grouped, Rotary, Rows, Transposed, Unfit, through
from torch2grid_builtin._compare.match import Pair
from torch2grid_builtin._compare.naming import Translation, origins_of
from torch2grid_builtin._views.units import ranges_text
from torch2grid_core import LazyTensor
from torch2grid_core.sources import dtype_named, is_floating, whole_shape
from torch2grid_core.text import counted, visible

Array = np.ndarray[Any, Any]
_CLOSE, _CLOSE_ROUNDED = 1e-6, 1e-2  # how far squares of the same weights may be apart
_NEAR = 2.0**-6  # ‖Δ‖/‖A‖ of what rounding may have done
_LEAST = 2.0**-15  # and of what is nearer
_FIRST = 1 << 10  # weights that mostly tell already
_HEADS_TRIED = 24
_ROWS = 1 << 14  # rows that are looked for in another order
_BYTES = 1 << 28


@dataclass(frozen=True)
class Wrong:
    """What is wrong with one tensor. text: about one, ``lacks …``; several: about more than one, ``lack …``."""

    name: str
    text: str
    several: str


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with *tensors*, in a sentence."""

    text: str
    tensors: tuple[str, ...]


def find_wrong(
    pairs: Mapping[str, Pair], deltas: Mapping[str, Delta], changed: Iterable[str], translation: Translation | None
) -> list[Wrong]:
    """The mistakes that are the whole difference of tensors in *changed*."""
    names = {*changed}
    found = []
    for name, pair in pairs.items():
        if name in names and not pair.reshaped and not deltas[name].broken and not (pair.a.repeats or pair.b.repeats):
            wrong = _wrong(pair, deltas[name], translation)
            if wrong is not None:
                found.append(Wrong(name, *wrong))
    return found


def _wrong(pair: Pair, delta: Delta, translation: Translation | None) -> tuple[str, str] | None:
    apart = abs(delta.squares_a - delta.squares_b)
    close = _CLOSE if pair.a.dtype == pair.b.dtype else _CLOSE_ROUNDED
    if apart <= close * max(delta.squares_a, delta.squares_b):
        for found in _in_order(pair, translation):
            return found
    if _LEAST < delta.relative < _NEAR and pair.a.dtype == pair.b.dtype:
        return _rounded_on_the_way(pair)
    if translation is not None:
        wrong = _other_layout(pair, translation)
        if wrong is not None:
            return wrong
    return _shifted(pair, delta) if len(whole_shape(pair.a.shape)) == 1 else None


def _in_order(pair: Pair, translation: Translation | None) -> Iterator[tuple[str, str]]:
    """The same weights in another order."""
    origins = origins_of(pair, translation)
    turned = [
        (side, next((form for form in origin.forms if isinstance(form, Rotary)), None))
        for side, origin in zip("ab", origins, strict=True)
    ]
    meant = next(((side, form) for side, form in turned if form is not None), None)
    if meant is not None:
        side, form = meant
        own, other = (pair.a, pair.b) if side == "a" else (pair.b, pair.a)
        undone = Rotary(form.head, not form.back)
        if _is(own, (undone,), other):
            yield "lacks the rotary permutation", "lack the rotary permutation"
        if _is(own, (form,), other):
            yield "has the rotary permutation twice", "have the rotary permutation twice"
        known = translation is not None and translation.head is not None
        for head in heads_of(own.shape[0])[:_HEADS_TRIED] if known else ():
            if head != form.head and _is(own, (undone, Rotary(head, form.back)), other):
                text = f"permuted for {_heads(own, head)}, where there are {_heads(own, form.head)}"
                yield f"is {text}", f"are {text}"
    elif pair.a.ndim and pair.a.shape[0] >= 4:
        heads = heads_of(pair.a.shape[0])[:_HEADS_TRIED]
        stated = translation.head if translation is not None else None
        for head in [*(each for each in heads if each == stated), *(each for each in heads if each != stated)]:
            if _is(pair.a, (Rotary(head, back=True),), pair.b):
                text = f"the rotary permutation that A has (heads of {head} rows)"
                yield f"lacks {text}", f"lack {text}"
            if _is(pair.a, (Rotary(head),), pair.b):
                text = f"a rotary permutation that A has not (heads of {head} rows)"
                yield f"has {text}", f"have {text}"
    if pair.a.ndim >= 2 and pair.a.shape[-1] == pair.a.shape[-2] and _is(pair.a, (Transposed(),), pair.b):
        yield "is transposed", "are transposed"
    if translation is not None:
        wrong = _other_layout(pair, translation)
        if wrong is not None:
            yield wrong
    if pair.a.ndim >= 2 and pair.a.shape[0] <= _ROWS and pair.a.nbytes <= _BYTES and _rows_moved(pair):
        what = "experts or matrices" if pair.a.ndim > 2 else "rows"
        yield f"has its {what} in another order", f"have their {what} in another order"


def _is(tensor: LazyTensor, forms: Sequence[Form], other: LazyTensor) -> bool:
    try:
        return equal(through(tensor, forms), other)
    except Unfit:
        return False


def _heads(tensor: LazyTensor, head: int) -> str:
    return f"{counted(tensor.shape[0] // head, 'head')} of {head} rows"


def _other_layout(pair: Pair, translation: Translation) -> tuple[str, str] | None:
    """Parts of a fused tensor that lie there otherwise than the other side has them."""
    origins = origins_of(pair, translation)
    for origin, checkpoint, other in zip(origins, translation.stored, (pair.b, pair.a), strict=True):
        stored = checkpoint.get(origin.stored) if origin.forms else None
        if stored is None:
            continue
        for place, form in enumerate(origin.forms):
            for instead, text in _instead(form, through_or(stored, origin.forms[:place]), translation.head):
                if _is(stored, (*origin.forms[:place], instead, *origin.forms[place + 1 :]), other):
                    return f"is {text}", f"are {text}"
    return None


def through_or(tensor: LazyTensor, forms: Sequence[Form]) -> LazyTensor | None:
    """*tensor* in *forms*; ``None`` where it does not fit."""
    try:
        return through(tensor, forms)
    except Unfit:
        return None


def _instead(form: Form, of: LazyTensor | None, head: int | None) -> Iterator[tuple[Form, str]]:
    """Other ways in which the part that *form* takes may lie in the fused tensor."""
    if of is None or not of.ndim:
        return
    rows = of.shape[0]
    if isinstance(form, Grouped):
        heads = [form.groups * (form.per - 2), form.groups, form.groups]
        place = 0 if form.first == 0 else form.first - (form.per - 3)
        ends = [0, heads[0], heads[0] + heads[1], sum(heads)]
        if 0 <= place < 3:
            yield (
                Rows(ends[place] * form.head, ends[place + 1] * form.head, rows),
                "taken from a fused tensor with q, k and v one after the other, not group by group",
            )
    if isinstance(form, Rows) and form.step == 1 and form.axis == 0:
        taken = form.last - form.first
        if 2 * taken == rows:
            yield Rows(int(form.first > 0), rows, rows, step=2), "taken from a fused tensor with rows in turn, not in halves"
            yield Rows(rows - form.last, rows - form.first, rows), "taken from a fused tensor with its halves exchanged"
        for each in [head] if head else heads_of(taken):
            group = _group(form, rows, each)
            if group is not None:
                yield group, "taken from a fused tensor with q, k and v group by group, not one after the other"
    if isinstance(form, Rows) and form.step == 2:
        half = rows // 2
        yield (
            Rows(0, half, rows) if form.first == 0 else Rows(half, rows, rows),
            ("taken from a fused tensor with its rows in halves, not in turn"),
        )


def _group(form: Rows, rows: int, head: int) -> Grouped | None:
    """The same heads, group by group, of a fused tensor of *rows*: k and v have as many rows each."""
    taken = form.last - form.first
    for keys in {(rows - taken) // 2, taken}:  # rows of k: of q, half of what is left; of k and v, themselves
        queries = rows - 2 * keys
        if keys < head or queries < head or keys % head or queries % keys:
            continue
        each = queries // keys
        starts = {0: (0, each), queries: (each, each + 1), queries + keys: (each + 1, each + 2)}
        at = starts.get(form.first)
        if at is not None and (at[1] - at[0]) * keys == taken:
            return Grouped(keys // head, each + 2, head, *at)
    return None


def _rows_moved(pair: Pair) -> bool:
    """Whether the rows of both are the same ones. Rounding is not looked through here."""
    if pair.a.dtype != pair.b.dtype:
        return False
    found = []
    for tensor in (pair.a, pair.b):
        rows = np.ascontiguousarray(np.asarray(tensor)).reshape(tensor.shape[0], -1)
        found.append(sorted(hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows))
    return found[0] == found[1]


def _rounded_on_the_way(pair: Pair) -> tuple[str, str] | None:
    """A tensor of the same dtype, that was another one in between."""
    dtype = pair.a.dtype
    if not is_floating(dtype):
        return None
    ways: list[tuple[Callable[[Array], Array], str]] = []
    for name in ("bfloat16", "float16", "float32"):
        through_dtype = dtype_named(name)
        if through_dtype is not None and through_dtype.itemsize < dtype.itemsize:
            ways.append((_Through(through_dtype), f"rounded to {name} and kept as {dtype.name}"))
    if dtype == np.float32:
        ways.append((_truncated, "cut off to bfloat16, not rounded, and kept as float32"))
    for way, text in ways:
        for one, two, side in ((pair.a, pair.b, "B"), (pair.b, pair.a, "A")):
            if _made(one, two, way):
                who = "" if side == "B" else ", in A"
                return f"is {text}{who}", f"are {text}{who}"
    return None


class _Through:
    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype

    def __call__(self, values: Array) -> Array:
        return values.astype(self.dtype).astype(values.dtype)


def _truncated(values: Array) -> Array:
    return (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def _shifted(pair: Pair, delta: Delta) -> tuple[str, str] | None:
    """A vector that some libraries store less one, or negated: a normalisation, a decay."""
    if not is_floating(pair.a.dtype) or pair.a.dtype != pair.b.dtype or pair.a.size < 2:
        return None
    by_one, negated = float(delta.weights), 4 * delta.squares_a  # what ‖Δ‖² is then
    ways = ((_plus_one, "A + 1", by_one), (_minus_one, "A − 1", by_one), (np.negative, "−A", negated))
    for way, text, squares in ways:
        near = abs(delta.squares - squares) <= _CLOSE_ROUNDED * squares
        if near and _made(pair.a, pair.b, way) and not _constant(pair.a):
            return f"is {text}", f"are {text}"
    return None


def _constant(tensor: LazyTensor) -> bool:
    """One number throughout: what it became says nothing."""
    return all(bool((part == part[0]).all()) for _, part in tensor.flat_chunks()) and (
        bool(tensor.read(0, 1)[0] == tensor.read(tensor.size - 1, tensor.size)[0])
    )


def _plus_one(values: Array) -> Array:
    return (values.astype(np.float64) + 1).astype(values.dtype)


def _minus_one(values: Array) -> Array:
    return (values.astype(np.float64) - 1).astype(values.dtype)


def _made(one: LazyTensor, two: LazyTensor, way: Callable[[Array], Array]) -> bool:
    """Whether *two* is what *way* makes of *one*, bit by bit."""
    count = min(_FIRST, one.size)
    with np.errstate(all="ignore"):
        if not same_bits(np.asarray(way(one.read(0, count))), two.read(0, count)):
            return False
        chunks = zip(one.flat_chunks(), two.flat_chunks(), strict=True)
        return all(same_bits(np.asarray(way(first)), second) for (_, first), (_, second) in chunks)


def moved_wrong(sources: Mapping[str, str]) -> list[Wrong]:
    """Tensors that hold what another held. sources: name → the name in A of what it holds."""
    found = []
    for name, source in sources.items():
        if sources.get(source) == name:
            if name < source:
                found.append(Wrong(name, f"⇄{source}", ""))
        else:
            found.append(Wrong(name, f"←{source}", ""))
    return found


def faults_of(wrong: Sequence[Wrong], names: Sequence[str]) -> tuple[Fault, ...]:
    """What is wrong, each thing once: of which kinds of tensor, in which layers."""
    layers: dict[str, set[Any]] = {}
    for name in names:
        kind, place = _kind(name)
        layers.setdefault(kind, set()).add(place)
    together: dict[tuple[str, str, str], dict[str, list[str]]] = {}
    for each in wrong:
        kind, place = _kind(each.name)
        if each.text[:1] in "⇄←":
            source, at = _kind(each.text[1:])
            if each.text[0] == "⇄" and at == place:
                text = f"{_called(kind)} and {_called(source)}", "", "are exchanged"
            elif each.text[0] == "⇄" and kind == source:
                text = f"{_called(kind)}", f"{_where([place, at], set())}", "are exchanged"
            elif at == place:
                text = f"{_called(kind)}", "", f"holds what {_called(source)} held"
            elif kind == source:
                text = f"{_called(kind)}", "", "holds what that of another layer or expert held"
            else:
                text = f"{_called(kind)}", "", f"holds what {visible(each.text[1:])} held"
            both = [each.name, each.text[1:]] if each.text[0] == "⇄" else [each.name]
            together.setdefault(text, {}).setdefault(kind, []).extend(both)
        else:
            together.setdefault(("", each.text, each.several), {}).setdefault(kind, []).append(each.name)
    found = []
    for (subject, one, several), kinds in together.items():
        if subject:
            members = [name for some in kinds.values() for name in some]
            kind = next(iter(kinds))
            where = one or _where([_kind(name)[1] for name in members], layers[kind])
            found.append(Fault(f"{subject}{where} {several}", tuple(members)))
            continue
        by_place: dict[str, list[str]] = {}
        for kind, members in kinds.items():
            by_place.setdefault(_where([_kind(name)[1] for name in members], layers[kind]), []).append(kind)
        for where, same in by_place.items():
            members = [name for kind in same for name in kinds[kind]]
            called = list(dict.fromkeys(_called(kind) for kind in same))
            subject = called[0] if len(called) == 1 else f"{', '.join(called[:-1])} and {called[-1]}"
            found.append(Fault(f"{subject}{where} {one if len(called) == 1 else several}", tuple(members)))
    return tuple(found)


def _kind(name: str) -> tuple[str, tuple[int, ...]]:
    """The name with ``*`` for its numbers, and these: layer, expert."""
    kind, first = kind_and_layer(name)
    if first is None:
        return name, ()
    inner, second = kind_and_layer(kind)
    return (kind, (first,)) if second is None else (inner, (first, second))


def _called(kind: str) -> str:
    """The last module of a name; of an expert, whose."""
    parts = [part for part in kind.split(".") if part != "weight"]
    last = parts[-1] if parts else kind
    if parts[-1:] == ["bias"] and len(parts) > 1:
        last = f"{parts[-2]}.bias"
    return visible(f"experts' {last}" if "experts" in parts else last, 60)


def _where(places: Sequence[tuple[int, ...]], every: set[Any]) -> str:
    """`` of all layers``, `` of layer 3``, `` of layers 0–2``; experts besides."""
    if not places or not places[0]:
        return ""
    own = {*places}
    if own == every and len(own) > 1:
        return " of all layers"
    layers = sorted({place[0] for place in own})
    text = f" of {'layer' if len(layers) == 1 else 'layers'} {ranges_text(tuple(layers))}"
    if len(places[0]) > 1:
        if own == {place for place in every if place[0] in {*layers}}:
            return text
        experts = sorted({place[1] for place in own})
        return f"{text}, {'expert' if len(experts) == 1 else 'experts'} {ranges_text(tuple(experts))}"
    return text
