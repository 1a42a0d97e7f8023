"""Whatever runs code when Python or PyTorch loads it is not called clean, and what it does is named or the file is refused.

Hundreds of files from a grammar are loaded for real, in child processes: each only creates something in a temporary folder.
"""

from __future__ import annotations

import json
import pickle
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.support.corpus import cases, needs_cases
from tests.support.hostile.evasions import (
    CANARY,
    OTHER,
    OTHER_SOURCE,
    Evasion,
    Files,
    before,
    behind,
    call,
    many,
    name,
    raw_bytes,
    text,
    write,
)
from tests.support.hostile.loading import left
from tests.support.tools import torch2grid

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the children are forked, and call what Linux has")


LOADS = {
    "torch": "import sys, torch; torch.load(sys.argv[1], weights_only=False)",
    "numpy": """\
import sys, numpy
found = numpy.load(sys.argv[1], allow_pickle=True)
for each in getattr(found, "files", ()):
    found[each]
""",
    "pickle": """\
import sys, pickle
with open(sys.argv[1], "rb") as stream:
    while stream.read(1):
        stream.seek(-1, 1)
        pickle.load(stream)
""",
}


def said_of(folder: Path, files: list[str]) -> dict[str, str]:
    """What ``check`` says of each file: all of its findings, or why it is refused; empty where it is clean."""
    rules = ("--select", "T304", "--format", "json", "-q")
    run = torch2grid("check", "--no-plugins", *files, *rules, cwd=folder, timeout=500)
    assert run.returncode in (1, 2), run.stderr
    models: list[dict[str, Any]] = json.loads(run.stdout)["models"]
    assert len(models) == len(files)
    return {
        file: " ".join(each["message"] for each in model["findings"]) + model.get("error", "")
        for file, model in zip(files, models, strict=True)
    }


def touched(folder: Path, made: list[Evasion]) -> set[str]:
    """The files that left something behind when they were loaded."""
    place = folder / "loaded"
    return {
        each.file
        for each in made
        if left(LOADS[each.loaded], folder / each.file, folder=place / each.file, temporary=CANARY, path=str(folder))
    }


def test_what_runs_is_not_called_clean(tmp_path: Path) -> None:
    (tmp_path / f"{OTHER}.py").write_text(OTHER_SOURCE)
    made = write(tmp_path)
    ran = touched(tmp_path, made)
    said = said_of(tmp_path, [each.file for each in made])
    assert not (tmp_path / CANARY).exists()  # check ran none of them
    # The grammar is not a row of duds: most files do what they are for, and every place of every kind of file is among them.
    assert len(ran) >= 350, Counter(each.name for each in made if each.file not in ran)
    assert {each.name.split("; ")[1] for each in made} == {each.name.split("; ")[1] for each in made if each.file in ran}
    # Those that fail here are no cleaner: another version of Python or PyTorch may load them.
    assert [each.name for each in made if not said[each.file]] == []
    assert [(each.name, said[each.file][:200]) for each in made if each.names not in said[each.file]] == []


GADGET = call(name("os", "mkdir"), text("x"))


@pytest.mark.parametrize("member", ["evil", "evil.NPY", "folder/notes.txt"])
def test_arrays_of_objects_in_an_npz_under_any_name(member: str, tmp_path: Path) -> None:
    made = Files(tmp_path)
    made.write_npz("model.npz", GADGET, member)
    assert "calls os.mkdir" in said_of(tmp_path, ["model.npz"])["model.npz"]


@pytest.mark.parametrize(
    "payload",
    [
        GADGET + b"0cfoo\na-b\n",  # what was done before is done
        b"I0x10\n0" + GADGET,  # a number that C reads, and that we refuse
        b"L0x10L\n0" + GADGET,
        b"I0x10\n0(Kc" + GADGET + b"l",
    ],
    ids=["a strange name", "a number", "a long number", "a letter before"],
)
def test_broken_pickles_that_another_reader_runs(payload: bytes, tmp_path: Path) -> None:
    made = Files(tmp_path)
    made.write_npz("model.npz", payload)
    made.write("model.pkl", behind(made.plain, payload))
    for file, said in said_of(tmp_path, ["model.npz", "model.pkl"]).items():
        assert "os.mkdir" in said, file


def test_a_loader_hidden_in_what_becomes_attributes(tmp_path: Path) -> None:
    made = Files(tmp_path)
    loads, space = name("torch.storage", "_load_from_bytes"), name("types", "SimpleNamespace")
    legacy = raw_bytes(before(made.legacy[0], GADGET) + b"".join(made.legacy[1:]))
    honest = call(loads, raw_bytes(b"".join(made.legacy))) + b"0"  # one use that is harmless
    attribute = b"}" + text("__setstate__") + loads + b"s"
    pairs = many(text("__setstate__") + loads + b"\x86")
    counter = name("copyreg", "_reconstructor"), name("collections", "Counter"), name("builtins", "dict")
    slots = name("torch._utils", "_rebuild_parameter_with_state"), b"K\x01", b"\x89", b"N"
    kinds = {
        "mapping": call(space) + call(*counter, attribute) + b"b",
        "pairs": call(space) + call(*counter, pairs) + b"b",
        "state": call(name("torch._tensor", "_rebuild_from_type_v2"), space, space, b")", attribute),
        "slots": call(*slots, attribute + b"N\x86"),
    }
    for kind, holder in kinds.items():
        made.write_zip(f"{kind}.pt", before, honest + holder + legacy + b"b")
    for kind, said in said_of(tmp_path, [f"{kind}.pt" for kind in kinds]).items():
        assert "_load_from_bytes" in said, kind


