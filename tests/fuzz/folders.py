"""Changes the files of distributed checkpoints, adapters and quantised models: each opens, or is a clean error.

What is promised, and checked here for every change: nothing but one of torch2grid's own errors is raised, within seconds and
within a gigabyte; and what opens under the checksums of zip archives has, of each tensor whose description is the same, the
same numbers. ``python -m tests.fuzz.folders`` runs it; ``described.py`` has the adapters and the quantised models.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from tests.fuzz import described
from tests.fuzz.bytewise import changed
from tests.support.distributed import made
from tests.support.exports import onnx
from tests.support.loaders.opened import opened
from torch.distributed.tensor import Shard

from torch2grid_core import Torch2GridError

SECONDS = 10
LARGE = 1 << 24
MEMORY = 1 << 30
UNSEALED = (".metadata", "latest")  # text and pickles without a checksum
Numbers = dict[str, bytes]


def _small() -> made.State:
    torch.manual_seed(3)
    return {"a.weight": torch.randn(7, 5), "a.bias": torch.randn(7), "b.weight": torch.randn(4, 7)}


def _packed(folder: Path) -> Path:
    import zstandard

    return made.dcp(folder, _small(), objects={"step": 3}, pack=zstandard.ZstdCompressor().compress)


def _zero(folder: Path, stage: int) -> Path:
    return made.zero(folder, [_small()], 2, stage, buffers={"mean": torch.arange(3.0)}, shared={"head": "a.weight"})


def _onnx(folder: Path) -> Path:
    """A model of ONNX whose numbers lie in two files beside it."""
    (folder / "more").mkdir(parents=True)
    stated, place = [], {"m.data": 0, "more/m.data": 0}
    for name, tensor in _small().items():
        file, raw = ("more/m.data" if name.endswith("bias") else "m.data"), tensor.numpy().tobytes()
        with (folder / file).open("ab") as stream:
            stream.write(raw)
        where = onnx.external(file, place[file], len(raw))
        stated.append(onnx.dims(tuple(tensor.shape)) + onnx.number(2, 1) + onnx.held(8, name) + where)
        place[file] += len(raw)
    (folder / "model.onnx").write_bytes(onnx.model(onnx.graph(stated)))
    return folder


FOLDERS: dict[str, Callable[[Path], Path]] = {
    "dcp": lambda folder: made.dcp(folder, _small(), objects={"step": 3}, paths={"a.bias": ("a.bias",)}),
    "dcp, packed": _packed,
    "sliced": lambda folder: made.sliced(folder, _small()),
    "DTensor": lambda folder: made.dtensors(folder, _small(), (2,), {name: [Shard(0)] for name in _small()}),
    "ShardedTensor": lambda folder: made.sharded_tensors(folder, _small(), 2),
    "zero 1": lambda folder: _zero(folder, 1),
    "zero 2": lambda folder: _zero(folder, 2),
    "zero 3": lambda folder: _zero(folder, 3),
    "ONNX, external": _onnx,
    "megatron": lambda folder: made.megatron(folder, made.gpt(1), layers=1),
}
SEALED = frozenset(FOLDERS) - {"sliced", "ONNX, external"}  # safetensors and ONNX have no checksums
KINDS = (*FOLDERS, *described.KINDS)


def numbers(folder: Path) -> Numbers:
    """Name, shape and dtype of each tensor, and its numbers. Raises ``Torch2GridError``."""
    found = {}
    for name, tensor in opened(folder).items():
        if tensor.nbytes <= LARGE:
            found[f"{name} {tensor.shape} {tensor.dtype}"] = np.ascontiguousarray(tensor.numpy()).tobytes()
    return found


def fuzz(kind: str, runs: int, seed: int, folder: Path) -> Iterator[str]:
    """What became of each of *runs* changes: ``error``, ``equal``, ``otherwise``, ``as stored``, or ``broken: …``."""
    changes = described.changes if kind in described.KINDS else _changes
    for change in changes(kind, runs, random.Random(f"{seed} {kind}"), folder):
        started = time.process_time()  # a busy machine may stop a process for longer
        try:
            became = change()
        except Torch2GridError as error:
            became = "error" if str(error).isprintable() else "broken: the message has control characters"
        except Exception as error:
            became = f"broken: {type(error).__name__}: {error}"
        if time.process_time() - started > SECONDS:
            became = f"broken: took more than {SECONDS} s"
        yield became


def _changes(kind: str, runs: int, rng: random.Random, folder: Path) -> Iterator[Callable[[], str]]:
    """What opens *folder* after each of *runs* changes and says what became of it."""
    place = FOLDERS[kind](folder / "made")
    good = numbers(place)
    files = sorted(path for path in place.rglob("*") if path.is_file() and path.suffix != ".txt")
    files += [path for path in files if path.name == ".metadata"] * 2  # which says the most
    for _ in range(runs):
        path = rng.choice(files)
        raw = path.read_bytes()
        path.write_bytes(changed(raw, rng))

        def look(path: Path = path) -> str:
            found = numbers(place)
            wrong = [name for name in found if name in good and found[name] != good[name]]
            if wrong and kind in SEALED and path.name not in UNSEALED:
                return f"broken: other numbers under a checksum, in {path.name}: {wrong[:3]}"
            return "equal" if found == good else "otherwise"

        yield look
        path.write_bytes(raw)


def bound(more: int = MEMORY) -> None:
    """No more than *more* bytes of address space beyond what this process has: what asks for more is a ``MemoryError``."""
    import resource

    have = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (have + more, resource.RLIM_INFINITY))


def main() -> int:
    """Fuzz, and print a table; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description="Change distributed checkpoints, adapters and quantised models.")
    parser.add_argument("--runs", type=int, default=20_000, help="changes of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="one of: " + ", ".join(KINDS))
    parser.add_argument("--keep", type=Path, default=Path("fuzz_broken"), help="folder for what breaks a promise")
    given = parser.parse_args()
    broken = 0
    columns = ("error", "equal", "otherwise", "as stored", "broken")
    print(f"{'':20}" + "".join(f"{column:>11}" for column in columns), flush=True)
    bound()
    warnings.simplefilter("error", RuntimeWarning)  # as in the tests: numpy's say that numbers were lost
    for kind in [given.only] if given.only else KINDS:
        counts = Counter[str]()
        with tempfile.TemporaryDirectory(prefix="torch2grid-fuzz-") as folder:
            for number, became in enumerate(fuzz(kind, given.runs, given.seed, Path(folder))):
                counts[became.partition(":")[0]] += 1
                if became.startswith("broken"):
                    broken += 1
                    kept = shutil.copytree(folder, given.keep / f"{kind} {number}", dirs_exist_ok=True)
                    print(f"{kept}: {became}", file=sys.stderr)
        print(f"{kind:20}" + "".join(f"{counts[column]:11,}" for column in columns), flush=True)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
