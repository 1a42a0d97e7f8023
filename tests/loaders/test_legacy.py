"""Streams from before PyTorch's zip archives, made here part by part: read to the byte, and refused where they lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.support.loaders.saved import DATA, Id, Made, block, dumped, numbers, storage, tensor

from torch2grid_builtin._inert import limits
from torch2grid_builtin._inert.actions import Actions
from torch2grid_builtin._inert.constructors import CONSTRUCTORS
from torch2grid_builtin._inert.legacy import MAGIC, PROTOCOL, read_legacy
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.remains import note_remains
from torch2grid_builtin._inert.values import Global, Pairs, StorageRef
from torch2grid_core.sources import BytesStorage


def stream(
    value: Any, keys: Any = ("k",), blocks: tuple[bytes, ...] = (block(),), *, magic: int = MAGIC, protocol: int = PROTOCOL
) -> BytesStorage:
    head = dumped(magic) + dumped(protocol) + dumped({"little_endian": True}) + dumped(value)
    return BytesStorage(head + dumped(list(keys) if isinstance(keys, tuple) else keys) + b"".join(blocks))


def test_a_stream_gives_its_object_its_calls_and_its_length() -> None:
    second = np.array([-7, 8], dtype=np.int64)
    value = {"a": tensor(storage(), 1, (2, 2), (1, 2)), "b": tensor(storage("2", 2, kind=torch.LongStorage), 0, (2,))}
    raw = stream({**value, "c": Made(pow, 2, 3)}, ("2", "k"), (block(second), block()))
    longer = BytesStorage(bytes(raw.data) + b"behind")
    actions = Actions()
    found, length = read_legacy(longer, CONSTRUCTORS, actions=actions)
    assert isinstance(found, Pairs)
    assert (numbers(found.get("a")), numbers(found.get("b"))) == ([[2, 4], [3, 5]], [-7, 8])
    (asked,) = actions.sorted()
    assert (asked.kind, asked.module, asked.name, asked.times) == ("call", "__builtin__", "pow", 1)  # as protocol 2 names it
    assert length == raw.size


def test_a_slice_of_a_storage_is_one_object_with_a_place() -> None:
    view = ("view", 2, 3)
    value = [
        tensor(storage(view=view), 0, (3,)),
        storage(view=view),
        storage(view=view),
        storage(view=("other", 3, 3)),
        storage(),
    ]
    (first, one, same, other, whole), _ = read_legacy(stream(value), CONSTRUCTORS)
    assert numbers(first) == [3, 4, 5]
    assert one is same
    assert one is not other
    assert (one.first, one.numel, one.dtype_name, one.swapped, one.storage) == (2, 3, "float32", False, whole.storage)
    assert (other.first, other.numel) == (3, 3)
    assert (whole.first, whole.numel) == (0, 6)
    (short,), _ = read_legacy(stream([Id("storage", torch.FloatStorage, "k", "cpu", 6)]), CONSTRUCTORS)
    assert isinstance(short, StorageRef)
    raw = stream([storage(view=each) for each in (("u", 6, 0), ("v", 0, 6), ("w", 0, 6))])
    (edge, begin, named), _ = read_legacy(raw, CONSTRUCTORS)
    assert (edge.first, edge.numel, begin.first, begin.numel) == (6, 0, 0, 6)
    assert named is not begin
    for again in (("view", 3, 3), ("view", 2, 2)):  # PyTorch takes the first for both
        with pytest.raises(Malformed, match="slice 'view' of a storage is described twice, differently"):
            read_legacy(stream([storage(view=view), storage(view=again)]), CONSTRUCTORS)
    for key in ("k", None, 5):
        with pytest.raises(Malformed, match="without a key of its own"):
            read_legacy(stream([storage(view=(key, 2, 3))]), CONSTRUCTORS)
    for wrong in (("v", 2), ["v", 2, 3], ("v", 2, 5), ("v", -1, 2), ("v", 2, -1), ("v", 2.0, 3), ("v", 2, 3.0)):
        with pytest.raises(Malformed, match="a slice"):
            read_legacy(stream([storage(view=wrong)]), CONSTRUCTORS)


def test_a_class_with_its_source_is_the_class() -> None:
    (found, of_storage), _ = read_legacy(
        stream([Id("module", torch.nn.Linear, "x.py", "class …"), tensor(storage())]), CONSTRUCTORS
    )
    assert isinstance(found, Global)
    assert found.name == "Linear"
    assert numbers(of_storage) == DATA.tolist()
    (found, _), _ = read_legacy(stream([Id("module", 5), storage()]), CONSTRUCTORS)
    assert found == 5


LIES: dict[str, tuple[dict[str, Any], str]] = {
    "magic": ({"magic": MAGIC + 1}, "magic number"),
    "protocol": ({"protocol": 1002}, "protocol of this legacy PyTorch file is not 1001"),
    "keys": ({"keys": "k"}, "list of storages is missing"),
    "key of nothing": ({"keys": ("k", "x"), "blocks": (block(), block())}, "names one that nothing uses"),
    "key that is no text": ({"keys": (5,)}, "names one that nothing uses"),
    "key twice": ({"keys": ("k", "k"), "blocks": (block(), block())}, "'k' is in the file twice"),
    "missing": ({"keys": (), "blocks": ()}, "'k' is used, but not in the file"),
    "length": ({"blocks": (block(numel=5),)}, "'k' has 5 numbers in the file, 6 are stated"),
    "cut": ({"blocks": (block()[:-1],)}, "24 bytes is claimed where 23 are left"),
    "cut length": ({"blocks": (block()[:7],)}, "8 bytes is claimed where 7 are left"),
    "two lengths": ({"value": [storage(), storage(numel=7)]}, "described twice, differently"),
    "two dtypes": ({"value": [storage(), storage(kind=torch.IntStorage)]}, "described twice, differently"),
    "no storage": ({"value": Id("other", 5)}, "names no storage"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_stream_that_lies_is_refused(lie: str) -> None:
    parts, reason = LIES[lie]
    with pytest.raises(Malformed, match=reason):
        read_legacy(stream(**{"value": [storage()], **parts}), CONSTRUCTORS)


def test_an_id_before_the_object_is_refused() -> None:
    with pytest.raises(Malformed, match="in front of the object"):
        read_legacy(BytesStorage(dumped(MAGIC) + dumped(storage())), CONSTRUCTORS)
    with pytest.raises(Malformed, match="in front of the object"):
        read_legacy(BytesStorage(dumped(MAGIC) + dumped(PROTOCOL) + dumped([storage()])), CONSTRUCTORS)


def test_storages_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STORAGES", 2)
    keys = ("0", "1", "2")
    for count in (2, 3):
        raw = stream([storage(key) for key in keys[:count]], keys[:count], (block(),) * count)
        if count == 2:
            assert len(read_legacy(raw, CONSTRUCTORS)[0]) == 2
        else:
            with pytest.raises(Malformed, match="more storages than any checkpoint"):
                read_legacy(raw, CONSTRUCTORS)


def test_streams_inside_streams_end(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = bytes(stream([storage()]).data)
    for _ in range(limits.PICKLES):
        raw = bytes(stream([Made(torch.storage._load_from_bytes, raw), storage()]).data)
    value, _ = read_legacy(BytesStorage(raw), CONSTRUCTORS)
    for _ in range(limits.PICKLES):
        value = value[0]
    assert isinstance(value[0], StorageRef)
    with pytest.raises(Malformed, match="nested in pickles"):
        read_legacy(stream([Made(torch.storage._load_from_bytes, raw), storage()]), CONSTRUCTORS)
    monkeypatch.setattr(limits, "PICKLES", 9)
    nested = stream([Made(torch.storage._load_from_bytes, bytes(stream([Made(pow, 2, 3)], (), ()).data))], (), ())
    actions = Actions()
    read_legacy(nested, CONSTRUCTORS, actions=actions)
    assert [(asked.kind, asked.name) for asked in actions.sorted()] == [("call", "pow")]


def sparse(indices: Id) -> Made:
    """A sparse vector of three numbers: 1, 2 and 3."""
    places = Made(torch._utils._rebuild_tensor, indices, 0, (1, 3), (3, 1))
    values = tensor(storage("v", 3), 0, (3,))
    return Made(torch._utils._rebuild_sparse_tensor, "sparse_coo", (places, values, (9,)))


def test_a_stream_whose_numbers_are_looked_at_is_read_again_when_they_are_found() -> None:
    value = [sparse(storage("i", 3, kind=torch.LongStorage)), storage(view=("part", 2, 3)), Made(pow, 2, 3), storage()]
    blocks = (block(), block(np.array([1.5, 2.5, 3.5], dtype=np.float32)))
    for last in (8, 9):
        raw = stream(value, ("k", "v", "i"), (*blocks, block(np.array([0, 4, last]))))
        actions = Actions()
        if last == 9:
            with pytest.raises(Malformed, match="an index outside its size: 0–9 of 9"):
                read_legacy(raw, CONSTRUCTORS, actions=actions)
        else:
            (found, view, _, whole), length = read_legacy(raw, CONSTRUCTORS, actions=actions)
            assert numbers(found) == [1.5, 2.5, 3.5]
            assert (view.first, view.numel, view.storage) == (2, 3, whole.storage)
            assert length == raw.size
        (asked,) = actions.sorted()
        assert (asked.kind, asked.name, asked.times) == ("call", "pow", 1)


def test_a_stream_that_breaks_names_what_stands_behind_too() -> None:
    raw = bytes(stream([Made(pow, 2, 3), storage(view=("v", 2, 9)), Made(divmod, 2, 3)]).data)
    actions = Actions()
    with pytest.raises(Malformed, match="a slice 2 of a storage of 6"):
        read_legacy(BytesStorage(raw), CONSTRUCTORS, actions=actions)
    note_remains(actions)
    assert [asked.name for asked in actions.sorted()] == ["pow", "divmod"]


def test_a_slice_is_not_called_like_a_storage_that_comes_later() -> None:
    for key in ("late", "other"):
        raw = stream([storage(view=("late", 2, 3)), storage(key)], ("k", key), (block(), block()))
        if key == "other":
            assert len(read_legacy(raw, CONSTRUCTORS)[0]) == 2
        else:
            with pytest.raises(Malformed, match="without a key of its own"):
                read_legacy(raw, CONSTRUCTORS)


def test_a_stream_may_cost_what_its_size_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = stream([Made(list, [None] * 4), storage()])
    work = limits.Work()
    before, opcodes = work.left, work.opcodes
    read_legacy(raw, CONSTRUCTORS, work)
    cost = 4 * limits.COPIED + 1  # and a key
    assert before - work.left == cost
    twice = stream([Made(list, [None] * 4), sparse(storage("i", 3, kind=torch.LongStorage))], ("v", "i"), ())
    with pytest.raises(Malformed, match="'i' is used, but not in the file"):
        read_legacy(stream([sparse(storage("i", 3, kind=torch.LongStorage))], ("v",), (block(DATA[:3]),)), CONSTRUCTORS)
    work = limits.Work()
    read_legacy(BytesStorage(bytes(twice.data) + block(DATA[:3]) + block(np.arange(3))), CONSTRUCTORS, work)
    assert before - work.left > 2 * 4 * limits.COPIED
    assert opcodes - work.opcodes <= twice.size  # its opcodes count once all the same
    monkeypatch.setattr(limits, "WORK_ALWAYS", cost - 1)
    monkeypatch.setattr(limits, "WORK_BYTES", 1 << 20)
    with pytest.raises(Malformed, match="repeats its objects"):
        read_legacy(raw, CONSTRUCTORS)
