"""What another reader runs where a reading of ours might end, look elsewhere or not look at all: it is told in each case.

Each file is loaded for real in a child process, and the code of each only creates a folder.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save
from tests.hostile.test_evasions import said_of
from tests.hostile.test_second_readings import hidden
from tests.support.hostile.evasions import both, call, name, short, text
from tests.support.hostile.loading import left
from tests.support.tools import torch2grid

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the payloads call what Linux has"),
    pytest.mark.filterwarnings("ignore"),
]

MADE = "t2g-made"
TORCH = "import sys, torch; torch.load(sys.argv[1], weights_only=False)"
PICKLE = "import sys, pickle; pickle.load(open(sys.argv[1], 'rb'))"
PACKAGE = "import sys, torch.package; torch.package.PackageImporter(sys.argv[1])"
RUNS = f"import os\nos.mkdir({MADE!r})\n"
STORAGE = both(text("storage"), name("torch", "FloatStorage"), text("0"), text("cpu"), b"K\x04") + b"Q"
OF_A_STREAM = STORAGE[:-2] + b"NtQ"  # with the slice that it is, which a package does not state
USES = {  # of what a persistent id stands for; each leaves the stack as it was
    "item": STORAGE + b"K\x00K\x01s0",
    "items": STORAGE + b"(K\x00K\x01K\x01K\x02u0",
    "attributes": STORAGE + b"}" + text("kept") + b"K\x01sb0",
    "key": b"}" + STORAGE + b"K\x01s0",
    "argument": call(name("collections", "OrderedDict"), b"]" + STORAGE + b"K\x01\x86a") + b"0",
    "nothing": STORAGE + b"0",
}


def ran(file: Path, how: str, folder: Path) -> bool:
    """True where loading *file* in a process of its own ran what it holds."""
    return MADE in left(how, file, folder=folder)


def records(writer: Path | io.BytesIO, kept: dict[str, bytes]) -> None:
    """An archive as PyTorch writes it."""
    archive = torch._C.PyTorchFileWriter(str(writer) if isinstance(writer, Path) else writer)
    for each, raw in kept.items():
        archive.write_record(each, raw, len(raw))
    archive.write_end_of_file()


def package(path: Path | io.BytesIO, resources: dict[str, bytes]) -> None:
    """A ``torch.package`` with a good state dict in ``w/sd.pkl``."""
    tensor = call(name("torch._utils", "_rebuild_tensor"), STORAGE, b"K\x00", b"K\x04\x85", b"K\x01\x85")
    extern = b"os\nposix\ntorch\ntorch._utils\ncollections\n"
    first = {".data/extern_modules": extern, ".data/python_version": b"3.11", ".data/0.storage": bytes(16)}
    records(path, {**first, "w/sd.pkl": b"\x80\x02}" + text("w") + tensor + b"s.", **resources})


def as_first_value(path: Path, pickled: bytes) -> str:
    """A legacy stream to PyTorch: numpy calls the first value equal to the magic number."""
    pickled = pickled.replace(STORAGE, OF_A_STREAM)
    first = pickle.dumps(np.array([float(0x1950A86A20F9469CFC6C)]), 2)
    path.write_bytes(first + pickle.dumps(1001, 2) + pickle.dumps({}, 2) + b"\x80\x04" + pickled + b"\x80\x02]U\x010a.")
    return TORCH


def in_a_package(path: Path, pickled: bytes) -> str:
    package(path, {"w/m.pkl": b"\x80\x04" + pickled})
    return f"{PACKAGE}.load_pickle('w', 'm.pkl')"


def in_a_resource(path: Path, pickled: bytes) -> str:
    package(path, {"w/m.txt": b"\x80\x04" + pickled + b"\n"})
    return f"{PACKAGE}.load_pickle('w', 'm.txt')"


def behind_numbers(path: Path, pickled: bytes) -> str:
    """A package at the end of safetensors, where PyTorch finds it."""
    held, size = io.BytesIO(), 0
    package(held, {"w/m.pkl": b"\x80\x04" + pickled})
    for _ in range(3):
        raw = save({"w": np.zeros(size, np.uint8)})
        front = raw[: len(raw) - size]
        buffer = io.BytesIO(front)
        buffer.seek(len(front))
        with zipfile.ZipFile(held) as read, zipfile.ZipFile(buffer, "a") as archive:
            for each in read.namelist():
                archive.writestr(each, read.read(each))
        size = len(buffer.getvalue()) - len(front)
    path.write_bytes(buffer.getvalue())
    return f"{PACKAGE}.load_pickle('w', 'm.pkl')"


PLACES: dict[str, tuple[str, Callable[[Path, bytes], str]]] = {
    "stream": (".pkl", as_first_value),
    "package": (".pt", in_a_package),
    "resource": (".pt", in_a_resource),
    "behind": (".safetensors", behind_numbers),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_storage_that_a_pickle_uses_before_it_calls(place: str, tmp_path: Path) -> None:
    """Whatever is done with a storage, what a pickle calls behind that is told: no name stands beside another in the file."""
    suffix, write = PLACES[place]
    did: set[str] = set()
    for use, opcodes in USES.items():
        how = write(tmp_path / f"{use}{suffix}", opcodes + hidden(MADE))
        if ran(tmp_path / f"{use}{suffix}", how, tmp_path / use):
            did.add(use)
    assert did >= {"item", "key", "argument", "nothing"}
    said = said_of(tmp_path, [f"{use}{suffix}" for use in USES])
    assert {use for use in USES if not said[f"{use}{suffix}"]} == set()
    assert "os.mkdir" in said[f"nothing{suffix}"]


def wrapped(module: str, path: str) -> bytes:
    """An array of joblib whose numbers are opcodes, its class named by *module* and a *path* in it."""
    numbers = call(name("os", "mkdir"), text(MADE)) + b"0"
    dtype = call(name("numpy", "dtype"), text("u1"), b"K\x00", b"K\x01")
    state = b"}(" + text("subclass") + name("numpy", "ndarray") + text("shape") + b"K" + bytes([len(numbers)]) + b"\x85"
    state += text("order") + text("C") + text("dtype") + dtype + text("allow_mmap") + b"\x88u"
    return b"\x80\x04" + short(module) + short(path) + b"\x93)\x81" + state + b"b" + numbers + b"."


@pytest.mark.parametrize("cut", [("joblib.numpy_pickle", "NumpyArrayWrapper"), ("joblib", "numpy_pickle.NumpyArrayWrapper")])
def test_arrays_of_joblib_however_their_class_is_named(cut: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(wrapped(*cut))
    assert ran(tmp_path / "model.pkl", PICKLE, tmp_path / "in")
    assert "os.mkdir" in said_of(tmp_path, ["model.pkl"])["model.pkl"]


def header(label: bytes, size: int, kind: bytes = b"0") -> bytes:
    raw = bytearray(512)
    raw[: len(label)], raw[156:157], raw[257:265] = label, kind, b"ustar\x0000"
    raw[100:108], raw[108:116], raw[116:124], raw[136:148] = b"0000644\0", b"0000000\0", b"0000000\0", b"00000000000\0"
    raw[124:136], raw[148:156] = b"%011o\0" % size, b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    return bytes(raw)


def member(label: bytes, data: bytes, kind: bytes = b"0") -> bytes:
    return header(label, len(data), kind) + data + bytes(-len(data) % 512)


def pax(*labels: bytes) -> bytes:
    body = b""
    for label in labels:
        entry = b" path=" + label + b"\n"
        body += str(len(entry) + 2).encode() + entry
    return member(b"x", body, b"x")


def long_name(label: bytes) -> bytes:
    return member(b"././@LongLink", label + b"\0", b"L")


NAMED: dict[str, Callable[[bytes], bytes]] = {  # two names for one member, the first of which Python's tarfile takes
    "pax, pax": lambda wanted: pax(wanted) + pax(b"notes.txt"),
    "pax, long": lambda wanted: pax(wanted) + long_name(b"notes.txt"),
    "long, pax": lambda wanted: long_name(wanted) + pax(b"notes.txt"),
    "long, long": lambda wanted: long_name(wanted) + long_name(b"notes.txt"),
    "two in one": lambda wanted: pax(b"notes.txt", wanted),
    "a slash": lambda wanted: pax(wanted + b"/"),
}


def tar_members(payload: bytes) -> dict[bytes, bytes]:
    return {b"storages": b"\x80\x02K\x00.\x80\x02].", b"tensors": b"\x80\x02K\x00.", b"pickle": b"\x80\x02" + payload + b"."}


def test_members_of_a_tar_with_two_names(tmp_path: Path) -> None:
    did = set()
    for label, names in NAMED.items():
        raw = member(b"model.safetensors", save({"w": np.ones(3, np.float32)}))
        for index, (wanted, data) in enumerate(tar_members(call(name("os", "mkdir"), text(MADE))).items()):
            raw += names(wanted) + member(b"z%d" % index, data)
        (tmp_path / f"{label}.tar").write_bytes(raw + bytes(1024))
        if ran(tmp_path / f"{label}.tar", TORCH, tmp_path / label):
            did.add(label)
    assert len(did) >= 4, did
    said = said_of(tmp_path, [f"{label}.tar" for label in NAMED])
    assert {label for label in NAMED if not said[f"{label}.tar"]} == set()


RESOURCES = {  # package, name of a resource of it, its bytes, and what loads it: its package is imported for it
    "a pickle": ("m", "m.pkl", b"\x80\x02N.", "load_pickle"),
    "bytes behind": ("m", "m.pkl", b"\x80\x02N.\n", "load_pickle"),
    "protocol 0": ("m", "m.pkl", b"N.", "load_pickle"),
    "text": ("m", "m.txt", b"hello", "load_text"),
    "empty": ("m", "m.txt", b"", "load_text"),
    "deep": (".".join("a" * 101), "m.pkl", b"\x80\x02N.", "load_pickle"),
}


def test_sources_of_the_package_that_a_resource_lies_in(tmp_path: Path) -> None:
    for label, (inside, resource, raw, loads) in RESOURCES.items():
        path = inside.replace(".", "/")
        package(tmp_path / f"{label}.pt", {f"{path}/__init__.py": RUNS.encode(), f"{path}/{resource}": raw})
        how = f"{PACKAGE}.{loads}({inside!r}, {resource!r})"
        assert ran(tmp_path / f"{label}.pt", how, tmp_path / label) or not raw, label
    for label, said in said_of(tmp_path, [f"{label}.pt" for label in RESOURCES]).items():
        assert "__init__.py of the archive" in said, label


KEYS = {"there": ("0", ""), "with an ending": ("1.storage", ".data/1.storage.storage"), "cut": ("1\0x", ".data/1")}


@pytest.mark.parametrize("behind", [b"\n", b""], ids=["resource", "pickle"])
def test_storages_of_a_package_that_only_pytorch_finds(behind: bytes, tmp_path: Path) -> None:
    for label, (key, record) in KEYS.items():
        stored = both(text("storage"), name("torch", "FloatStorage"), text(key), text("cpu"), b"K\x04") + b"Q0"
        payload = b"\x80\x02" + stored + call(name("os", "mkdir"), text(MADE)) + b"." + behind
        package(tmp_path / f"{label}.pt", {**({record: bytes(16)} if record else {}), "w/m.pkl": payload})
        assert ran(tmp_path / f"{label}.pt", f"{PACKAGE}.load_pickle('w', 'm.pkl')", tmp_path / label), label
    for label, said in said_of(tmp_path, [f"{label}.pt" for label in KEYS]).items():
        assert "os.mkdir" in said or "storage" in said, label


def both_formats(payload: bytes) -> bytes:
    """Safetensors whose first 512 bytes are the header of a tar, in whose members PyTorch looks for a checkpoint."""
    length = 512 * 4 - 8
    front = b'{"__metadata__":{"a":"'
    raw = bytearray(b" " * 512)
    raw[:8], raw[8 : 8 + len(front)] = struct.pack("<Q", length), front
    raw[100:108], raw[108:116], raw[116:124], raw[136:148] = b"0000644 ", b"0000000 ", b"0000000 ", b"00000000000 "
    raw[124:136], raw[148:156], raw[156:157] = b"%011o " % (length + 8 - 512), b" " * 8, b"0"
    raw[257:265], raw[329:345] = b"ustar  0", b"0000000 0000000 "
    raw[148:156] = b"%06o  " % sum(raw)
    numbers = b"".join(member(label, data) for label, data in tar_members(payload).items()) + bytes(1024)
    rest = b'"},"w":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (len(numbers), len(numbers))
    return (bytes(raw) + rest).ljust(length + 8) + numbers


def test_shards_and_slices_are_asked_what_a_file_is_asked(tmp_path: Path) -> None:
    raw = both_formats(call(name("os", "mkdir"), text(MADE)))
    shard = "pytorch_model-00001-of-00001.bin"
    for folder, file in (("indexed", shard), ("alone", "model.bin")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_bytes(raw)
    (tmp_path / "indexed/pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"w": shard}}))
    (tmp_path / "sliced").mkdir()
    sliced = tmp_path / "sliced/shard-00001-model-00001-of-00001.safetensors"
    sliced.write_bytes(raw)
    assert ran(tmp_path / "indexed" / shard, TORCH, tmp_path / "in")
    given = ["indexed", "indexed/pytorch_model.bin.index.json", "alone/model.bin", "sliced"]
    for file, said in said_of(tmp_path, given).items():
        assert "a tar archive" in said, file


def test_honest_records_with_storages_are_read_to_their_end(tmp_path: Path) -> None:
    """Pickles beside the checkpoint that name storages, as a second ``torch.save`` in the same archive would."""
    buffer = io.BytesIO()
    torch.save({"w": torch.ones(3), "o": {"state": {0: {"exp_avg": torch.zeros(2, 2)}}}}, buffer)
    with zipfile.ZipFile(buffer) as read, zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        for each in read.namelist():
            archive.writestr(each, read.read(each))
            if each.endswith("data.pkl"):
                archive.writestr(each.replace("data.pkl", "extra.pkl"), read.read(each))
    run = torch2grid("check", "--no-plugins", "model.pt", "--select", "T304", cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr


def test_pickles_that_a_wrong_call_of_a_storage_ends(tmp_path: Path) -> None:
    """What is called is what a persistent id stands for: nobody knows what that does."""
    does = {"called": b")R", "made": b")\x81", "a name": text("x") + b"\x93"}
    for label, opcodes in does.items():
        behind = b"\x80\x04" + STORAGE + opcodes + b"."
        (tmp_path / f"{label}.pkl").write_bytes(pickle.dumps({"w": np.ones(2)}, 2) + behind)
    for label, said in said_of(tmp_path, [f"{label}.pkl" for label in does]).items():
        assert "not read to its end" in said, label