def test_a_loader_that_another_object_gives_out(tmp_path: Path) -> None:
    """As a key of a mapping that a list is made of, in a list that is filled later, and in the batches of a sampler."""
    made = Files(tmp_path)
    loads, space = name("torch.storage", "_load_from_bytes"), call(name("types", "SimpleNamespace"))
    legacy = raw_bytes(before(made.legacy[0], GADGET) + b"".join(made.legacy[1:]))
    honest = call(loads, raw_bytes(b"".join(made.legacy))) + b"0"

    def batches(sampler: bytes) -> bytes:
        state = text("sampler") + sampler + text("batch_size") + b"K\x02" + text("drop_last") + b"\x89"
        return name("torch.utils.data.sampler", "BatchSampler") + b")\x81}(" + state + b"ub"

    word, mapping = text("__setstate__"), name("builtins", "dict")
    later = b"]q\xf0" + batches(b"h\xf0") + b"q\xf10h\xf0(" + word + loads + b"e00"
    kinds = {
        "keys": honest + space + call(mapping, call(name("builtins", "list"), b"}" + word + loads + b"\x86Ns")),
        "batches": honest + space + call(mapping, batches(b"}(" + word + b"N" + loads + b"Nu")),
        "later": honest + later + space + call(mapping, b"h\xf1"),
    }
    for kind, payload in kinds.items():
        made.write_zip(f"{kind}.pt", before, payload + b"b" + legacy + b"b")
    for kind, said in said_of(tmp_path, [f"{kind}.pt" for kind in kinds]).items():
        assert "_load_from_bytes" in said, kind


def test_bytes_that_are_others_than_they_seem(tmp_path: Path) -> None:
    """What moves the end of a string in a stream that is loaded: its length, or characters that an encoding leaves out."""
    made = Files(tmp_path)
    loads, as_bytes = name("torch.storage", "_load_from_bytes"), name("builtins", "bytes")
    honest = call(loads, raw_bytes(b"".join(made.legacy))) + b"0"
    rest = b"".join(made.legacy[1:])
    inside = b"x0" + GADGET + b"0"
    length = call(name("builtins", "bool"), b"K" + bytes([len(inside)]))
    head, tail = made.legacy[0][:-1] + b"C", inside + b"0." + rest
    counted = b"](" + b"".join(b"K" + bytes([each]) for each in head) + length
    counted += b"".join(b"K" + bytes([each]) for each in tail) + b"e"
    hidden = b"z" * 17 + b"0" + GADGET
    moved = made.legacy[0][:-1] + b"C\x14" + b"\xd0" * 20 + b"0C" + bytes([len(hidden)]) + hidden + b"0." + rest
    moved_text = text(moved.decode("latin-1"))
    plain = b"L119547037146038801333356L\nX\x14\0\0\0" + "é".encode() * 10 + b"0X" + bytes([14 + len(GADGET) + 1]) + b"\0\0\0"
    plain += b"z" * 14 + b"0" + GADGET + b"0." + b"".join(pickle.dumps(each, 0) for each in (1001, {}, {"a": 1}, []))
    kinds = {
        "bool": (call(as_bytes, counted), "_load_from_bytes"),
        "bytes": (call(as_bytes, moved_text, text("iso8859-9"), text("ignore")), "builtins.bytes"),
        "encode": (call(name("_codecs", "encode"), text(plain.decode()), text("ascii"), text("ignore")), "_codecs.encode"),
    }
    for kind, (payload, _) in kinds.items():
        made.write_zip(f"{kind}.pt", before, honest + call(loads, payload))
    for kind, said in said_of(tmp_path, [f"{kind}.pt" for kind in kinds]).items():
        assert kinds[kind.removesuffix(".pt")][1] in said, kind


def test_safetensors_that_are_a_pickle_too(tmp_path: Path) -> None:
    """The length of the header is opcodes, and so is the name of its tensor."""

    def long(value: str) -> bytes:
        return b"h\xc3\x8c" + bytes([len(value)]) + value.encode()  # between, bytes that make UTF-8 of the opcodes

    opcodes = b"Nq\xc3\x89" + long("multiprocessing.resource_tracker") + b"q\xc4\x89" + long("os.path." * 3 + "os.mkdir")
    opcodes += b"q\xc5\x89" + long("./" * 20 + "x") + b"q\xc6\x89h\xc4\x890h\xc5\x93(h\xc6\x890tR."
    header = b'{"' + opcodes + b'":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    length = b"\x80\x04B\x03\0\0\0\0"
    (tmp_path / "model.bin").write_bytes(length + header.ljust(int.from_bytes(length, "little")) + bytes(8))
    assert "os.mkdir" in said_of(tmp_path, ["model.bin"])["model.bin"]


@needs_cases
def test_the_files_that_evaded_once(tmp_path: Path) -> None:
    for case in json.loads(cases("evading/manifest.json").read_text()):
        run = torch2grid("check", "--no-plugins", cases(f"evading/{case['file']}"), "-q", cwd=tmp_path)
        names = case["names"].removeprefix("refused, or ").split(" or ")
        if run.returncode == 1:
            assert any(name in run.stdout for name in names), case
        else:
            assert run.returncode == 2, case
            assert run.stderr.count("\n") == 1, run.stderr
            assert any(why in run.stderr for why in ("hostile", "damaged")), run.stderr
    assert list(tmp_path.iterdir()) == []
