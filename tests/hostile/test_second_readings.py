"""Families of files that a loader takes for data and another reader for a program, each loaded for real in a child process.

The payload of each only creates a folder or a file in a folder of its own.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.hostile.test_evasions import said_of, touched
from tests.hostile.test_two_readers import mkdir, script
from tests.support.hostile.evasions import CANARY, Evasion, Files, call, name, raw_bytes, short, text
from tests.support.hostile.loading import left
from tests.support.tools import torch2grid

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the children are forked, and call what Linux has"),
    pytest.mark.filterwarnings("ignore"),
]

# What CPython's unpicklers go on behind, and a stricter one does not: each leaves the stack as it was.
STARTS = {
    "state of a list": b"]Nb0",
    "nothing for a list": b"]NN\x86b0",
    "nothing appended to a number": b"K\x01(e0",
    "nothing added to a list": b"](\x900",
    "item of a list": b"]K\x01aK\x00K\x02s0",
    "far memo slot": b"Np999999\n0",
    "far memo slot, binary": b"Nr\xff\xff\xff\x00" + b"0",
    "underscore": b"I1_0\n0",
    "octal": b"I010\n0",
    "hexadecimal": b"I0x10\n0",
    "zero byte": b"I\0\0\n0",
    "zero byte behind a number": b"I5\0x\n0",
    "long with a zero byte": b"L5\0x\n0",
    "float with a zero byte": b"F1.5\0x\n0",
    "slot with a zero byte": b"Np5\0x\n0",
    "values left over": b"NNN",
    "attribute of any name": b"\x80\x04ctorch\nclasses." + b"!" * 5000 + b"\n0",
    "frame in a frame": b"\x95\x00\x00\x00\x00\x00\x00\x00\x00",
    "crossed frame": b"\x95\x02\x00\x00\x00\x00\x00\x00\x00" + short("xx") + b"0",
}


def hidden(path: str) -> bytes:
    """``os.mkdir(path)`` whose names are nowhere side by side."""
    words = short("os") + b"q\xc80" + short("x") + b"0" + short("mkdir") + b"q\xc90h\xc8h\xc9\x93"
    return words + text(path) + b"\x85R."


def safetensors(pickled: bytes) -> bytes:
    """A good file that is the pickle *pickled*, too: its length is a text to an unpickler, which ends inside of the numbers."""
    length, size = 0x58 + 256 * 40, len(pickled) + 80
    numbers = b'"w":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (size, size)
    start = b'{"__metadata__":{"a":"'
    start += b"z" * (37 - len(start))
    room = length - len(start) - len(numbers) - 3
    steps = b""
    while room - len(steps) > 66:
        steps += b"U\x3c" + b"z" * 60
    left = room - len(steps)
    steps += b"U" + bytes([left - 2 + 3 + len(numbers)]) + b"z" * (left - 2)
    header = start + steps + b'"},' + numbers
    assert len(header) == length
    json.loads(header)
    return struct.pack("<Q", length) + header + pickled.ljust(size, b"\0")


def integer(pickled: bytes) -> bytes:
    """A good file whose length begins with ``I``: to C an integer that a zero byte ends, up to the end of a line."""
    size = len(pickled) + 1
    header = b'{"w":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (size, size)
    length = ord("I")
    return struct.pack("<Q", length) + header.ljust(length) + b"\n" + pickled


def tar(pickled: bytes) -> bytes:
    """A tar of PyTorch 0.3 whose first member's name is opcodes up to the bytes of the member."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        entry = tarfile.TarInfo("x")
        entry.size = len(pickled)
        archive.addfile(entry, io.BytesIO(pickled))
    raw = bytearray(held.getvalue())
    raw[:100] = (b"]Nb0B" + struct.pack("<I", 512 - 9)).ljust(100, b"\0")
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw[:512])
    return bytes(raw)


