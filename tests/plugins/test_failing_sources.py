"""A source that fails is told as such: by its location and by what it raised, never as a fault of the file or of the core."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.support.tools import torch2grid

from torch2grid_core import LoadError, PluginManager
from torch2grid_core.sources import SourceBase

PLUGIN = """
import os
from torch2grid_core import SourceOpener
from torch2grid_core.sources import SourceBase

class Broken(SourceBase):
    def __init__(self, name):
        self.name, self.shown, self.path = name, f"broken://{name}", name
        self.size = self.identity = os.path.getsize(name)
    def read(self, offset, length):
        with open(self.path, "rb") as file:
            file.seek(offset)
            data = file.read(length)
        after = int(os.environ["AFTER"])
        if offset + length <= after:
            return data
        if os.environ["HOW"] == "raises":
            raise OSError("network gone")
        return data[: length // 2]

class Opener(SourceOpener):
    "files that fail"
    name, schemes = "broken", ("broken",)
    def open(self, location):
        return Broken(location.partition("://")[2])
"""
TENSORS = {f"fc{number}.weight": torch.full((300, 500), 0.5 + number) for number in range(2)}


def write(kind: str, folder: Path) -> str:
    name = f"m.{kind}"
    if kind == "safetensors":
        save_file(TENSORS, folder / name)
    elif kind == "npz":
        np.savez(folder / name, **{key: value.numpy() for key, value in TENSORS.items()})
    else:
        torch.save(TENSORS, folder / name, _use_new_zipfile_serialization=kind == "pth")
    (folder / "broken.py").write_text(PLUGIN, encoding="utf-8")
    return name


@pytest.mark.parametrize("how", ["raises", "short"])
@pytest.mark.parametrize("kind", ["pth", "legacy", "safetensors", "npz"])
@pytest.mark.parametrize("after", [0, 200_000])
def test_what_a_source_raises_or_leaves_out_is_told_by_its_location(kind: str, how: str, after: int, tmp_path: Path) -> None:
    name = write(kind, tmp_path)
    environment = {"HOW": how, "AFTER": str(after)}
    run = torch2grid("--load-plugin", "broken.py", f"broken://{name}", "--layers", cwd=tmp_path, env=environment)
    assert run.returncode == 1
    told = [line for line in run.stderr.splitlines() if f"broken://{name}: " in line]
    assert told, run.stderr
    if how == "raises":
        assert f"broken://{name}: source 'broken': cannot be read: OSError: network gone" in told[0]
    else:
        assert f"broken://{name}: source 'broken': its source gave " in told[0]
        assert " bytes from byte " in told[0]
    for untrue in ("cut short", "torch2grid_core", "internal error", "Traceback", "without its end"):
        assert untrue not in run.stderr


class InMemory(SourceBase):
    def __init__(self, data: bytes) -> None:
        self.data, self.name, self.shown, self.size, self.identity = data, "m", "memory of m", len(data), 1
        self.answer: object = None

    def read(self, offset: int, length: int) -> bytes:
        self.inside(offset, length)
        return self.data[offset : offset + length] if self.answer is None else self.answer  # type: ignore[return-value]


def test_a_source_handed_over_in_python_is_guarded_too_and_keeps_what_it_is(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "m.safetensors")
    source = InMemory((tmp_path / "m.safetensors").read_bytes())
    opened = PluginManager.discover(third_party=False).open(source)
    opened_from = opened.opened_from
    assert opened_from is not None
    assert opened_from.data is source.data  # type: ignore[attr-defined]
    assert (opened_from.name, opened_from.shown, opened_from.size, opened_from.identity) == ("m", "memory of m", source.size, 1)
    copied = pickle.loads(pickle.dumps(opened["fc0.weight"]))
    np.testing.assert_array_equal(copied.numpy(), TENSORS["fc0.weight"].numpy())
    for wrong, told in (
        ("text", "read returned 'text', not bytes"),
        (b"", "gave 0 of the "),
        (bytes(10**6), "gave 1,000,000 of the "),
    ):
        source.answer = wrong
        with pytest.raises(LoadError, match=f"^memory of m: .*{told}"):
            opened["fc1.weight"].numpy()
