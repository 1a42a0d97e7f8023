"""Where two readers of a container would take different bytes, torch2grid shows what PyTorch would load, or refuses."""

from __future__ import annotations

import io
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.fuzz import archives
from tests.fuzz.archives import Record, Zip, padded, pax, tar_header
from tests.fuzz.samples import arrays, tar_of
from tests.support.corpus import cases
from tests.support.loaders.opened import bits, opened, same
from tests.support.tools import torch2grid

from torch2grid_core import LoadError

WEIGHTS = {"w": torch.arange(12.0).reshape(3, 4), "b": torch.arange(5)}


def saved() -> Zip:
    """What torch.save writes, record by record."""
    buffer = io.BytesIO()
    torch.save(WEIGHTS, buffer)
    return archives.read(buffer.getvalue())


def record(made: Zip, name: bytes) -> Record:
    return next(each for each in made.records if each.name.endswith(name))


def write(path: Path, raw: bytes) -> Path:
    path.write_bytes(raw)
    return path


def added(made: Zip, name: bytes, data: bytes = bytes(48), **lies: Any) -> None:
    made.records.append(Record(name, data, **lies))


def ended_twice(made: Zip) -> None:
    """The first end has the second as its comment; each is right by itself."""
    first = made.raw()
    made.comment = first[-98:]  # a zip64 end, its place, and an end


LIES: dict[str, tuple[Callable[[Zip], Any], str]] = {
    "names alike": (
        lambda made: added(made, b"archive/DATA/0"),
        "'archive/data/0' and 'archive/DATA/0', of which PyTorch takes",
    ),
    "pickles alike": (lambda made: added(made, b"archive/Data.pkl"), "'archive/data.pkl' and 'archive/Data.pkl', of which"),
    "folders alike": (lambda made: added(made, b"ARCHIVE/data/0"), "of which PyTorch takes one for the other"),
    "nul": (lambda made: setattr(record(made, b"data/0"), "name", b"archive/data/0\0"), "name some readers take for another"),
    "another name in a field": (
        lambda made: setattr(
            record(made, b"data/0"), "extra", b"up\x0a\x00\x01" + struct.pack("<L", zlib.crc32(b"x")) + b"other"
        ),
        "name some readers take for another",
    ),
    "two ends": (ended_twice, "two ends, of which readers take one or the other"),
    "an end in the comment": (lambda made: setattr(made, "comment", b"PK\x05\x06" + bytes(30)), "followed by something else"),
    "too few": (lambda made: setattr(made, "more", -1), "directory is longer than the . records that it counts"),
    "too many": (lambda made: setattr(made, "more", 1), "directory is cut short"),
    "behind the directory": (lambda made: setattr(made, "behind_directory", b"more"), "longer than the . records"),
    "overlap": (
        lambda made: setattr(record(made, b"data/0"), "place", 0),
        "'archive/data.pkl' and 'archive/data/0' that overlap|overlap",
    ),
    "hidden": (lambda made: setattr(record(made, b"data/1"), "listed", False), "of no record|has no record"),
    "hidden and long": (
        lambda made: made.records.insert(1, Record(b"archive/hidden", bytes(70_000), listed=False)),
        "bytes in front of record '.*' that are of no record",
    ),
    "hidden in front": (lambda made: made.records.insert(0, Record(b"archive/hidden", b"", listed=False)), "of no record"),
    "gap": (
        lambda made: setattr(record(made, b"data/0"), "gap", b"junk"),
        "bytes behind record 'archive/data/0' that are of no record",
    ),
    "folder": (
        lambda made: setattr(record(made, b"data/0"), "external", 16),
        "'archive/data/0' that is said to be a folder, and holds",
    ),
    "folder by name": (lambda made: added(made, b"archive/more/", b"x"), "said to be a folder, and holds"),
    "no wide sizes": (
        lambda made: setattr(record(made, b"data/0"), "size", 0xFFFFFFFF),
        "does not say how long record 'archive/data/0'",
    ),
    "half a wide field": (
        lambda made: record(made, b"data/0").__dict__.update(
            size=0xFFFFFFFF, packed=0xFFFFFFFF, extra=b"\x01\x00\x08\x00" + bytes(8)
        ),
        "does not say how long record 'archive/data/0'",
    ),
    "another pickle nearer": (
        lambda made: made.records.insert(3, Record(b"data.pkl", record(made, b"data.pkl").data)),
        "two pickles, and PyTorch loads that in 'archive/'",
    ),
}


