"""Tensors and containers that are made in unusual ways: what PyTorch makes of them is shown, or left out with a word."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.hostile.evasions import both, call, many, name, text
from tests.support.loaders.opened import opened, same

from torch2grid_core import LoadError

NUMBERS = {"0": (0.0, 1.0, 2.0, 3.0), "1": (10.0, 11.0, 12.0, 13.0)}


def number(value: int) -> bytes:
    return b"K" + bytes([value])


def real(value: float) -> bytes:
    return b"G" + struct.pack(">d", value)


def storage(key: str, kind: str = "Float") -> bytes:
    return both(text("storage"), name("torch", f"{kind}Storage"), text(key), text("cpu"), number(4)) + b"Q"


def tensor(key: str) -> bytes:
    size, step = both(number(4)), both(number(1))
    ordered = call(name("collections", "OrderedDict"))
    return call(name("torch._utils", "_rebuild_tensor_v2"), storage(key), number(0), size, step, b"\x89", ordered)


def mapping(*pairs: bytes) -> bytes:
    return b"}(" + b"".join(pairs) + b"u"


FIRST, LAST = tensor("0"), tensor("1")
PART = both(storage("0"), number(1), both(number(3)), both(number(1)))
TURNED = both(storage("0"), number(0), both(number(2), number(2)), both(number(1), number(2)))
PAIRS = many(both(text("w"), FIRST))
PLAIN, TYPED = name("torch", "Tensor"), name("torch", "FloatTensor")
COMPLEX = name("builtins", "complex")
MADE = {
    "a tensor that is given its storage": PLAIN + b")\x81" + PART + b"b",
    "a tensor that is called and given it": call(PLAIN) + TURNED + b"b",
    "a typed tensor": call(TYPED) + PART + b"b",
    "another storage than its type": call(TYPED) + both(storage("0", "Int"), *[number(1)] * 3) + b"b",
    "a parameter of such a tensor": call(
        name("torch._utils", "_rebuild_parameter"), call(PLAIN) + PART + b"b", b"\x89", call(name("collections", "OrderedDict"))
    ),
    "a tensor of a storage": call(PLAIN, storage("0")),
    "a tensor of a tensor": call(PLAIN, FIRST),
    "a tensor of numbers": call(PLAIN, many(real(1.0), real(2.0))),
    "a tensor of a size": call(PLAIN, number(3)),
    "given again": FIRST + both(storage("1"), number(0), both(number(4)), both(number(1))) + b"b",
    **{
        f"{kind} without __init__": name(module, kind) + both(PAIRS) + b"\x81"
        for module, kind in (("collections", "OrderedDict"), ("collections", "Counter"), ("builtins", "set"))
    },
    "pairs": call(name("collections", "OrderedDict"), PAIRS),
    "counted pairs": call(name("collections", "Counter"), PAIRS),
    "counted": call(name("collections", "Counter"), mapping(text("w"), FIRST)),
    "one and true": mapping(number(1), FIRST, b"\x88", LAST),
    "one as a float": mapping(number(1), FIRST, real(1.0), LAST),
    "one as a complex number": mapping(number(1), FIRST, call(COMPLEX, real(1.0)), LAST),
    "complex numbers": mapping(call(COMPLEX, real(1.0), real(2.0)), FIRST, call(COMPLEX, real(1.0), number(2)), LAST),
    "text and real bytes": mapping(call(name("_codecs", "encode"), text("w"), text("latin1")), FIRST, text("w"), LAST),
    "a key of real bytes": FIRST.replace(text("0"), call(name("_codecs", "encode"), text("0"), text("latin1"))),
    "bytes and text": mapping(b"U\x01x", FIRST, text("x"), LAST),
    "tuples": mapping(both(number(1), number(2)), FIRST, both(b"\x88", number(2)), LAST),
}


def flat(value: Any, prefix: str) -> dict[str, torch.Tensor]:
    """The tensors of what PyTorch loaded, by our names: a complex number gives none, but its place."""
    if isinstance(value, torch.Tensor):
        return {prefix: value}
    if isinstance(value, dict):
        names = [place if type(key) is complex else key for place, key in enumerate(value)]
        return {
            full: each
            for key, held in zip(names, value.values(), strict=True)
            for full, each in flat(held, f"{prefix}.{key}").items()
        }
    return {}


@pytest.mark.parametrize("label", MADE)
def test_what_is_shown_is_what_pytorch_makes(label: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", b"\x80\x02" + mapping(text("x"), MADE[label], text("z"), LAST) + b".")
        archive.writestr("m/byteorder", "little")
        archive.writestr("m/version", "3\n")
        for key, values in NUMBERS.items():
            archive.writestr(f"m/data/{key}", struct.pack("<4f", *values))
    try:
        shown = opened(path)
    except LoadError:
        return
    wanted = {name: each for key, held in torch.load(path, weights_only=True).items() for name, each in flat(held, key).items()}
    said = {each.name for each in shown.skipped}
    for key, each in wanted.items():
        assert (key in shown and same(shown[key], each)) or key in said, (key, list(shown))
    assert not [key for key in shown if key not in wanted and ".key" not in key], list(shown)
