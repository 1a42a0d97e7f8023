"""Commands and views that open locations: the explorer, comparing, the Python interface."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.support.explore import running
from tests.support.remote import installed
from tests.support.remote.server import Server, serving
from tests.support.tools import torch2grid

from torch2grid_core import Lazy, PluginManager
from torch2grid_remote import plugin


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "www").mkdir()
    with serving(tmp_path / "www") as found:
        yield found


def manager() -> PluginManager:
    found = PluginManager.discover(third_party=False)
    found.register(plugin)
    return found


def test_the_explorer_fetches_a_file_once_and_then_tiles(served: Server) -> None:
    torch.manual_seed(2)
    weights = torch.randn(4096, 1024)
    save_file({"layers.0.weight": weights, "layers.1.weight": torch.randn(2048, 1024)}, served.folder / "m.safetensors")
    whole = (served.folder / "m.safetensors").stat().st_size
    opened = manager().open(f"{served.url}/m.safetensors")
    with running([opened], memory=1 << 16) as (client, session):
        client.enter().filled()
        assert whole <= served.sent + 1 <= 1.02 * whole
        served.forget()
        place = session.map
        height, width = place.shape(0)
        found = np.frombuffer(client.get("/api/cells/0/0/0/0/256/256/mean"), "<f4", 65536)
        assert height * width >= 3 * 2048 * 1024
        assert np.isin(found, weights.numpy().reshape(-1)).mean() > 0.9
        assert len(served.requests) <= 12
        assert served.sent <= 2 * 256 * 1024 * 4  # the rows that the tile is in lie close together


def test_comparing_reads_each_file_once(served: Server, tmp_path: Path) -> None:
    torch.manual_seed(3)
    for name in ("a", "b"):
        save_file({f"w{number}": torch.randn(400, 500) for number in range(6)}, served.folder / f"{name}.safetensors")
    whole = sum(each.stat().st_size for each in served.folder.iterdir())
    words = ["--quiet", "--output", "out", "--jobs", 1]
    local = torch2grid("compare", served.folder / "a.safetensors", served.folder / "b.safetensors", *words, cwd=tmp_path)
    done = torch2grid(
        *("compare", f"{served.url}/a.safetensors", f"{served.url}/b.safetensors", *words),
        cwd=tmp_path,
        path=installed(tmp_path),
    )
    assert (done.returncode, done.stderr) == (local.returncode, local.stderr)
    assert done.stdout.replace(served.url, "") == local.stdout.replace(str(served.folder), "")
    assert served.sent <= 1.01 * whole + 4 * 95_000


def test_python_opens_locations(served: Server) -> None:
    save_file({"w": torch.arange(1000, dtype=torch.float32)}, served.folder / "m.safetensors")
    checkpoint = manager().open(f"{served.url}/m.safetensors")
    assert checkpoint["w"][10:13].tolist() == [10, 11, 12]
    assert checkpoint.source == f"{served.url}/m.safetensors"
    assert np.asarray(checkpoint["w"]).sum() == 499_500


def test_each_opener_is_listed_with_its_schemes() -> None:
    found = {each.name: each for each in plugin.torch2grid_sources()}
    assert sorted(scheme for each in found.values() for scheme in each.facts["schemes"]) == [
        "az",
        "gs",
        "hf",
        "http",
        "https",
        "s3",
    ]
    for each in found.values():
        assert isinstance(each, Lazy)
        module, _, name = each.path.partition(":")
        kind = getattr(importlib.import_module(module), name)
        assert (kind.name, kind.schemes) == (each.name, each.facts["schemes"])