def read_all(path: Path) -> None:
    for tensor in opened(path).values():
        tensor.numpy()


@pytest.mark.parametrize("lie", LIES)
def test_an_archive_that_readers_take_differently(lie: str, tmp_path: Path) -> None:
    made = saved()
    change, message = LIES[lie]
    change(made)
    path = write(tmp_path / "x.pt", made.raw())
    with pytest.raises(LoadError, match=message):
        read_all(path)
    done = torch2grid("check", "x.pt", cwd=tmp_path)
    assert done.returncode == 2, done.stdout
    assert done.stderr.count("\n") == 1


HONEST: dict[str, Callable[[Zip], Any]] = {
    "as it is": lambda made: None,
    "without zip64": lambda made: setattr(made, "wide", False),
    "a comment": lambda made: setattr(made, "comment", b"made by hand"),
    "in another order": lambda made: made.order.extend([0, *range(len(made.records) - 1, 0, -1)]),
    "descriptors": lambda made: [setattr(each, "descriptor", True) for each in made.records],
    "deflated": lambda made: [setattr(each, "deflated", True) for each in made.records],
    "padded": lambda made: [setattr(each, "local_extra", b"FB\x05\x00ZZZZZ") for each in made.records],
    "zeros between": lambda made: [setattr(each, "gap", bytes(40)) for each in made.records],
    "a name in capitals": lambda made: [
        setattr(each, "name", each.name.replace(b"archive", b"Model")) for each in made.records
    ],
    "a pickle farther in": lambda made: added(made, b"archive/extra/data.pkl", b"N."),
    "its name once more": lambda made: setattr(
        record(made, b"data/0"),
        "extra",
        b"up\x13\x00\x01" + struct.pack("<L", zlib.crc32(b"archive/data/0")) + b"archive/data/0",
    ),
}


@pytest.mark.parametrize("kind", HONEST)
def test_an_archive_that_all_readers_take_alike(kind: str, tmp_path: Path) -> None:
    made = saved()
    HONEST[kind](made)
    path = write(tmp_path / "x.pt", made.raw())
    loaded, checkpoint = torch.load(path, weights_only=True), opened(path)
    assert list(checkpoint) == list(loaded)
    assert all(same(checkpoint[name], tensor) for name, tensor in loaded.items())
    assert torch2grid("check", "x.pt", cwd=tmp_path).returncode == 0


def test_the_byte_order_is_found_as_pytorch_finds_it(tmp_path: Path) -> None:
    made = saved()
    record(made, b"/byteorder").__dict__.update(name=b"archive/BYTEORDER", data=b"big")
    path = write(tmp_path / "x.pt", made.raw())
    checkpoint = opened(path)
    assert same(checkpoint["w"], WEIGHTS["w"]) is False
    assert all(same(checkpoint[each], tensor) for each, tensor in torch.load(path, weights_only=True).items())
    made = saved()
    record(made, b"/byteorder").__dict__.update(name=b"ARCHIVE/byteorder", data=b"big")
    with pytest.raises(LoadError, match="folders 'archive' and 'ARCHIVE', of which PyTorch takes one for the other"):
        opened(write(tmp_path / "y.pt", made.raw()))


def test_records_of_any_capitals_are_those_that_pytorch_takes(tmp_path: Path) -> None:
    """It finds ``DATA.PKL`` under ``data.pkl``, and looks in the folder of the first record alone."""
    other = saved()
    for each in other.records:
        each.__dict__.update(name=each.name.replace(b"data.pkl", b"DATA.PKL").replace(b"/data/", b"/Data/"))
    path = write(tmp_path / "x.pt", other.raw())
    checkpoint = opened(path)
    assert all(same(checkpoint[each], tensor) for each, tensor in torch.load(path, weights_only=True).items())


