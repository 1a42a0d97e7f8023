"""Changes archives, streams and their pickles, and opens each with PyTorch and with torch2grid. ``make fuzz-torch`` runs it.

Promised, and checked for every change: where both open, the tensors are the same, by name, shape, dtype and every bit. PyTorch
opens with ``weights_only=True``. Tars, which it refuses so, are read by its own code for tars, with that unpickler in place of
pickle's.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import io
import multiprocessing
import os
import pickle
import random
import re
import resource
import signal
import struct
import sys
import tempfile
import time
import warnings
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.fuzz import archives, pickled
from tests.fuzz.samples import arrays, tar_of
from tests.support.loaders.opened import opened, torch_bytes
from torch import _weights_only_unpickler

from torch2grid_builtin._inert.walk import key_text
from torch2grid_core import Torch2GridError

KINDS = ("zip", "zip, pickle", "zip, bytes", "legacy", "legacy, pickle", "legacy, bytes", "tar", "tar, pickle", "tar, bytes")
SAME, OURS, THEIRS, NEITHER, CRASH = "same", "we refuse", "only we open", "both refuse", "PyTorch ends"
SECONDS = 10
ODD = "\0"
MEMORY = 3 << 30  # a changed size asks PyTorch for any amount
Leaf = tuple[str, tuple[int, ...], str, str]


class SafePickle:
    """PyTorch's unpickler for weights, under another name, so that its code for tars takes it."""

    load = staticmethod(_weights_only_unpickler.load)
    Unpickler = _weights_only_unpickler.Unpickler


