"""A file that one loader opens begins as another's: tar, zip, packed streams in front of tensors. Each is loaded for real."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from tests.hostile.test_one_door import hidden, loaded
from tests.support.hostile.evasions import name, text
from tests.support.tools import torch2grid

from torch2grid_core._data.local import LocalSource
from torch2grid_core._data.packed import packed_again

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the payloads call what Linux has")
PROGRAM = b"\x80\x02" + hidden("made") + b"N."
TORCH = "import torch; torch.load(sys.argv[1], weights_only=False)"
NUMPY = "import numpy; numpy.load(sys.argv[1], allow_pickle=True)['a']"


def header(first: bytes, size: int, kind: bytes = b"0") -> bytearray:
    """A tar header of the first form, its checksum right."""
    made = bytearray(first.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % size + b"00000000000\0")
    made += b" " * 8 + kind + bytes(355)
    made[148:156] = b"%06o\0 " % sum(made)
    return made


def tar_of_programs() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as made:
        for member in ("storages", "tensors", "pickle"):
            info = tarfile.TarInfo(member)
            info.size = len(PROGRAM)
            made.addfile(info, io.BytesIO(PROGRAM))
    return stream.getvalue()


def safetensors_tar() -> bytes:
    """The first 512 bytes are JSON and a member's header at once; its content is the rest of the JSON."""
    data = tar_of_programs()
    made = bytearray((struct.pack("<Q", 1016) + b'{"__metadata__":{"a":"').ljust(512))
    made[124:136], made[156:157], made[148:156] = b"%011o " % 512, b"0", b" " * 8
    made[148:156] = b"%06o  " % sum(made)
    rest = f'"}},"w":{{"dtype":"U8","shape":[{len(data)}],"data_offsets":[0,{len(data)}]}}}}'.encode()
    return bytes(made) + rest.ljust(512) + data


def npy_tar() -> bytes:
    data = tar_of_programs()
    made = bytearray(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({len(data)},), }}".encode().ljust(1013) + b"\n")
    made = bytearray(b"\x93NUMPY\x01\x00" + struct.pack("<H", 1014)) + made
    made[124:136], made[156:157], made[148:156] = b"%011o " % 512, b"0", b" " * 8
    made[148:156] = b"%06o  " % sum(made[:512])
    return bytes(made) + data


