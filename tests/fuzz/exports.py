"""Flips bytes of ONNX models, programs of torch.export, packages and archives, and cuts them short: each opens, or is an error.

What is promised, and checked here for every change: nothing but one of torch2grid's own errors is raised, within seconds; what
opens under the checksums of a .pt2 archive has the same tensors; a changed number of an ONNX model is that number alone.
``python -m tests.fuzz.exports`` runs it.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tests.fuzz.fuzz import Broken, change, content, verdict
from tests.fuzz.samples import Sample, _numbers, _zip, arrays, tar_of
from tests.support.exports import onnx


def _onnx() -> bytes:
    """Every way of writing numbers, with graphs within the graph, sparse tensors, and constants."""
    tensors = [onnx.tensor(name, array) for name, array in arrays().items()]
    more = onnx.arrays()
    tensors += [
        onnx.tensor(f"{form} {name}", more[name], form)
        for form in ("packed", "split")
        for name in ("float32", "int8", "bfloat16")
    ]
    tensors.append(onnx.small("codes", "int4", (3, 3), range(-4, 5)))
    values, places = np.array([1.5, 2.5], np.float32), np.array([[0, 1], [2, 0]], np.int64)
    sparse = onnx.held(1, onnx.tensor("sparse", values)) + onnx.held(2, onnx.tensor("", places))
    sparse += b"".join(onnx.number(3, length) for length in (3, 2))
    inner = onnx.graph([onnx.tensor("inner", np.arange(4.0, dtype=np.float32))])
    nodes = [
        onnx.node(
            "Constant", ["constant"], onnx.attribute("value", onnx.held(5, onnx.tensor("", np.ones((2, 2), np.float32))))
        ),
        onnx.node("If", ["y"], onnx.attribute("then_branch", onnx.held(6, inner)), name="choose"),
    ]
    return onnx.model(onnx.graph(tensors, nodes, onnx.held(15, sparse)))


class _Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)
        self.register_buffer("turned", torch.arange(6.0).reshape(2, 3).t())
        self.register_buffer("passing", torch.ones(2), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layer(x) + self.passing + self.turned.sum()
        return y + x.shape[0]


def program() -> bytes:
    """What torch.export.save writes, with a symbolic size, a constant and a view."""
    torch.manual_seed(0)
    buffer = io.BytesIO()
    made = torch.export.export(_Net(), (torch.ones(4, 3),), dynamic_shapes=({0: torch.export.Dim("b", max=100)},))
    torch.export.save(made, buffer)
    return buffer.getvalue()


def old_program() -> bytes:
    """The records that PyTorch 2.1 to 2.7 wrote."""
    torch.manual_seed(0)
    target, held = io.BytesIO(), io.BytesIO()
    torch.save(_Net().state_dict(), held)
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("serialized_exported_program.json", '{"graph_module": {"graph": {"nodes": []}}}')
        archive.writestr("serialized_state_dict.pt", held.getvalue())
        archive.writestr("serialized_constants.pt", b"")
        archive.writestr("version", "8.2")
    return target.getvalue()


def archive() -> bytes:
    """A tar of one checkpoint, as NeMo writes it."""
    held = io.BytesIO()
    torch.manual_seed(0)
    torch.save(_Net().state_dict(), held)
    return tar_of({"model_config.yaml": b"a: 1\n", "model_weights.ckpt": held.getvalue()})


def package() -> bytes:
    """What torch.package writes: two pickles with the storages of both, and a text."""
    target = io.BytesIO()
    torch.manual_seed(0)
    with torch.package.PackageExporter(target) as exporter:
        exporter.save_pickle("model", "state.pkl", _Net().state_dict())
        exporter.save_pickle("model", "more.pkl", [torch.arange(6.0).reshape(2, 3).t()])
        exporter.save_text("notes", "read.txt", "hello")
    return target.getvalue()


def zipped() -> bytes:
    """A zip archive of one checkpoint, with what stands beside it."""
    target, held = io.BytesIO(), io.BytesIO()
    torch.manual_seed(0)
    torch.save(_Net().state_dict(), held)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("run/model.pth", held.getvalue())
        packed.writestr("run/config.json", "{}")
    return target.getvalue()


def quantised_layers() -> bytes:
    """The state dict of torch.ao's quantised layers, with packed parameters, and a view of a quantised tensor."""
    target = io.BytesIO()
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao is deprecated; its files stay
        module = torch.nn.ModuleDict({"fc": torch.nn.Linear(5, 3), "rnn": torch.nn.LSTM(4, 3)})
        dynamic = torch.ao.quantization.quantize_dynamic(module, {torch.nn.Linear, torch.nn.LSTM}, torch.qint8)
        whole = torch.quantize_per_channel(torch.randn(4, 3), torch.rand(4) + 0.1, torch.zeros(4), 0, torch.qint8)
        torch.save({**dynamic.state_dict(), "rows": torch.quantize_per_tensor(torch.randn(6, 2), 0.1, 1, torch.qint8)[1:4],
                    "channels": whole}, target)  # fmt: skip
    return target.getvalue()


def samples() -> list[Sample]:
    """Files of each reader."""
    raw = _onnx()
    return [
        Sample("onnx", raw, False, (), _numbers(raw)),
        _zip("pt2", program()),
        _zip("pt2 of before", old_program()),
        Sample("nemo", archive(), False),
        _zip("package", package()),
        _zip("zip of one", zipped()),
        _zip("torch.ao", quantised_layers()),
    ]


def fuzz(sample: Sample, runs: int, seed: int, folder: Path) -> Iterator[str]:
    """What became of each of *runs* changes; ``broken: …`` where a promise did not hold."""
    import random

    rng = random.Random(f"{seed} {sample.name}")
    path = folder / "changed"
    path.write_bytes(sample.raw)
    good = content(path)
    for _ in range(runs):
        changed = change(sample, rng)
        try:
            yield verdict(sample, good, changed, path)
        except Broken as broken:
            (folder / f"broken_{changed.first}_{changed.count}").write_bytes(changed.raw)
            yield f"broken: {broken} (byte {changed.first}, {changed.count or 'cut'})"


def main() -> int:
    """Fuzz, and print a table; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description="Change bytes of exported models.")
    parser.add_argument("--runs", type=int, default=20_000, help="changes of each file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="one of them")
    given = parser.parse_args()
    broken = 0
    for sample in samples():
        if given.only not in ("", sample.name):
            continue
        counts, started = Counter[str](), time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="torch2grid-fuzz-") as folder:
            for became in fuzz(sample, given.runs, given.seed, Path(folder)):
                counts[became.partition(":")[0]] += 1
                if became.startswith("broken"):
                    broken += 1
                    print(f"{sample.name}: {became}", file=sys.stderr)
        print(f"{sample.name:14}{dict(counts)} {time.perf_counter() - started:.0f} s", flush=True)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