def test_arrays_whose_names_differ_by_case_are_two(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", W=np.ones(3), w=np.zeros(2))
    checkpoint = opened(tmp_path / "x.npz")
    assert {name: tensor.shape for name, tensor in checkpoint.items()} == {"W": (3,), "w": (2,)}


@pytest.mark.parametrize("damage", ["data", "local name", "local header", "gap", "local size"])
def test_check_reads_what_no_tensor_is_in(damage: str, tmp_path: Path) -> None:
    made = saved()
    added(made, b"archive/data/7", bytes(range(256)) * (17 << 12))  # 17 MiB: more than opening looks at
    extra = made.records[-1]
    if damage == "data":
        extra.crc = 5
    elif damage == "local name":
        extra.local_name = b"archive/data/8"
    elif damage == "gap":
        extra.gap = b"junk"
    elif damage == "local size":
        made.records.append(Record(b"archive/end", b""))
    raw = bytearray(made.raw())
    place = raw.index(b"archive/data/7") - 30
    if damage == "local header":
        raw[place] ^= 1
    elif damage == "local size":
        raw[place + 22] ^= 1
    write(tmp_path / "x.pt", bytes(raw))
    assert list(opened(tmp_path / "x.pt")) == ["w", "b"]
    done = torch2grid("check", "x.pt", cwd=tmp_path)
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert "archive/data/7" in done.stderr
    assert done.stderr.count("\n") == 1


def tar_pieces() -> dict[str, bytes]:
    """Each member of a tar with its header."""
    return {name: tar_header(name.encode(), len(data)) + padded(data) for name, data in archives.members(tar_of()).items()}


def renamed(kind: bytes, told: bytes, name: bytes = b"none") -> Callable[[bytes], bytes]:
    """The member behind a header of *kind* that says *told*, with *name* in its own header."""
    return lambda data: tar_header(b"x", len(told), kind) + padded(told) + tar_header(name, len(data)) + padded(data)


TAR_LIES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "type 7": (lambda data: tar_header(b"pickle", len(data), b"7") + padded(data), "'pickle' that is a contiguous file"),
    "unknown type": (lambda data: tar_header(b"pickle", len(data), b"Q") + padded(data), "'pickle' that is of type 'Q'"),
    "hard link": (lambda data: tar_header(b"pickle", 0, b"1"), "'pickle' that is a hard link"),
    "link": (lambda data: tar_header(b"pickle", 0, b"2"), "'pickle' that is a link"),
    "pipe": (lambda data: tar_header(b"pickle", 0, b"6"), "'pickle' that is of type '6'"),
    "sparse": (lambda data: tar_header(b"pickle", len(data), b"S") + padded(data), "'pickle' that is a sparse file"),
    "long name": (renamed(b"L", b"pickle\0"), "'x' that is a long name"),
    "pax path": (renamed(b"x", pax(path=b"pickle")), "pax header sets 'path' of a member"),
    "pax size": (renamed(b"x", pax(size=b"5"), b"pickle"), "pax header sets 'size' of a member"),
    "pax sparse": (renamed(b"x", pax(GNU__sparse__size=b"5"), b"pickle"), "pax header sets 'GNU.sparse.size' of a member"),
    "pax for all": (renamed(b"g", pax(path=b"pickle")), "pax header sets 'path' of a member"),
    "pax that is none": (renamed(b"x", b"99 mtime=1\n", b"pickle"), "pax header sets '99 mtime=1"),
    "twice": (lambda data: 2 * (tar_header(b"pickle", len(data)) + padded(data)), "two members named pickle"),
    "a folder that holds bytes": (
        lambda data: tar_header(b"pickle/", len(data)) + padded(data),
        "a folder 'pickle/' that holds bytes",
    ),
    "longer than the file": (lambda data: tar_header(b"pickle", 1 << 20) + padded(data), "ends inside of its member 'pickle'"),
    "a prefix": (
        lambda data: tar_header(b"pickle", len(data), prefix=b"x") + padded(data),
        "without the members of a PyTorch file",
    ),
    "damaged": (lambda data: b"x" + tar_header(b"pickle", len(data))[1:] + padded(data), "a damaged header at byte"),
}