def test_pickles_that_cpython_reads_to_their_end(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    made: list[Evasion] = []

    def add(label: str, suffix: str, how: str, writer: Callable[[bytes], bytes], start: bytes) -> None:
        file = f"{len(made):03}{suffix}"
        (tmp_path / file).write_bytes(writer(start + hidden(f"{CANARY}/{len(made):03}")))
        made.append(Evasion(label, file, how, ""))

    behind = Files(tmp_path)
    for label, start in STARTS.items():
        add(f"{label}; safetensors", ".bin", "pickle", safetensors, start)
        add(f"{label}; integer", ".bin", "pickle", integer, start)
        add(f"{label}; legacy", ".bin", "torch", safetensors, start)
        add(f"{label}; tar", ".tar", "pickle", tar, start)
        add(f"{label}; behind STOP", ".pkl", "pickle", lambda pickled: behind.plain + pickled, start)
        inner = lambda pickled: b"\x80\x04}" + text("x") + call(name("pickle", "loads"), raw_bytes(pickled)) + b"s."  # noqa: E731
        add(f"{label}; inside", ".pkl", "pickle", inner, start)
    ran = touched(tmp_path, made)
    said = said_of(tmp_path, [each.file for each in made])
    assert len(ran) >= 80, [each.name for each in made if each.file not in ran]
    assert {each.name.split("; ")[0] for each in made if each.file in ran} >= set(STARTS) - {"nothing for a list"}  # of joblib
    assert [each.name for each in made if each.file in ran and not said[each.file]] == []
    known = ("os.mkdir", "pickle.loads", "not read to its end", "broken")
    assert [each.name for each in made if each.file in ran and not any(part in said[each.file] for part in known)] == []


def test_honest_safetensors_of_every_length_are_no_pickles(tmp_path: Path) -> None:
    """The length of a header is the first opcode: none of 256 is a finding."""
    data = np.random.default_rng(7).normal(size=64).astype("f4").tobytes()
    files = []
    for length in range(72, 72 + 256):
        header = b'{"layer.weight":{"dtype":"F32","shape":[64],"data_offsets":[0,256]}}'
        (tmp_path / f"{length}.safetensors").write_bytes(struct.pack("<Q", length) + header.ljust(length) + data)
        files.append(f"{length}.safetensors")
    for opcode in b"PSILFgp":  # which read a line, and here is none: all weights are zeros
        length, count = opcode + 256, 20_000_000
        header = b'{"layer.weight":{"dtype":"F32","shape":[%d],"data_offsets":[0,%d]}}' % (count, 4 * count)
        with (tmp_path / f"zeros-{opcode}.safetensors").open("wb") as file:
            file.write(struct.pack("<Q", length) + header.ljust(length))
            file.truncate(8 + length + 4 * count)
        files.append(f"zeros-{opcode}.safetensors")
    for opcode, end in ((b"c", b"\n\n"), (b"i", b"\nabc\n")):  # names, the first as long as the header
        length = opcode[0] + 256 * 24
        header = b'{"layer.weight":{"dtype":"U8","shape":[16],"data_offsets":[0,16]}}'
        (tmp_path / f"names-{opcode.decode()}.safetensors").write_bytes(
            struct.pack("<Q", length) + header.ljust(length) + end.ljust(16, b"a")
        )
        files.append(f"names-{opcode.decode()}.safetensors")
    run = torch2grid("check", "--no-plugins", *files, "--select", "T304", "-q", cwd=tmp_path, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr


def placed(load: str, path: Path, tmp_path: Path) -> bool:
    """True where *load*, in a child process, leaves something in a folder of its own."""
    return bool(left(f"import sys, torch; {load}", path, folder=tmp_path / f"in {path.name}"))


JIT = "torch.jit.load(sys.argv[1])"
PACKAGE = "import torch.package as p; p.PackageImporter(sys.argv[1]).load_pickle('m', 'm.pkl')"
DECOY = b"PK\1\2".ljust(28, b"\0") + b"\xff" * 6 + b"\0" * 12  # a record whose name, fields and comment are long


def rewritten(raw: bytes, shift: int, change: Callable[[str, bytes], tuple[str, bytes]], decoy: bytes = b"") -> bytes:
    """The archive *raw* with other records, to stand *shift* bytes behind the beginning of a file."""
    held = io.BytesIO()
    held.write(bytes(shift))
    with zipfile.ZipFile(io.BytesIO(raw)) as read, zipfile.ZipFile(held, "a", zipfile.ZIP_DEFLATED) as archive:
        for each in read.namelist():
            archive.writestr(*change(each, read.read(each)))
    made = held.getvalue()
    end = made.rfind(b"PK\5\6")
    (start,) = struct.unpack_from("<I", made, end + 16)
    made = made[:start] + decoy + made[start : end + 16] + struct.pack("<I", start + len(decoy)) + made[end + 20 :]
    return made[shift:]


def package() -> bytes:
    held = io.BytesIO()
    pickled = b"\x80\x02ccollections\nOrderedDict\n)R."
    source = "class OrderedDict(dict): pass\nopen('t2g-made', 'w')\n"
    with zipfile.ZipFile(held, "w") as archive:
        records = {".data/version": "6\n", ".data/extern_modules": "", ".data/python_version": "3.11", "byteorder": "little"}
        for each, raw in {**records, "m/m.pkl": pickled, "m/__init__.py": "", "collections.py": source}.items():
            archive.writestr(f"x/{each}", raw)
    return held.getvalue()


def in_safetensors(archive: Callable[[int], bytes], more: bytes = b"") -> bytes:
    size = len(archive(0)) + len(more)
    header = (b'{"w":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (size, size)).ljust(128)
    return struct.pack("<Q", len(header)) + header + archive(8 + len(header)) + more


def in_npy(archive: Callable[[int], bytes]) -> bytes:
    held = io.BytesIO()
    np.save(held, np.zeros(len(archive(0)), np.uint8))
    head = held.getvalue()[: -len(archive(0))]
    return head + archive(len(head))


def in_gzip(archive: Callable[[int], bytes]) -> bytes:
    """An npy of which the archive is a stored block, whose places count from the beginning of the outer file."""
    held = io.BytesIO()
    np.save(held, np.zeros(len(archive(0)), np.uint8))
    head = held.getvalue()[: -len(archive(0))]
    raw = head + archive(10 + 5 + len(head))
    assert len(raw) < 1 << 16
    block = b"\1" + struct.pack("<HH", len(raw), len(raw) ^ 0xFFFF) + raw
    made = gzip.compress(b"", mtime=0)[:10] + block + struct.pack("<II", zlib.crc32(raw), len(raw))
    assert gzip.decompress(made) == raw
    return made


def test_archives_behind_other_formats(tmp_path: Path) -> None:
    same = lambda each, raw: (each, raw)  # noqa: E731
    capitals = lambda each, raw: (each.replace("/code/", "/CODE/"), raw)  # noqa: E731
    long = lambda each, raw: (each, b"#" * 1_200_000 + b"\n" + raw if each.endswith(".py") else raw)  # noqa: E731
    scripted = script(0)
    archives = {
        "plain": (lambda shift: rewritten(scripted, shift, same), JIT, "torch.save"),
        "decoy": (lambda shift: rewritten(scripted, shift, same, DECOY), JIT, "torch.save"),
        "capitals": (lambda shift: rewritten(scripted, shift, capitals), JIT, "torch.save"),
        "long": (lambda shift: rewritten(scripted, shift, long), JIT, "torch.save"),
        "package": (lambda shift: rewritten(package(), shift, same), PACKAGE, "collections.py"),
    }
    wraps = {"safetensors": in_safetensors, "npy": in_npy, "npy.gz": in_gzip}
    wanted: dict[str, str] = {}
    ran = 0
    for label, (archive, load, names) in archives.items():
        for suffix, wrap in wraps.items():
            path = tmp_path / f"{label}.{suffix}"
            path.write_bytes(wrap(archive))
            wanted[path.name] = names
            if suffix != "npy":
                ran += placed(load, path, tmp_path)
    path = tmp_path / "far.safetensors"  # PyTorch looks for the end a little further than a comment reaches
    path.write_bytes(in_safetensors(archives["plain"][0], bytes(67_500)))
    wanted[path.name] = "torch.save"
    ran += placed(JIT, path, tmp_path)
    assert ran >= 10
    for file, said in said_of(tmp_path, list(wanted)).items():
        assert wanted[file] in said, (file, said)


def test_an_archive_that_costs_too_much_is_said(tmp_path: Path) -> None:
    """PyTorch takes the directory as it is: a hundred names of one record, each with a mebibyte of code."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    code = (b"save\n" + b"x.y(z)\n" * (1 << 18))[: 1 << 20]
    packed = packer.compress(code) + packer.flush()
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, 0, 0, len(packed), len(code), 11, 0) + b"a/code/x.py"

    def archive(shift: int) -> bytes:
        sizes = (0, len(packed), len(code), 11, 0, 0, 0, 0, 0, shift)
        central = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 8, 0, 0, *sizes) + b"a/code/x.py"
        start = shift + len(local) + len(packed)
        end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 120, 120, 120 * len(central), start, 0)
        return local + packed + 120 * central + end

    (tmp_path / "a.safetensors").write_bytes(in_safetensors(archive))
    (tmp_path / "b.pt").write_bytes(archive(0))
    said = said_of(tmp_path, ["a.safetensors", "b.pt"])
    assert "a zip archive that could not be examined" in said["a.safetensors"]
    assert "two records named" in said["b.pt"]


def test_a_program_behind_another_format(tmp_path: Path) -> None:
    def archive(shift: int) -> bytes:
        held = io.BytesIO()
        with zipfile.ZipFile(held, "w") as made:
            made.writestr("x/archive_format", "pt2")
            made.writestr("x/models/model.json", "{}")
        return rewritten(held.getvalue(), shift, lambda each, raw: (each, raw))

    (tmp_path / "a.safetensors").write_bytes(in_safetensors(archive))
    said = said_of(tmp_path, ["a.safetensors"])["a.safetensors"]
    assert "holds a zip archive that is a program that torch.export saved" in said


@pytest.mark.parametrize("pickle_name", ["data.pkl", "data.PKL", "DATA.pkl", "Data.Pkl"])
def test_an_npz_that_pytorch_opens(pickle_name: str, tmp_path: Path) -> None:
    held = io.BytesIO()
    np.save(held, np.ones(3, np.float32))
    records = {"x/w.npy": held.getvalue(), f"x/{pickle_name}": b"\x80\x02" + mkdir("t2g-made") + b"N.", "x/version": b"3\n"}
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for each, raw in {**records, "x/byteorder": b"little"}.items():
            archive.writestr(each, raw)
    assert placed("torch.load(sys.argv[1], weights_only=False)", tmp_path / "a.npz", tmp_path)
    assert "os.mkdir" in said_of(tmp_path, ["a.npz"])["a.npz"]


@pytest.mark.parametrize("renamed", ["data.pkl", "data.PKL", "gone.bin"])
def test_an_npz_that_is_a_script(renamed: str, tmp_path: Path) -> None:
    """Its code runs for a class of its constants, too, where there is no pickle beside them."""
    held = io.BytesIO()
    np.save(held, np.ones(3, np.float32))
    with zipfile.ZipFile(io.BytesIO(script(0))) as read, zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        folder = read.namelist()[0].partition("/")[0]
        archive.writestr(f"{folder}/w.npy", held.getvalue())
        for each in read.namelist():
            archive.writestr(each.replace("data.pkl", renamed), read.read(each))
    if renamed != "gone.bin":
        assert placed(JIT, tmp_path / "a.npz", tmp_path)
    assert "torch.save" in said_of(tmp_path, ["a.npz"])["a.npz"]


@pytest.mark.parametrize(
    ("beside", "padding"),
    [*((each, 0) for each in ("other.pkl", "other.PKL", "Notes.Joblib", "x.BIN")), ("other.pkl", (64 << 20) + 1)],
)
def test_pickles_beside_of_any_size_and_capitals(beside: str, padding: int, tmp_path: Path) -> None:
    torch.save({"w": torch.ones(3)}, tmp_path / "m.pt")
    with zipfile.ZipFile(tmp_path / "m.pt", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"m/{beside}", b"\x80\x04" + mkdir("x") + b"N." + bytes(padding))
    assert "os.mkdir" in said_of(tmp_path, ["m.pt"])["m.pt"]


def test_a_pickle_in_capitals_in_front_of_good_weights(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(4)}, tmp_path / "good.pt")
    with zipfile.ZipFile(tmp_path / "good.pt") as read, zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("x/version", "3\n")
        for each in read.namelist():
            archive.writestr(f"x/sub/{each.partition('/')[2]}", read.read(each))
        archive.writestr("x/byteorder", "little")
        archive.writestr("x/DATA.PKL", b"\x80\x02" + mkdir("t2g-made") + b"N.")
    assert placed("torch.load(sys.argv[1], weights_only=False)", tmp_path / "x.pt", tmp_path)
    assert "os.mkdir" in said_of(tmp_path, ["x.pt"])["x.pt"]


def test_shards_that_are_a_program_too(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(safetensors(b"]Nb0" + hidden("x")))
    (tmp_path / "b.safetensors").write_bytes(in_safetensors(lambda shift: rewritten(script(0), shift, lambda e, raw: (e, raw))))
    for file, names in (("a", "os.mkdir"), ("b", "torch.save")):
        (tmp_path / f"{file}.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": f"{file}.safetensors"}}))
        assert names in said_of(tmp_path, [f"{file}.safetensors.index.json"])[f"{file}.safetensors.index.json"]
