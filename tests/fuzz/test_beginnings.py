"""Whatever reader of Python's gets to a name behind a random beginning, it is in the record."""

from __future__ import annotations

import pickle
import sys

import pytest
from tests.fuzz.beginnings import MARKER, differences, reached, seen

from torch2grid_builtin._inert.hidden import program_in
from torch2grid_core.sources import BytesStorage

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded as Linux does")
GOES_ON = {  # what CPython's C reads on behind, though a value has no such method
    "nothing appended to a number": b"K\x01(e0",
    "nothing appended to nothing": b"N(e0",
    "nothing added to a mapping": b"}(\x900",
    "nothing added to a list": b"](\x900",
    "nothing set in a number": b"K\x01(u0",
}


def test_random_beginnings() -> None:
    count, missed = differences(3000, seed=1)
    assert count > 500
    assert not missed


@pytest.mark.parametrize("label", GOES_ON)
def test_none_of_what_goes_on_is_lost(label: str) -> None:
    raw = GOES_ON[label] + f"c{MARKER[0]}\n{MARKER[1]}\n.".encode()
    assert reached(raw)
    assert seen(raw)


def test_a_long_name_is_a_reason() -> None:
    """CPython walks a path of any length."""
    name = "path.os." * 9000 + "mkdir"
    raw = b"\x80\x04\x8c\x02osX" + len(name).to_bytes(4, "little") + name.encode() + b"\x93."
    assert pickle.loads(raw).__name__ == "mkdir"
    assert [asked.kind for asked in program_in(BytesStorage(raw)).asked.values()] == ["hold"]
