"""Calls of another package's function that plain containers, partials, states and dtypes carry; files of two formats.

Each file is loaded for real in a child process, and the code of each only creates a folder.
"""

from __future__ import annotations

import pickle
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from tests.hostile.test_evasions import said_of, touched
from tests.hostile.test_gadgets import NO, YES, calling, mapping, space
from tests.support.hostile.evasions import (
    CANARY,
    OTHER,
    OTHER_SOURCE,
    Evasion,
    Files,
    before,
    both,
    call,
    many,
    name,
    raw_bytes,
    text,
)
from tests.support.tools import distribution, torch2grid

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the children are forked, and call what Linux has"),
    pytest.mark.filterwarnings("ignore"),
]
_OBJECT, _LIST, _DICT = (name("builtins", each) for each in ("object", "list", "dict"))
_DEFAULT, _PARTIAL = name("collections", "defaultdict"), name("functools", "partial")
_NONE = b"N"


def partial(function: bytes, *args: bytes, made: bytes = b"") -> bytes:
    """``functools.partial`` as it is pickled: made of its function, then given it again with its arguments."""
    return call(_PARTIAL, made or function) + both(function, both(*args), b"}", b"N") + b"b"


def rebuilt(kind: bytes, base: bytes, content: bytes) -> bytes:
    return call(name("copyreg", "_reconstructor"), kind, base, content)


def user_list(data: bytes) -> bytes:
    return name("collections", "UserList") + b")\x81" + mapping(data=data) + b"b"


def carriers(path: str) -> dict[str, bytes]:
    """What makes the folder *path* while it is loaded, with a foreign function in a harmless container."""
    foreign = name(OTHER, "act")
    factory = call(_DEFAULT, partial(foreign, text(path)))
    changed = call(_DEFAULT, partial(foreign, text(path), made=name("builtins", "int")))
    late = call(_DEFAULT) + both(b"N", mapping(default_factory=partial(foreign, text(path)))) + b"b"
    tensor = call(name("torch", "Tensor"), many(b"G" + bytes(8)))
    values = {key: calling(path) for key in ("detach", "size", "dim", "stride")}
    values |= {"is_meta": NO, "requires_grad": NO, "shape": both(b"K\x02", b"K\x02")}
    nested = mapping(values=space(**values), offsets=tensor)
    adagrad = {"param_groups": b"]", "defaults": b"}"}
    random = call(name("numpy.random._pickle", "__randomstate_ctor"), text("MT19937"))
    items = call(name("collections", "OrderedDict"), many(both(text("bit_generator"), text("MT19937"))))
    return {
        "dtype of a defaultdict": call(name("numpy", "dtype"), factory),
        "dtype of a changed one": call(name("numpy", "dtype"), changed),
        "dtype of one changed later": call(name("numpy", "dtype"), late),
        "optimizer": name("torch.optim.adagrad", "Adagrad") + b")\x81" + mapping(**adagrad, state=factory) + b"b",
        "list of a list of its own": rebuilt(_LIST, _LIST, user_list(factory)),
        "dict of keys": rebuilt(_DICT, _DICT, space(keys=calling(path))),
        "set of a list of its own": rebuilt(name("builtins", "set"), name("builtins", "set"), user_list(factory)),
        "nested tensor": call(name("torch.nested._internal.nested_tensor", "_rebuild_njt"), nested),
        "random state": random + space(keys=calling(path)) + b"b" + items + b"\x86",
        "a foreign object that answers": call(
            name("uuid", "UUID"), name(OTHER, "Plain") + b")\x81" + mapping(replace=calling(path)) + b"b"
        ),
        "state of a partial": partial(foreign, text(path), made=_LIST),
        "attribute of a partial": call(_PARTIAL, _LIST)
        + both(_LIST, b")", b"}", mapping(__setstate__=foreign))
        + b"b"
        + text(path)
        + b"b",
    }


SOURCE = OTHER_SOURCE + "\n\nclass Plain:\n    pass\n"
SOME_RUN = 5  # of them with any PyTorch and numpy that is supported


def test_harmless_containers_of_another_packages_function(tmp_path: Path) -> None:
    (tmp_path / f"{OTHER}.py").write_text(SOURCE)
    files, evasions = Files(tmp_path), []
    for number, label in enumerate(carriers("x")):
        file = f"{number:03}.pt"
        files.write_zip(file, before, carriers(f"{CANARY}/{number:03}")[label])
        evasions.append(Evasion(label, file, "torch", ""))
    ran = touched(tmp_path, evasions)
    said = said_of(tmp_path, [each.file for each in evasions])
    sure = ("calls ", "sets the state of functools", "sets the state of numpy")
    assert [each.name for each in evasions if not any(words in said[each.file] for words in sure)] == []
    assert len(ran) >= SOME_RUN, [each.name for each in evasions if each.file not in ran]


