"""Streams and tars from before PyTorch's zip archives, made here part by part: read to the byte, and refused where they lie."""

from __future__ import annotations

import io
import pickle
import struct
from typing import Any

import numpy as np
import pytest
import torch

from torch2grid_builtin.inert import limits
from torch2grid_builtin.inert import stream as stream_module
from torch2grid_builtin.inert.constructors import CONSTRUCTORS
from torch2grid_builtin.inert.legacy import MAGIC, PROTOCOL, read_legacy, read_tar
from torch2grid_builtin.inert.machine import Machine
from torch2grid_builtin.inert.stream import PickleStream
from torch2grid_builtin.inert.values import Global, Malformed, Pairs, StorageRef, Tensor
from torch2grid_core import BytesStorage

DATA = np.arange(1, 7, dtype=np.float32)


class Id:
    """What is pickled as a persistent id."""

    def __init__(self, *saved: Any) -> None:
        self.saved = saved


class Made:
    """What is pickled as a call."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> Any:
        return self.function, self.args


class Pickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        return value.saved if isinstance(value, Id) else None


def dumped(value: Any, protocol: int = 2) -> bytes:
    buffer = io.BytesIO()
    Pickler(buffer, protocol).dump(value)
    return buffer.getvalue()


def storage(key: Any = "k", numel: Any = 6, view: Any = None, kind: Any = torch.FloatStorage) -> Id:
    return Id("storage", kind, key, "cpu", numel, view)


def tensor(where: Any, offset: int = 0, size: tuple[int, ...] = (6,), steps: tuple[int, ...] = (1,)) -> Made:
    return Made(torch._utils._rebuild_tensor, where, offset, size, steps)


def block(array: np.ndarray = DATA, numel: int | None = None) -> bytes:
    return struct.pack("<q", array.size if numel is None else numel) + array.tobytes()


def stream(
    value: Any, keys: Any = ("k",), blocks: tuple[bytes, ...] = (block(),), *, magic: int = MAGIC, protocol: int = PROTOCOL
) -> BytesStorage:
    head = dumped(magic) + dumped(protocol) + dumped({"little_endian": True}) + dumped(value)
    return BytesStorage(head + dumped(list(keys) if isinstance(keys, tuple) else keys) + b"".join(blocks))


def numbers(value: Any) -> Any:
    assert isinstance(value, Tensor)
    assert value.lazy is not None, value.reason
    return value.lazy.numpy().tolist()


def test_a_stream_gives_its_object_its_calls_and_its_length() -> None:
    second = np.array([-7, 8], dtype=np.int64)
    value = {"a": tensor(storage(), 1, (2, 2), (1, 2)), "b": tensor(storage("2", 2, kind=torch.LongStorage), 0, (2,))}
    raw = stream({**value, "c": Made(pow, 2, 3)}, ("2", "k"), (block(second), block()))
    longer = BytesStorage(bytes(raw.data) + b"behind")
    found, calls, length = read_legacy(longer)
    assert isinstance(found, Pairs)
    assert (numbers(found.get("a")), numbers(found.get("b"))) == ([[2, 4], [3, 5]], [-7, 8])
    assert [call.path for call in calls] == ["__builtin__.pow"]  # as protocol 2 names it
    assert length == raw.size


def test_a_slice_of_a_storage_is_one_object_with_a_place() -> None:
    view = ("view", 2, 3)
    value = [
        tensor(storage(view=view), 0, (3,)),
        storage(view=view),
        storage(view=view),
        storage(view=("view", 3, 3)),
        storage(),
    ]
    (first, one, same, other, whole), _, _ = read_legacy(stream(value))
    assert numbers(first) == [3, 4, 5]
    assert one is same
    assert one is not other
    assert (one.first, one.numel, one.dtype_name, one.swapped, one.storage) == (2, 3, "float32", False, whole.storage)
    assert (other.first, other.numel) == (3, 3)
    assert (whole.first, whole.numel) == (0, 6)
    (short,), _, _ = read_legacy(stream([Id("storage", torch.FloatStorage, "k", "cpu", 6)]))
    assert isinstance(short, StorageRef)
    (edge, begin, named), _, _ = read_legacy(stream([storage(view=each) for each in (("v", 6, 0), ("v", 0, 6), ("w", 0, 6))]))
    assert (edge.first, edge.numel, begin.first, begin.numel) == (6, 0, 0, 6)
    assert named is not begin
    for wrong in (("v", 2), ["v", 2, 3], ("v", 2, 5), ("v", -1, 2), ("v", 2, -1), ("v", 2.0, 3), ("v", 2, 3.0)):
        with pytest.raises(Malformed, match="a slice"):
            read_legacy(stream([storage(view=wrong)]))


def test_a_class_with_its_source_is_the_class() -> None:
    (found, of_storage), _, _ = read_legacy(stream([Id("module", torch.nn.Linear, "x.py", "class …"), tensor(storage())]))
    assert isinstance(found, Global)
    assert found.name == "Linear"
    assert numbers(of_storage) == DATA.tolist()
    (found, _), _, _ = read_legacy(stream([Id("module", 5), storage()]))
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
        read_legacy(stream(**{"value": [storage()], **parts}))


def test_an_id_before_the_object_is_refused() -> None:
    with pytest.raises(Malformed, match="in front of the object"):
        read_legacy(BytesStorage(dumped(MAGIC) + dumped(storage())))
    with pytest.raises(Malformed, match="in front of the object"):
        read_legacy(BytesStorage(dumped(MAGIC) + dumped(PROTOCOL) + dumped([storage()])))


def test_storages_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STORAGES", 2)
    keys = ("0", "1", "2")
    for count in (2, 3):
        raw = stream([storage(key) for key in keys[:count]], keys[:count], (block(),) * count)
        if count == 2:
            assert len(read_legacy(raw)[0]) == 2
        else:
            with pytest.raises(Malformed, match="more storages than any checkpoint"):
                read_legacy(raw)


def test_streams_inside_streams_end(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = bytes(stream([storage()]).data)
    for _ in range(limits.PICKLES):
        raw = bytes(stream([Made(torch.storage._load_from_bytes, raw), storage()]).data)
    value, _, _ = read_legacy(BytesStorage(raw))
    for _ in range(limits.PICKLES):
        value = value[0]
    assert isinstance(value[0], StorageRef)
    with pytest.raises(Malformed, match="nested in pickles"):
        read_legacy(stream([Made(torch.storage._load_from_bytes, raw), storage()]))
    monkeypatch.setattr(limits, "PICKLES", 9)
    nested = stream([Made(torch.storage._load_from_bytes, bytes(stream([Made(pow, 2, 3)], (), ()).data))], (), ())
    assert len(read_legacy(nested)[1]) == 1


def inner(value: bytes) -> bytes:
    """A legacy stream without storages, around a pickled value."""
    return dumped(MAGIC) + dumped(PROTOCOL) + b"N." + value + b"]."


def called(raw: bytes, times: int = 1) -> bytes:
    """A pickle that has *raw* loaded so many times, from one byte string."""
    start = b"ctorch.storage\n_load_from_bytes\n\x940B" + struct.pack("<I", len(raw)) + raw + b"\x85\x940("
    return start + b"h\x00h\x01R" * times + b"l"


def test_pickles_in_pickles_share_what_they_may_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = inner(b"N.")
    outer = Machine(PickleStream(BytesStorage(called(raw, 3) + b".")), CONSTRUCTORS)
    before = outer.work.left
    assert outer.load() == [None] * 3
    cost = limits.INNER + limits.INNER_BYTE * (len(raw) + len(b"N."))  # the object is read twice
    assert before - outer.work.left == 3 * cost
    # What stands in long strings is no instruction here either.
    longer = inner(b"X" + struct.pack("<I", 5000) + b"a" * 5000 + b".")
    outer = Machine(PickleStream(BytesStorage(called(longer) + b".")), CONSTRUCTORS)
    outer.load()
    assert before - outer.work.left == limits.INNER + limits.INNER_BYTE * (len(longer) - 5000 + len(b"X....."))
    monkeypatch.setattr(limits, "WORK_ALWAYS", 3 * cost)
    monkeypatch.setattr(limits, "WORK_BYTES", 1 << 20)
    for count in (3, 4):
        reader = Machine(PickleStream(BytesStorage(called(raw, count) + b".")), CONSTRUCTORS)
        if count == 3:
            reader.load()
        else:
            with pytest.raises(Malformed, match="repeats its objects"):
                reader.load()


def test_pickles_in_pickles_share_their_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "WINDOW", 16)
    lists = inner(b"](]]e.")  # three lists; those that are kept are counted, and the calls
    reader = Machine(PickleStream(BytesStorage(called(lists, 4) + b".")), CONSTRUCTORS)
    reader.load()
    assert reader.containers == 4 * (1 + 3) + 1
    tuples = inner(b"N\x85\x85\x85.")
    reader = Machine(PickleStream(BytesStorage(called(tuples, 4) + b".")), CONSTRUCTORS)
    reader.load()
    assert reader.tuples == 4 * 3 + 1
    monkeypatch.setattr(limits, "TUPLES", 12)
    for count in (3, 5):
        raw = called(tuples, count) + b"N0" * 20 + b"."
        reader = Machine(PickleStream(BytesStorage(raw)), CONSTRUCTORS)
        if count == 3:
            reader.load()
        else:
            with pytest.raises(Malformed, match="makes more objects"):
                reader.load()


def test_a_pickle_in_a_pickle_has_no_more_instructions_than_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "WINDOW", 16)
    monkeypatch.setattr(limits, "WORK_BYTES", 1 << 20)
    monkeypatch.setattr(limits, "WORK_ALWAYS", limits.INNER + limits.INNER_BYTE * 1000)
    load_inner(inner(b"N0" * 200 + b"N."))
    for count in (600, 5000):
        with pytest.raises(Malformed, match="more instructions"):
            load_inner(inner(b"N0" * count + b"N."))


def load_inner(raw: bytes) -> None:
    Machine(PickleStream(BytesStorage(called(raw) + b".")), CONSTRUCTORS).load()


def test_few_bytes_cannot_ask_for_a_billion_pickles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WORK_ALWAYS", 1 << 22)
    raw = inner(b"N.")
    for _ in range(limits.PICKLES):
        raw = inner(called(raw, 1000) + b".")
    with pytest.raises(Malformed, match="repeats its objects"):
        read_legacy(BytesStorage(raw))


def tar(
    value: Any = None,
    storages: tuple[tuple[Any, bytes], ...] = ((("s", "cpu", torch.FloatStorage), block()),),
    views: Any = (),
    tensors: tuple[tuple[Any, bytes], ...] = (),
    *,
    count: Any = None,
    tensor_count: Any = None,
) -> dict[str, Any]:
    """The members of a tar: descriptions, each with what follows it."""
    held = dumped(len(storages) if count is None else count) + b"".join(dumped(each) + raw for each, raw in storages)
    if views is not None:
        held += dumped(list(views) if isinstance(views, tuple) else views)
    described = dumped(len(tensors) if tensor_count is None else tensor_count) + b"".join(
        dumped(each) + raw for each, raw in tensors
    )
    members = {"pickle": dumped(value), "storages": held, "tensors": described}
    return {name: BytesStorage(raw) for name, raw in members.items()}


def strided(sizes: tuple[int, ...], steps: tuple[int, ...], offset: int, dimensions: int | None = None) -> bytes:
    head = struct.pack("<ii", len(sizes) if dimensions is None else dimensions, 99)
    return head + struct.pack(f"<{len(sizes) + len(steps) + 1}q", *sizes, *steps, offset)


def test_a_tar_gives_tensors_by_key() -> None:
    second = np.array([-1, 5], dtype=np.int64)
    members = tar(
        None,
        (((5, "cpu", torch.FloatStorage), block()), (("l", "cpu", torch.LongStorage), block(second))),
        (("view", 5, 1, 3),),
        ((("t", 5, "torch.FloatTensor"), strided((2, 2), (1, 2), 1)), ((7, "l", "x"), strided((), (), 1))),
    )

    class Bare(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            return value.saved[0] if isinstance(value, Id) else None

    buffer = io.BytesIO()
    value = {"a": Id("t"), "b": Id(7), "again": Id("t"), "c": Made(pow, 2, 3), "s": Id("view"), "whole": Id("5")}
    Bare(buffer, 2).dump(value)
    found, calls = read_tar({**members, "pickle": BytesStorage(buffer.getvalue())})
    assert (numbers(found.get("a")), numbers(found.get("b"))) == ([[2, 4], [3, 5]], 5)
    assert found.get("again") is found.get("a")
    view = found.get("s")
    assert (view.first, view.numel, view.dtype_name, view.swapped) == (1, 3, "float32", False)
    assert view.storage is found.get("whole").storage
    assert (found.get("whole").numel, found.get("whole").swapped, len(calls)) == (6, False, 1)


def test_the_members_of_a_tar_share_what_they_may_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    copied, cost = Made(list, [None] * 4), 4 * limits.COPIED
    members = tar([copied], ((("s", copied, torch.FloatStorage), block()),), (), ((("t", "s", copied), strided((), (), 0)),))
    work = limits.Work()
    before = work.left
    read_tar(members, work)
    assert before - work.left == 3 * cost
    monkeypatch.setattr(limits, "WORK_ALWAYS", 0)
    total = sum(member.size for member in members.values())
    monkeypatch.setattr(limits, "WORK_BYTES", total / (3 * cost))
    read_tar(members)
    monkeypatch.setattr(limits, "WORK_BYTES", total / (3 * cost - 1))
    with pytest.raises(Malformed, match="repeats its objects"):
        read_tar(members)


def test_a_stream_may_cost_what_its_size_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = stream([Made(list, [None] * 4), storage()])
    work = limits.Work()
    before = work.left
    read_legacy(raw, work)
    assert before - work.left == 4 * limits.COPIED
    monkeypatch.setattr(limits, "WORK_ALWAYS", 4 * limits.COPIED - 1)
    monkeypatch.setattr(limits, "WORK_BYTES", 1 << 20)
    with pytest.raises(Malformed, match="repeats its objects"):
        read_legacy(raw)


def test_a_tar_may_name_its_storages_in_the_pickle() -> None:
    value = [tensor(storage("s"), 2, (2,)), Id(torch.nn.Linear, "x.py", "source")]
    for members in (tar(value), {name: raw for name, raw in tar(value).items() if name != "tensors"}, tar(value, views=None)):
        (found, kind), _ = read_tar(members)
        assert numbers(found) == [3, 4]
        assert isinstance(kind, Global)
    for wrong in (storage("other"), storage("s", 5), storage("s", kind=torch.IntStorage)):
        with pytest.raises(Malformed, match="missing, or of another type or length"):
            read_tar(tar([wrong]))
    for saved in (("storage", torch.FloatStorage, "s", "cpu"), ("other",), (), 1.5):
        with pytest.raises(Malformed, match="neither text nor a number"):
            read_tar(tar([Id(*saved) if isinstance(saved, tuple) else Id(saved)]))


ONE = ("s", "cpu", torch.FloatStorage)
TAR_LIES: dict[str, tuple[dict[str, Any], str]] = {
    "count": ({"count": -1}, "number of storages is impossible"),
    "count that is none": ({"count": "2"}, "number of storages is impossible"),
    "true": ({"count": True}, "number of storages is impossible"),
    "huge count": ({"count": limits.STORAGES + 1}, "number of storages is impossible"),
    "description": ({"storages": ((list(ONE), block()),)}, "without key and class"),
    "short description": ({"storages": ((ONE[:2], block()),)}, "without key and class"),
    "key": ({"storages": (((None, "cpu", torch.FloatStorage), block()),)}, "neither text nor a number"),
    "class": ({"storages": ((("s", "cpu", "text"), block()),)}, "not a class of PyTorch"),
    "negative": ({"storages": ((ONE, block(numel=-1)),)}, "negative length or is in the file twice"),
    "twice": ({"storages": ((ONE, block()), (ONE, block()))}, "negative length or is in the file twice"),
    "tensors": ({"tensor_count": -1}, "number of tensors is impossible"),
    "too long": ({"storages": ((ONE, block(numel=2**40)),)}, "bytes is claimed"),
    "view": ({"views": (["v", "s", 0, 1],)}, "a slice of a storage that is not described"),
    "short view": ({"views": (("v", "s", 0),)}, "a slice of a storage that is not described"),
    "view of nothing": ({"views": (("v", "x", 0, 1),)}, "reaches beyond its storage"),
    "view beyond": ({"views": (("v", "s", 3, 4),)}, "reaches beyond its storage"),
    "negative view": ({"views": (("v", "s", -1, 2),)}, "reaches beyond its storage"),
    "shrinking view": ({"views": (("v", "s", 2, -1),)}, "reaches beyond its storage"),
    "view from half": ({"views": (("v", "s", 0.0, 1),)}, "reaches beyond its storage"),
    "view of half": ({"views": (("v", "s", 0, 1.0),)}, "reaches beyond its storage"),
    "tensor": ({"tensors": ((["t", "s", "x"], strided((6,), (1,), 0)),)}, "a tensor without key and storage"),
    "short tensor": ({"tensors": ((("t", "s"), strided((6,), (1,), 0)),)}, "a tensor without key and storage"),
    "tensor of nothing": ({"tensors": ((("t", "x", "x"), strided((6,), (1,), 0)),)}, "whose storage is not in the file"),
    "dimensions": ({"tensors": ((("t", "s", "x"), strided((6,), (1,), 0, -1)),)}, "a tensor of -1 dimensions"),
    "many dimensions": ({"tensors": ((("t", "s", "x"), strided((6,), (1,), 0, 65)),)}, "a tensor of 65 dimensions"),
    "tensor beyond": ({"tensors": ((("t", "s", "x"), strided((6,), (1,), 1)),)}, "needs 28 bytes of a storage of 24"),
}


@pytest.mark.parametrize("lie", TAR_LIES)
def test_a_tar_that_lies_is_refused(lie: str) -> None:
    parts, reason = TAR_LIES[lie]
    with pytest.raises(Malformed, match=reason):
        read_tar(tar([], **parts))


def test_the_edges_of_a_tar_are_read() -> None:
    edge = tar([], views=(("v", "s", 0, 6), ("w", "s", 6, 0)), tensors=((("t", "s", "x"), strided((1,) * 64, (1,) * 64, 5)),))
    assert read_tar(edge)[0] == []
    assert read_tar(tar([], views={"not": "a list"}))[0] == []
    assert read_tar(tar([], (), ()))[0] == []
    with pytest.raises(Malformed, match="not in the file"):
        read_tar({**tar(), "pickle": BytesStorage(b"X\x01\x00\x00\x00xQ.")})
    for name in ("pickle", "storages"):
        with pytest.raises(Malformed, match="without the members"):
            read_tar({key: raw for key, raw in tar().items() if key != name})
