"""However a pickle makes an object of a class that is interpreted, it is interpreted, or an error: joblib's arrays, dtypes.

And where a class of the list looks into what it is given, no key hides that. Each file is loaded for real in a child process.
"""

from __future__ import annotations

import io
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.hostile.test_evasions import said_of
from tests.hostile.test_second_readings import safetensors
from tests.support.hostile.evasions import OTHER, OTHER_SOURCE, call, name, short, text
from tests.support.hostile.loading import left
from tests.support.tools import torch2grid

pytest.importorskip("joblib")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the payloads call what Linux has")

WRAPPER = name("joblib.numpy_pickle", "NumpyArrayWrapper")
OBJECT = name("builtins", "object")
# Each makes an object of the class without a call of ``__init__``, as CPython does it.
WAYS = {
    "NEWOBJ": lambda kind: kind + b")\x81",
    "NEWOBJ_EX": lambda kind: kind + b")}\x92",
    "reconstructor": lambda kind: call(name("copyreg", "_reconstructor"), kind, OBJECT, b"N"),
    "newobj": lambda kind: call(name("copyreg", "__newobj__"), kind),
    "newobj_ex": lambda kind: call(name("copyreg", "__newobj_ex__"), kind, b")", b"}"),
    "OBJ": lambda kind: b"(" + kind + b"o",
    "INST": lambda kind: b"(i" + kind[1:],
}