@pytest.mark.parametrize("lie", TAR_LIES)
def test_a_tar_that_readers_take_differently(lie: str, tmp_path: Path) -> None:
    change, message = TAR_LIES[lie]
    pieces = {**tar_pieces(), "pickle": change(archives.members(tar_of())["pickle"])}
    path = write(tmp_path / "x.tar", b"".join(pieces.values()) + bytes(1024))
    with pytest.raises(LoadError, match=message):
        opened(path)


def test_thousands_of_members_hide_none(tmp_path: Path) -> None:
    pieces = b"".join(tar_pieces().values())
    path = write(tmp_path / "x.tar", pieces + 10_000 * tar_header(b"empty", 0) + tar_pieces()["pickle"] + bytes(1024))
    with pytest.raises(LoadError, match="more than 10,000 members"):
        opened(path)


def test_tars_as_they_were_written(tmp_path: Path) -> None:
    pieces = tar_pieces()
    dated = b"".join(
        tar_header(b"x", len(told), b"x") + padded(told) + piece for piece in pieces.values() if (told := pax(mtime=b"1.5"))
    )
    binary = {
        name: tar_header(name.encode(), len(data), binary=True) + padded(data)
        for name, data in archives.members(tar_of()).items()
    }
    for raw in (
        b"".join(pieces.values()),
        dated,
        b"".join(binary.values()),
        tar_header(b"folder/", 0, b"5") + b"".join(pieces.values()),
    ):
        checkpoint = opened(write(tmp_path / "x.tar", raw + bytes(1024)))
        assert {name: bits(tensor) for name, tensor in checkpoint.items()} == {
            name: array.tobytes() for name, array in arrays().items()
        }
        assert checkpoint.notes == ()
    more = opened(write(tmp_path / "x.tar", b"".join(pieces.values()) + bytes(512) + pieces["pickle"]))
    assert more.notes == (f"{512 + len(pieces['pickle'])} bytes behind the end of the archive were not read",)


def test_a_tar_that_is_a_stream_at_once(tmp_path: Path) -> None:
    stream = io.BytesIO()
    torch.save(WEIGHTS, stream, _use_new_zipfile_serialization=False)
    raw = stream.getvalue()
    assert list(opened(write(tmp_path / "good.pt", raw))) == ["w", "b"]
    front = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
    rest = raw[len(front) :]
    assert raw.startswith(front)
    # The third pickle, which is read and dropped, becomes a text that takes in the rest of the tar's header.
    third = len(pickle.dumps(pickle.loads(rest), 2))
    text = b"\x80\x02X" + struct.pack("<I", 512 - len(front) - 7)
    behind = b"." + rest[third:]
    for signed in (False, True):
        header = tar_header(front + text, len(behind), signed=signed, tail="é".encode())
        both = header + padded(behind)
        path = write(tmp_path / "x.pt", both + b"".join(tar_pieces().values()) + bytes(1024))
        with pytest.raises(LoadError, match="a tar archive and a PyTorch stream at once"):
            opened(path)
        with pytest.raises(RuntimeError, match=r"legacy \.tar format"):  # what PyTorch takes it for
            torch.load(path, weights_only=True)
    spoiled = bytearray(path.read_bytes())
    spoiled[150] ^= 1  # the checksum: now it is a stream alone
    assert list(opened(write(path, bytes(spoiled)))) == ["w", "b"]


@pytest.mark.parametrize("name", ["e34_frame.pkl", "e36_case0.pt", "e37_comment.pt", "e39b_type7.pt"])
def test_files_that_were_made_to_deceive(name: str, tmp_path: Path) -> None:
    done = torch2grid("check", cases(f"evading/{name}"), cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