JUDGED = {
    "logging.getLogger": call(name("logging", "getLogger"), text("a")),
    "re._compile": call(name("re", "_compile"), text("a"), b"K\x20"),
    "fractions.Fraction": call(name("fractions", "Fraction"), text("1/3")),
    "ipaddress.IPv4Address": call(name("ipaddress", "IPv4Address"), text("127.0.0.1")),
    "builtins.type": call(name("builtins", "type"), _NONE),
    "functools.partial": call(_PARTIAL, _LIST),
    "numpy.random._pickle.__randomstate_ctor": call(name("numpy.random._pickle", "__randomstate_ctor"), text("MT19937")),
}


@pytest.mark.parametrize("state", [mapping(handlers=many(space(level=b"K\x01"))), both(_NONE, mapping(name=space(x=YES)))])
def test_a_state_that_a_judged_call_does_not_have(state: bytes, tmp_path: Path) -> None:
    files = Files(tmp_path)
    for label, made in JUDGED.items():
        files.write_zip(f"{label}.pt", before, made + state + b"b")
        files.write_zip(f"{label}.plain.pt", before, made)
    for label, said in said_of(tmp_path, [f"{label}.pt" for label in JUDGED]).items():
        assert f"sets the state of {label.removesuffix('.pt')}" in said, label
    plain = [f"{label}.plain.pt" for label in JUDGED]
    run = torch2grid("check", "--no-plugins", *plain, "--select", "T304", cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("module", ["x.ndarray", OTHER])
def test_a_masked_array_of_another_module(module: str, tmp_path: Path) -> None:
    files = Files(tmp_path)
    for label, kinds in {
        "kind": (name(module, "MaskedArray"), name("numpy", "ndarray")),
        "base": (name("numpy.ma.core", "MaskedArray"), name(module, "ndarray")),
        "shape": (name("numpy.ma.core", "MaskedArray"), name("numpy", "ndarray"), space(a=YES)),
    }.items():
        files.write_zip(f"{label}.pt", before, call(name("numpy.ma.core", "_mareconstruct"), *kinds, b"K\x00\x85", text("b")))
    for file, said in said_of(tmp_path, ["kind.pt", "base.pt", "shape.pt"]).items():
        assert "calls numpy.ma.core._mareconstruct" in said, file


def dtype(code: str, *state: bytes) -> bytes:
    """A dtype as it is pickled, with a state of (order, subarray, names, fields, width, alignment, flags)."""
    return call(name("numpy", "dtype"), text(code), NO, YES) + both(b"K\x03", text("|"), *state) + b"b"


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def denying() -> dict[str, bytes]:
    """Dtypes that say something else of themselves than they hold."""
    minus = number(-1)
    honest = dtype("O8", _NONE, _NONE, _NONE, minus, minus, number(63))
    names, alignment, none = text("a") + b"\x85", number(1), number(0)

    def structure(inner: bytes, flags: int, place: int = 0, width: int = 8) -> bytes:
        return dtype(f"V{width}", _NONE, names, mapping(a=both(inner, number(place))), number(width), alignment, number(flags))

    floats = dtype("f8", _NONE, _NONE, _NONE, minus, minus, none)
    late = call(name("numpy", "dtype"), text("V8"), NO, YES) + b"q\xe5"
    changed = b"h\xe5" + both(
        b"K\x03", text("|"), _NONE, names, mapping(a=both(honest, none)), number(8), alignment, number(27)
    )
    return {
        "fields": structure(honest, 0),
        "fields without a list": structure(honest, 1),
        "fields of fields": structure(structure(honest, 27), 0),
        "subarray": dtype("V8", both(honest, number(1) + b"\x85"), _NONE, _NONE, number(8), alignment, none),
        "objects": dtype("O8", _NONE, _NONE, _NONE, minus, minus, none),
        "objects by name": dtype("object", _NONE, _NONE, _NONE, minus, minus, none),
        "beyond": structure(floats, 16, place=1 << 20),
        "before": structure(floats, 16, place=-8),
        "long subarray": dtype("V8", both(floats, number(1 << 20) + b"\x85"), _NONE, _NONE, number(8), alignment, none),
        "fields of numbers": dtype("f8", _NONE, names, mapping(a=both(honest, none)), minus, minus, none),
        "changed later": structure(late, 0) + changed + b"b\x86",
    }


def test_dtypes_that_deny_what_they_hold(tmp_path: Path) -> None:
    """They are not loaded: numpy follows bytes of the file as pointers."""
    files = Files(tmp_path)
    array = call(name("numpy._core.multiarray", "_reconstruct"), name("numpy", "ndarray"), b"K\x00\x85", raw_bytes(b"b"))
    for label, made in denying().items():
        state = both(b"K\x01", b"K\x01\x85", made, NO, raw_bytes(b"A" * 8))
        files.write_zip(f"{label}.pt", before, made if label == "changed later" else array + state + b"b")
    said = said_of(tmp_path, [f"{label}.pt" for label in denying()])
    assert [file for file, line in said.items() if "numpy.dtype.__setstate__" not in line] == []


def under_other_names() -> dict[str, bytes]:
    """Dtypes of objects that no pickle of numpy's calls so, and the flags of objects where there are none."""
    minus = number(-1)
    kinds = {
        "type": name("builtins", "dict"),
        "fields": b"}" + text("names") + many(text("a")) + b"s" + text("formats") + many(text("O")) + b"s",
        "several": text("f4,O"),
        "subarray": both(text("O"), b"K\x01\x85"),
        "another": call(name("numpy", "dtype"), text("O8"), NO, YES),
        "bytes": text("V8"),
        "numbers": text("f8"),
    }
    width = {"fields": number(8), "several": number(8), "subarray": number(8), "bytes": number(8)}
    return {
        label: call(name("numpy", "dtype"), kind, NO, YES)
        + both(b"K\x03", text("|"), _NONE, _NONE, _NONE, width.get(label, minus), minus, number(1))
        + b"b"
        for label, kind in kinds.items()
    }


def crashes(file: Path) -> bool:
    """True where Python does not survive that *file* is loaded, and what it holds let go."""
    run = subprocess.run([sys.executable, "-c", LET_GO, str(file)], capture_output=True, check=False)
    return run.returncode < 0


LET_GO = "import sys, pickle; found = pickle.load(open(sys.argv[1], 'rb')); del found"


def test_dtypes_of_objects_under_another_name(tmp_path: Path) -> None:
    """numpy makes a dtype of objects of whatever it does not know, and follows bytes of the file as pointers."""
    array = call(name("numpy._core.multiarray", "_reconstruct"), name("numpy", "ndarray"), b"K\x00\x85", raw_bytes(b"b"))
    good = pickle.dumps({"w": np.ones(2, np.float32)}, 2)[:-1]
    files = []
    for label, made in under_other_names().items():
        state = both(b"K\x01", b"K\x01\x85", made, NO, raw_bytes(b"A" * 8))
        (tmp_path / f"{label}.pkl").write_bytes(good + text("x") + array + state + b"bs.")
        files.append(f"{label}.pkl")
    assert sum(crashes(tmp_path / each) for each in files) >= 2
    assert [file for file, line in said_of(tmp_path, files).items() if "numpy.dtype" not in line] == []


ASKED = {
    "__array_interface__": mapping(data=both(number(0x41414141), NO), shape=b"K\x01\x85", typestr=text("<f4"), version=b"K\x03")
}
FILLED = {
    "object": space(**ASKED),
    "mapping": call(name("collections", "OrderedDict")) + mapping(**ASKED) + b"b",
    "mapping with slots": call(name("collections", "OrderedDict")) + both(_NONE, mapping(**ASKED)) + b"b",
    "list": many(space(**ASKED)),
    "module": name("torch.nn.modules.linear", "Identity") + b")\x81" + mapping(_modules=b"}", **ASKED) + b"b",
}


def test_a_fill_value_that_answers_where_its_numbers_lie(tmp_path: Path) -> None:
    """numpy makes an array of the fill value of a masked one: of whatever says where in memory the numbers are."""
    files = []
    for label, value in FILLED.items():
        kinds = (name("numpy.ma", "MaskedArray"), name("numpy", "ndarray"))
        made = call(name("numpy.ma.core", "_mareconstruct"), *kinds, b"K\x00\x85", raw_bytes(b"b"))
        floats = dtype("f4", _NONE, _NONE, _NONE, number(-1), number(-1), number(0))
        state = both(b"K\x01", b"K\x01\x85", floats, NO, raw_bytes(bytes(4)), raw_bytes(b"\0"), value)
        (tmp_path / f"{label}.pkl").write_bytes(b"\x80\x04}" + text("w") + made + state + b"bs.")
        files.append(f"{label}.pkl")
    assert sum(crashes(tmp_path / each) for each in files) >= 2
    said = said_of(tmp_path, files)
    assert [file for file, line in said.items() if "calls numpy.ma.MaskedArray.__setstate__" not in line] == []


def test_dtypes_of_numpy_are_plain(tmp_path: Path) -> None:
    kinds: list[Any] = ["f8", "O", "S3", "U4", "M8[ns]", "V4", [("a", "f4"), ("b", "O")], [("a", "f4", (2, 3)), ("s", "U5")]]
    kinds += [[("r", "O", (2,))], [("i", [("x", "O")])], [(("title", "a"), "f4")]]
    kinds += [{"names": ["x"], "formats": ["O"], "offsets": [8], "itemsize": 24}]
    arrays = [np.zeros(2, kind) for kind in kinds] + [np.zeros(2, np.dtype([("a", "i1"), ("b", "f8")], align=True))]
    torch.save({"w": torch.ones(2), "arrays": arrays, "dtypes": [each.dtype for each in arrays]}, tmp_path / "a.pt")
    run = torch2grid("check", "--no-plugins", "a.pt", "--select", "T304", cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr


def test_plain_factories_and_partials_are_clean(tmp_path: Path) -> None:
    import collections
    import functools
    import random

    held = {
        "w": torch.ones(2),
        "factories": [collections.defaultdict(kind) for kind in (list, dict, int, float, set, str, tuple, None)],
        "nested": collections.defaultdict(functools.partial(collections.defaultdict, list), a=collections.defaultdict(list)),
        "partials": [functools.partial(torch.nn.LayerNorm, eps=1e-6), functools.partial(int, base=2)],
        "random": [np.random.RandomState(1), np.random.default_rng(1), random.Random(1)],
        "scaler": torch.amp.GradScaler("cpu"),
        "masked": np.ma.masked_array([1.0, 2.0], [False, True]),
        "filled": [np.ma.masked_array(each, [False, True], fill_value=each[0]) for each in ([1, 2], ["a", "b"], [1j, 2j])],
        "types": [np.zeros(2, ml_dtypes.bfloat16), np.zeros(2, ml_dtypes.float8_e5m2), np.zeros(2, (np.record, [("a", "f4")]))],
    }
    for protocol in (2, 4):
        torch.save(held, tmp_path / f"{protocol}.pt", pickle_protocol=protocol)
    run = torch2grid("check", "--no-plugins", "2.pt", "4.pt", "--select", "T304", cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr


LOADER = '''
import numpy as np
from torch2grid_core import Checkpoint, LazyTensor, Lazy, Loader, LoadError, hookimpl
from torch2grid_core.sources import Range


class Own(Loader):
    """A format of its own: numbers behind a header that nobody reads."""

    name = "own"

    def sniff(self, source):
        return 2 if source.head[:1] in (b"G", b"N", b"V") and b"OWN1" in source.head else 0

    def load(self, source):
        if source.size % 2:
            raise LoadError(source.shown, "has an odd size")
        stored = Range(source, source.size - 8, 8)
        return Checkpoint([LazyTensor("w", (2,), np.dtype("f4"), stored)], source=source.shown, format="own")


@hookimpl
def torch2grid_loaders():
    return [Lazy(f"{__name__}:Own", "own", "A format of its own.")]
'''


def test_files_of_a_plugins_format_that_are_a_pickle_too(tmp_path: Path) -> None:
    """Whatever loader opens a file: what Python would do with the same bytes is said."""
    site = tmp_path / "site"
    distribution(site, "t2g-own", LOADER)
    (tmp_path / f"{OTHER}.py").write_text(OTHER_SOURCE)
    heads = {"float": b"GGUF" + bytes(5), "none": b"N", "line": b"Vabc\n"}
    evasions, odd = [], []
    for number_, (label, head) in enumerate(heads.items()):
        for module, act in (("os", "mkdir"), (OTHER, "act")):
            file = f"{number_}{module}.bin"
            # The broken one reads on as no pickle: the folder is made before it ends.
            raw = head + text("OWN1") + call(name(module, act), text(f"{CANARY}/{number_}{module}"))
            raw += (b"\xff" if label == "none" else b".") + np.ones(2, "<f4").tobytes()
            (tmp_path / file).write_bytes(raw[:-8] + b"\0" * (len(raw) % 2) + raw[-8:])
            (tmp_path / f"odd{file}").write_bytes(raw[:-8] + b"\0" * (1 - len(raw) % 2) + raw[-8:])
            evasions.append(Evasion(label, file, "pickle", f"{module}.{act}"))
            odd.append(f"odd{file}")
    ran = touched(tmp_path, evasions)
    assert len(ran) == len(evasions)
    for each in evasions:
        for words in ((), ("--loader", "own")):
            run = torch2grid("check", each.file, "--select", "T304", *words, cwd=tmp_path, path=[site])
            assert run.returncode == 1, run.stdout + run.stderr
            assert f"error: calls {each.names}" in run.stdout, run.stdout
        run = torch2grid("check", f"odd{each.file}", cwd=tmp_path, path=[site])
        assert run.returncode == 2
        assert f"odd size; not run: {each.names}" in run.stderr, run.stderr
    (tmp_path / "plain.bin").write_bytes(b"GGUF\3\0\0\0OWN1\0\0\0\0" + np.ones(2, "<f4").tobytes())
    run = torch2grid("check", "plain.bin", "--select", "T304", cwd=tmp_path, path=[site])
    assert run.returncode == 0, run.stdout + run.stderr