def by_torch(path: Path) -> Any:
    """What PyTorch makes of the file. Raises whatever it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except RuntimeError as error:
            if "legacy .tar format" not in str(error):
                raise
        with path.open("rb") as stream:
            return torch.serialization._legacy_load(stream, "cpu", SafePickle, encoding="utf-8")


def leaves(value: Any, name: str = "", within: tuple[int, ...] = ()) -> Iterator[tuple[Leaf, bool]]:
    """The tensors of what PyTorch loaded, under the names that torch2grid gives; True for one that only an attribute holds."""
    if isinstance(value, torch.UntypedStorage | torch.storage.TypedStorage):
        untyped = isinstance(value, torch.UntypedStorage)
        dtype = torch.uint8 if untyped else value.dtype
        value = torch.empty(0, dtype=dtype).set_(value if untyped else value._untyped_storage)
    if isinstance(value, torch.Tensor):
        yield (re.sub(r"#\d+$", "", name) or "tensor", *described(value)), False
        return
    if id(value) in within:
        return
    if isinstance(value, dict):
        children = [(key_name(key, index), item) for index, (key, item) in enumerate(value.items())]
        for index, key in enumerate(value):
            yield from ((leaf, True) for leaf, _ in leaves(key, f"{name}.{index}.key" if name else f"{index}.key"))
    elif isinstance(value, list | tuple | set):
        children = [(str(index), item) for index, item in enumerate(value)]
    else:
        return
    for key, item in children:
        yield from leaves(item, f"{name}.{key}" if name else key, (*within, id(value)))
    if isinstance(value, OrderedDict):
        for key, item in vars(value).items():
            yield from ((leaf, True) for leaf, _ in leaves(item, f"{name}.{key}" if name else key, (*within, id(value))))


def key_name(key: Any, index: int) -> str:
    """The name that torch2grid gives an entry of a mapping; ``ODD`` where it has a class or the like for a key."""
    plain = isinstance(key, str | bytes | int | float | tuple | torch.Tensor) or key is None
    return key_text(key, index) if plain else ODD


def described(tensor: torch.Tensor) -> tuple[tuple[int, ...], str, str]:
    """Shape, dtype and digest of the numbers as torch2grid shows them."""
    if tensor.is_meta:
        return tuple(tensor.shape), "meta", ""
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    tensor, dtype = tensor.detach(), str(tensor.dtype).removeprefix("torch.")
    if dtype == "bool":
        tensor = tensor.view(torch.uint8)  # PyTorch makes 1 of any other byte when it copies them
    return tuple(tensor.shape), dtype, hashlib.sha256(torch_bytes(tensor)).hexdigest()


def ours(path: Path) -> tuple[list[Leaf], set[str]]:
    """The tensors that torch2grid shows, and the names of what it says it leaves out. Raises ``Torch2GridError``."""
    checkpoint = opened(path)
    found = []
    for name, tensor in checkpoint.items():
        digest = hashlib.sha256(np.ascontiguousarray(tensor.numpy()).tobytes()).hexdigest()
        found.append((re.sub(r"#\d+$", "", name), tensor.shape, tensor.dtype.name, digest))
    return found, {skip.name for skip in checkpoint.skipped if "sets this key again" not in skip.reason}


def verdict(path: Path) -> str:
    """What became of the file at *path*: ``SAME`` and its like, or ``differs: …``."""
    theirs: list[tuple[Leaf, bool]] | None = None
    signal.alarm(SECONDS)  # ends the process: a member of a tar may be a pipe, for which PyTorch waits
    with contextlib.suppress(Exception):
        theirs = list(leaves(by_torch(path)))
    signal.alarm(0)
    started = time.process_time()
    try:
        found, left_out = ours(path)
    except Torch2GridError:
        return OURS if theirs is not None else NEITHER
    except Exception as error:
        return f"differs: torch2grid raises {type(error).__name__}: {error}"
    if time.process_time() - started > SECONDS:
        return "differs: torch2grid takes more than 10 s"
    if theirs is None:
        return THEIRS
    if any(ODD in leaf[0] for leaf, _ in theirs):  # then without names
        theirs, found = [(("", *leaf[1:]), aside) for leaf, aside in theirs], [("", *leaf[1:]) for leaf in found]
    plain, attributes = (Counter(leaf for leaf, aside in theirs if aside is each) for each in (False, True))
    plain = Counter({leaf: count for leaf, count in plain.items() if leaf[0] not in left_out and leaf[2] != "meta"})
    missing, more = plain - Counter(found), Counter(found) - plain - attributes
    if missing or more:
        return f"differs: PyTorch {sorted(missing)[:3]}, torch2grid {sorted(more)[:3]}"
    return SAME


def checkpoint() -> dict[str, Any]:
    """Tensors of several kinds, small and all different."""
    tensors = {name: torch.from_numpy(array) for name, array in arrays().items()}
    whole = tensors["0.weight"]
    quantised = torch.quantize_per_channel(
        torch.arange(6.0).view(2, 3), torch.tensor([0.3, 0.7]), torch.tensor([1, 2]), 0, torch.qint8
    )
    return {
        "model": OrderedDict(tensors),
        "turned": whole.t()[1:],
        "Half": torch.arange(5).bfloat16(),
        "mirrored": torch.view_as_complex(torch.arange(6.0).view(3, 2)).conj(),
        "parameter": torch.nn.Parameter(torch.ones(3)),
        "list": [torch.tensor([True, False]), (torch.tensor(7), "text")],
        "quantised": quantised,
        "epoch": 3,
    }


@dataclass(frozen=True)
class Legacy:
    """A legacy stream in pieces: five pickles, then the storages."""

    pickles: tuple[bytes, ...]
    storages: bytes

    def raw(self) -> bytes:
        """Its bytes."""
        return b"".join(self.pickles) + self.storages


@functools.cache
def bases() -> dict[str, Any]:
    """The files that are changed, by container."""
    stored, legacy = io.BytesIO(), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(checkpoint(), stored)
        torch.save(checkpoint(), legacy, _use_new_zipfile_serialization=False)
    pieces, rest = [], _steady(legacy.getvalue())
    for _ in range(5):
        piece = b"".join(pickled.operations(rest))
        pieces.append(piece)
        rest = rest[len(piece) :]
    return {"zip": archives.read(stored.getvalue()), "legacy": Legacy(tuple(pieces), rest), "tar": archives.members(tar_of())}


def _steady(raw: bytes) -> bytes:
    """A legacy stream without the addresses that are its keys, which differ from run to run."""
    keys = dict.fromkeys(re.findall(rb"X\x0e\0\0\0(\d{14})", raw))
    for number, key in enumerate(keys):
        raw = raw.replace(key, b"%014d" % (number + 10**13))
    return raw


def change(kind: str, rng: random.Random) -> bytes:
    """A changed file of one of ``KINDS``."""
    container, _, what = kind.partition(", ")
    base = bases()[container]
    if what == "bytes":
        raw = base.raw() if container != "tar" else tar_of()
        return _flipped(raw, rng)
    if container == "zip":
        if what:
            records = [archives.replace(each) for each in base.records]
            (told,) = (each for each in records if each.name.endswith(b"/data.pkl"))
            told.data = pickled.changed(told.data, rng)
            return archives.Zip(records).raw()
        return archives.changed_zip(base, rng).raw()
    if container == "legacy":
        pickles = list(base.pickles)
        if what:
            place = rng.choice((3, 3, 3, 3, 4))
            pickles[place] = pickled.changed(pickles[place], rng)
            return Legacy(tuple(pickles), base.storages).raw()
        return _changed_stream(pickles, base.storages, rng)
    if not what:
        return archives.changed_tar(base, rng)
    changed = dict(base)
    name = rng.choice(("pickle", "storages", "tensors"))
    first = b"".join(pickled.operations(changed[name]))
    changed[name] = pickled.changed(first, rng) + changed[name][len(first) :]
    return archives.changed_tar(changed, random.Random(0)) if rng.random() < 0.1 else tar_of(changed)


def _flipped(raw: bytes, rng: random.Random) -> bytes:
    changed = bytearray(raw)
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = rng.randrange(len(changed))
        changed[place] = rng.choice((changed[place] ^ (1 << rng.randrange(8)), rng.randrange(256), 0, 255))
    return bytes(changed)


def _changed_stream(pickles: list[bytes], storages: bytes, rng: random.Random) -> bytes:
    """A legacy stream whose pieces are in another order, repeated or missing, or whose list of keys says something else."""
    kind = rng.randrange(7)
    keys = list(_weights_only_unpickler.load(io.BytesIO(pickles[4]), encoding="utf-8"))
    if kind == 0:
        rng.shuffle(keys)
    elif kind == 1:
        keys[rng.randrange(len(keys))] = rng.choice(keys)
    elif kind == 2:
        del keys[rng.randrange(len(keys))]
    elif kind == 3:
        place = rng.randrange(len(keys))
        keys[place] = rng.choice((keys[place].encode(), int(keys[place]), keys[place] + "0"))
    elif kind == 4:
        storages = storages[: rng.randrange(len(storages))] + storages[rng.randrange(len(storages)) :]
    elif kind == 5:
        pickles.insert(rng.randrange(6), rng.choice(pickles))
    else:
        storages = struct.pack("<q", rng.choice((0, 1, 20, 2**40))) + storages[8:]
    written: Any = keys if rng.random() < 0.8 else rng.choice((tuple(keys), dict.fromkeys(keys), set(keys)))
    return b"".join([*pickles[:4], pickle.dumps(written, 2), *pickles[5:], storages])


def one(number: int, seed: int) -> tuple[str, bytes]:
    """The kind and the bytes of change *number*."""
    kind = KINDS[number % len(KINDS)]
    rng = random.Random(f"{seed} {number}")
    while True:
        try:
            return kind, change(kind, rng)
        except (struct.error, ValueError, OverflowError, IndexError):  # a lie that cannot be written
            continue


def fuzz(start: int, stop: int, seed: int, folder: Path) -> Iterator[tuple[int, str]]:
    """(number, verdict) of the changes *start* to *stop*, in a process that PyTorch may bring down: another goes on then."""
    bases()
    while start < stop:
        reader, writer = multiprocessing.Pipe(duplex=False)
        child = multiprocessing.get_context("fork").Process(target=_run, args=(writer, start, stop, seed, folder))
        child.start()
        writer.close()
        try:
            while True:
                number, became = reader.recv()
                yield number, became
                start = number + 1
        except EOFError:
            child.join()
        if start < stop:  # it died of this one
            yield start, CRASH
            start += 1


def _run(writer: Any, start: int, stop: int, seed: int, folder: Path) -> None:
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY + 4 * (1 << 30), MEMORY + 4 * (1 << 30)))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    path = folder / f"changed{os.getpid()}"
    for number in range(start, stop):
        path.write_bytes(one(number, seed)[1])
        writer.send((number, verdict(path)))
    path.unlink()


def main() -> int:
    """Fuzz, print a table, and keep every file on which the two differ; 1 if there was one."""
    parser = argparse.ArgumentParser(description="Change checkpoints, and compare what PyTorch and torch2grid make of them.")
    parser.add_argument("--runs", type=int, default=50_000, help="changes in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz_broken"), help="folder for files on which the two differ")
    given = parser.parse_args()
    counts = {kind: Counter[str]() for kind in KINDS}
    differ, started = 0, time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="torch2grid-fuzz-") as folder:
        for number, became in fuzz(0, given.runs, given.seed, Path(folder)):
            kind = KINDS[number % len(KINDS)]
            counts[kind][became.partition(":")[0]] += 1
            if became.startswith("differs"):
                differ += 1
                given.keep.mkdir(parents=True, exist_ok=True)
                kept = given.keep / f"{kind.replace(', ', '_')}_{number}"
                kept.write_bytes(one(number, given.seed)[1])
                print(f"{kept}: {became}", file=sys.stderr)
    columns = (SAME, OURS, THEIRS, NEITHER, CRASH, "differs")
    print(" " * 16 + "".join(f"{column:>15}" for column in columns))
    for kind, count in counts.items():
        print(f"{kind:16}" + "".join(f"{count[column]:15,}" for column in columns))
    print(f"{given.runs:,} changed files, seed {given.seed}: {differ} differ, {time.perf_counter() - started:.0f} s")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