def npz_of_objects() -> bytes:
    array, stream = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(array, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    with zipfile.ZipFile(stream, "w") as made:
        made.writestr("a.npy", array.getvalue() + PROGRAM)
    return stream.getvalue()


def safetensors_npz() -> bytes:
    """The length of the header is the magic of zip."""
    data = npz_of_objects()
    entry = f'{{"w":{{"dtype":"U8","shape":[{len(data)}],"data_offsets":[0,{len(data)}]}}}}'.encode()
    return struct.pack("<Q", 0x04034B50) + entry.ljust(0x04034B50) + data


def tar_npz() -> bytes:
    """The name of the first member begins as an empty zip archive does: numpy looks for an archive at the end."""
    return bytes(header(b"PK\x05\x06x", 1)) + b"x".ljust(512, b"\0") + good_tar() + npz_of_objects()


@pytest.mark.parametrize(
    ("make", "ending", "load"),
    [(tar_npz, "pt", NUMPY), (safetensors_tar, "bin", TORCH), (npy_tar, "npy", TORCH), (safetensors_npz, "safetensors", NUMPY)],
    ids=["tar-npz", "safetensors-tar", "npy-tar", "safetensors-npz"],
)
def test_another_archive_in_front_is_said(make, ending: str, load: str, tmp_path: Path) -> None:
    path = tmp_path / f"m.{ending}"
    path.write_bytes(make())
    assert loaded(path, load, tmp_path / "real"), "it has to be dangerous to be refused"
    done = torch2grid("check", path, cwd=tmp_path)
    assert done.returncode in (1, 2), done.stdout
    assert "no finding" not in done.stdout


@pytest.mark.parametrize("magic", [b"x\x01", b"\x1f\x8b\x08\0\0\0\0\0\0\3"], ids=["zlib", "gzip"])
def test_a_tar_that_begins_as_a_packed_stream(magic: bytes, tmp_path: Path) -> None:
    """The name of its first member begins a stored block, which ends in the member: joblib unpacks it first."""
    pytest.importorskip("joblib")
    swallowed, tail = 512 - len(magic) - 5, b"0" + PROGRAM[2:]
    block = swallowed + len(tail)
    first = magic + b"\0" + struct.pack("<HH", block, block ^ 0xFFFF) + b"\x80\x02T" + struct.pack("<i", swallowed - 7)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    more = packer.compress(bytes(6_000_000)) + packer.flush()
    head = header(first, 16384)
    content = bytes(head[len(magic) + 5 :]) + tail + bytes(6_000_000)
    ends = {b"x": struct.pack(">I", zlib.adler32(content)), b"\x1f": struct.pack("<II", zlib.crc32(content), len(content))}
    path = tmp_path / "m.tar"
    path.write_bytes(bytes(head) + (tail + more + ends[magic[:1]]).ljust(16384, b"\0") + good_tar())
    assert loaded(path, "import joblib; joblib.load(sys.argv[1])", tmp_path / "real")
    done = torch2grid("check", path, cwd=tmp_path)
    assert done.returncode in (1, 2), done.stdout


def good_tar() -> bytes:
    """A checkpoint of PyTorch 0.3 with one tensor of four numbers, without a call."""
    floats = name("torch", "FloatStorage")
    members = {
        "storages": b"\x80\x02K\x01.\x80\x02(K\x00" + text("cpu") + floats + b"t." + struct.pack("<q", 4) + bytes(16),
        "tensors": b"\x80\x02K\x00.",
        "pickle": b"\x80\x02}.",
    }
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as made:
        for member, data in members.items():
            info = tarfile.TarInfo(member)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def test_an_item_of_a_list_that_is_replaced_is_said(tmp_path: Path) -> None:
    """What looked at the list before, as an optimizer's ``__setstate__`` does, saw another item."""
    path = tmp_path / "m.pkl"
    path.write_bytes(b"\x80\x02]q\x00K\x01ah\x00K\x00K\x02s.")
    done = torch2grid("check", path, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert "a list whose items are replaced" in done.stdout + done.stderr


@given(st.integers(2, 1 << 20).map(lambda length: (length << 8 | 0x78) & 0xFFFFFF), st.binary(max_size=64))
def test_a_length_that_looks_like_a_magic_is_none(length: int, more: bytes) -> None:
    """Every 256th safetensors file begins with the first byte of zlib: what does not unpack is no stream."""
    body = (struct.pack("<Q", length) + b'{"__metadata__":{"format":"pt"},"w":' + more.hex().encode()).ljust(600)
    assert not list(packed_again(Held(body)))


class Held:
    """As much of a source as ``packed_again`` looks at."""

    def __init__(self, head: bytes) -> None:
        self.head = head


def test_what_unpacks_is_a_stream(tmp_path: Path) -> None:
    path = tmp_path / "m"
    for data in (gzip.compress(bytes(9000)), zlib.compress(bytes(9000))):
        path.write_bytes(data)
        assert [action.kind for action in packed_again(LocalSource(path))] == ["hold"]


def test_every_stream_that_joblib_unpacks_is_known(tmp_path: Path) -> None:
    """A new one of joblib's fails this test."""
    numpy_pickle_utils = pytest.importorskip("joblib.numpy_pickle_utils")
    data = bytes(9000)
    packed = {
        b"x": zlib.compress(data),
        b"\x1f\x8b": gzip.compress(data),
        b"BZ": bz2.compress(data),
        b"]\0": lzma.compress(data, lzma.FORMAT_ALONE),
        b"\xfd7zXZ": lzma.compress(data),
        b'\x04"M\x18': b'\x04"M\x18\x64\x40\xa7' + bytes(40),
        b"ZF": b"ZF" + hex(len(data)).ljust(19).encode() + zlib.compress(data),
    }
    known = {each.prefix for each in numpy_pickle_utils._COMPRESSORS.values()} | {numpy_pickle_utils._ZFILE_PREFIX}
    assert set(packed) == known
    for stream in packed.values():
        (tmp_path / "m").write_bytes(stream)
        assert [action.kind for action in packed_again(LocalSource(tmp_path / "m"))] == ["hold"]


@given(st.text("0123456789abcdefABCDEFxX_ gG\0", max_size=19), st.binary(min_size=1, max_size=40))
def test_what_only_begins_as_a_z_file_is_none(length: str, more: bytes) -> None:
    assert not list(packed_again(Held(b"ZF" + length.ljust(19).encode() + b"\0" + more)))


@pytest.mark.parametrize("packer", [bz2, lzma], ids=["bzip2", "xz"])
def test_a_stream_that_breaks_is_one(packer: Any) -> None:
    """A reader may have run its beginning by then."""
    whole = packer.compress(bytes(1000)) + packer.compress(bytes(1 << 20))
    broken = whole[:-20] + bytes(20)
    assert [action.kind for action in packed_again(Held(broken))] == ["hold"]


def test_a_dictionary_of_any_size_is_not_allocated() -> None:
    stated = lzma.compress(bytes(1000), lzma.FORMAT_ALONE)
    assert [each.kind for each in packed_again(Held(stated[:1] + b"\0\xff\xff\xff" + stated[5:]))] == ["hold"]
