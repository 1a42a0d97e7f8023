"""Tars from before PyTorch's zip archives, made here member by member: read to the byte, and refused where they lie."""

from __future__ import annotations

import io
import pickle
import struct
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.loaders.saved import Id, Made, block, dumped, numbers, storage, tensor

from torch2grid_builtin._inert import limits
from torch2grid_builtin._inert.actions import Actions
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.tar import read_tar
from torch2grid_builtin._inert.values import Global
from torch2grid_core.sources import BytesStorage


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
    actions = Actions()
    found = read_tar({**members, "pickle": BytesStorage(buffer.getvalue())}, actions=actions)
    assert (numbers(found.get("a")), numbers(found.get("b"))) == ([[2, 4], [3, 5]], 5)
    assert found.get("again") is found.get("a")
    view = found.get("s")
    assert (view.first, view.numel, view.dtype_name, view.swapped) == (1, 3, "float32", False)
    assert view.storage is found.get("whole").storage
    assert (found.get("whole").numel, found.get("whole").swapped, [asked.name for asked in actions.sorted()]) == (
        6,
        False,
        ["pow"],
    )


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


def test_a_tar_may_name_its_storages_in_the_pickle() -> None:
    value = [tensor(storage("s"), 2, (2,)), Id(torch.nn.Linear, "x.py", "source")]
    for members in (tar(value), {name: raw for name, raw in tar(value).items() if name != "tensors"}, tar(value, views=None)):
        found, kind = read_tar(members)
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
    assert read_tar(edge) == []
    with pytest.raises(Malformed, match="slices of storages are not a list"):
        read_tar(tar([], views={"not": "a list"}))
    assert read_tar(tar([], (), ())) == []
    with pytest.raises(Malformed, match="not in the file"):
        read_tar({**tar(), "pickle": BytesStorage(b"X\x01\x00\x00\x00xQ.")})
    for name in ("pickle", "storages"):
        with pytest.raises(Malformed, match="without the members"):
            read_tar({key: raw for key, raw in tar().items() if key != name})