def dtype(code: str, objects: bool = False) -> bytes:
    state = b"(K\x03" + text("|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK" + (b"\x3f" if objects else b"\0") + b"tb"
    return call(name("numpy", "dtype"), text(code), b"\x89", b"\x88") + state


def array(way: str, code: bytes, count: int) -> bytes:
    """An array of joblib: what its *count* elements are stands behind it."""
    state = text("subclass") + name("numpy", "ndarray") + text("shape") + b"M" + struct.pack("<H", count) + b"\x85"
    state += text("order") + text("C") + text("dtype") + code + text("allow_mmap") + b"\x89"
    return WAYS[way](WRAPPER) + b"}(" + state + b"ub"


def hidden(path: str) -> bytes:
    words = short("os") + b"q\xc80" + short("x") + b"0" + short("mkdir") + b"q\xc90h\xc8h\xc9\x93"
    return words + text(path) + b"\x85R0"


def loaded(path: Path, load: str, place: Path) -> bool:
    return "made" in left(f"import sys; {load}", path, folder=place)


@pytest.mark.parametrize("way", WAYS)
def test_an_array_of_joblib_takes_its_bytes_however_it_is_made(way: str, tmp_path: Path) -> None:
    """What joblib reads behind the array is a pickle's opcodes: the length of a string to one who takes no array off."""
    payload = hidden("made")
    good = array("NEWOBJ", dtype("f4"), 4) + struct.pack("<4f", 1, 2, 3, 4)
    path = tmp_path / "a.joblib"
    path.write_bytes(
        b"\x80\x04](" + good + array(way, dtype("u1"), 5) + b"B" + struct.pack("<I", len(payload)) + payload + b"e."
    )
    assert loaded(path, "import joblib; joblib.load(sys.argv[1])", tmp_path / "in")
    assert "calls os.mkdir" in said_of(tmp_path, [path.name])[path.name]


def test_an_array_of_objects_is_read_by_pickle_itself(tmp_path: Path) -> None:
    payload = hidden("made")
    inner = b"\x80\x04](" + array("NEWOBJ", dtype("u1"), len(payload)) + payload + b"Ne."
    good = array("NEWOBJ", dtype("f4"), 2) + struct.pack("<2f", 5, 6)
    path = tmp_path / "a.joblib"
    path.write_bytes(b"\x80\x04](" + good + array("NEWOBJ", dtype("O8", objects=True), 1) + inner + b"e.")
    assert loaded(path, "import joblib; joblib.load(sys.argv[1])", tmp_path / "in")
    assert "calls os.mkdir" in said_of(tmp_path, [path.name])[path.name]


@pytest.mark.parametrize("start", [b"", b"]Nb0", b"Np999999\n0", b"I1_0\n0", b"]K\x01aK\x00K\x02s0"])
def test_numbers_of_joblib_that_are_opcodes(start: bytes, tmp_path: Path) -> None:
    payload = start + hidden("made")
    path = tmp_path / "a.joblib"
    path.write_bytes(b"\x80\x04](" + array("NEWOBJ", dtype("u1"), len(payload)) + payload + b"e.")
    assert loaded(path, "import pickle; pickle.load(open(sys.argv[1], 'rb'))", tmp_path / "in")
    assert "calls os.mkdir" in said_of(tmp_path, [path.name])[path.name]


@pytest.mark.parametrize("last", [b"R", b"}\x92"], ids=["REDUCE", "NEWOBJ_EX"])
def test_a_dtype_that_denies_its_objects(last: bytes, tmp_path: Path) -> None:
    new = name("numpy", "dtype") + text("V8") + b"\x89\x88\x87" + last
    state = (
        b"(K\x03" + text("|") + b"N" + text("a") + b"\x85}" + text("a") + dtype("O8", objects=True) + b"K\0\x86sK\x08K\x01K\0tb"
    )
    empty = call(name("numpy.core.multiarray", "_reconstruct"), name("numpy", "ndarray"), b"K\0\x85", b"C\x01b")
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04" + empty + b"(K\x01K\x01\x85" + new + state + b"\x89C\x08" + b"A" * 8 + b"tb.")
    assert "not run: numpy.dtype.__setstate__" in said_of(tmp_path, ["a.pkl"])["a.pkl"]


def test_classes_that_are_interpreted_made_in_a_way_of_no_checkpoint(tmp_path: Path) -> None:
    keywords = b"}" + text("a") + b"K\x01s"
    kinds = {"collections.OrderedDict", "numpy.dtype", "torch.Size", "builtins.set", "joblib.numpy_pickle.NumpyArrayWrapper"}
    files = []
    for kind in sorted(kinds):
        made = name(*kind.rsplit(".", 1)) + b")" + keywords + b"\x92"
        over = call(name("copyreg", "_reconstructor"), name(*kind.rsplit(".", 1)), name("builtins", "dict"), b"}")
        for label, opcodes in (("keywords", made), ("base", over)):
            files.append(f"{kind} {label}.pkl")
            (tmp_path / files[-1]).write_bytes(b"\x80\x04" + opcodes + b".")
    for file, said in said_of(tmp_path, files).items():
        assert file.partition(" ")[0] in said, (file, said)


@pytest.mark.parametrize(
    "key", [text("defaults"), name("torch.torch_version", "TorchVersion") + text("defaults") + b"\x85\x81"]
)
def test_a_key_that_equals_a_text(key: bytes, tmp_path: Path) -> None:
    """``SGD.__setstate__`` calls ``self.defaults.setdefault``, whatever kind of text the state has it under."""
    (tmp_path / f"{OTHER}.py").write_text(
        OTHER_SOURCE.replace("os.mkdir(path)", "os.mkdir('made')").replace("(path)", "(*path)")
    )
    space = name("types", "SimpleNamespace") + b")\x81}" + text("setdefault") + name(OTHER, "act") + b"sb"
    state = b"}(" + text("param_groups") + b"]" + text("state") + b"}" + key + space + b"ub"
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04" + name("torch.optim.sgd", "SGD") + b")\x81" + state + b".")
    load = f"sys.path.insert(0, {str(tmp_path)!r}); import torch, pickle; pickle.load(open(sys.argv[1], 'rb'))"
    assert loaded(tmp_path / "a.pkl", load, tmp_path / "in")
    assert "SGD.__setstate__" in said_of(tmp_path, ["a.pkl"])["a.pkl"]


@pytest.mark.parametrize("numbers", [b"\xff" * 32, bytes(32), b"." + bytes(31), b"X\xff\xff\xff\0" + b"a" * 27])
def test_an_array_of_joblib_in_another_format_is_an_error(numbers: bytes, tmp_path: Path) -> None:
    """To a pickle its numbers are opcodes, at which each unpickler ends; joblib takes them off and reads on."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(safetensors(array("NEWOBJ", dtype("u1"), 32) + numbers + b"0" + hidden("made")))
    assert loaded(path, "import joblib; joblib.load(sys.argv[1])", tmp_path / "in")
    done = torch2grid("check", path, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert "an array as joblib writes it" in done.stdout + done.stderr


def test_an_array_of_joblib_that_takes_a_legacy_stream_off(tmp_path: Path) -> None:
    """PyTorch reads four pickles and the weights; joblib reads the first pickle, which goes on in the weights."""
    payload = b"0" + hidden("made") + b"N."
    weights = np.frombuffer(payload.ljust(-(-len(payload) // 4) * 4, b"\0"), np.float32)
    held = io.BytesIO()
    torch.save({"w": torch.from_numpy(weights.copy())}, held, _use_new_zipfile_serialization=False)
    stream = held.getvalue()
    magic, rest = stream[:15], stream[15:]
    assert magic[-1:] == b"."
    between = len(stream) - len(magic) - weights.nbytes
    wrapped = magic[:-1] + array("NEWOBJ", dtype("u1"), 2 + between) + b"0."
    path = tmp_path / "a.pth"
    path.write_bytes(wrapped + rest)
    assert torch.load(path, weights_only=False)["w"].shape == weights.shape  # the file that this test has written
    assert loaded(path, "import joblib; joblib.load(sys.argv[1])", tmp_path / "in")
    assert "an array as joblib writes it" in said_of(tmp_path, [path.name])[path.name]
