"""How many requests, and how many bytes, each thing costs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.support.remote import installed
from tests.support.remote.hub import hub
from tests.support.remote.models import shards, write
from tests.support.remote.server import Server, serving
from tests.support.remote.sparse import sparse, sparse_shards
from tests.support.tools import torch2grid


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "www").mkdir()
    with serving(tmp_path / "www") as found:
        yield found


def run(*words: object, cwd: Path, **environment: str) -> str:
    done = torch2grid(*words, cwd=cwd, path=installed(cwd), env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_tree_of_safetensors_costs_its_beginning_and_its_end(served: Server, tmp_path: Path) -> None:
    sparse(served.folder / "m.safetensors", 148, 1024)
    run("tree", f"{served.url}/m.safetensors", cwd=tmp_path)
    assert len(served.requests) <= 2
    assert served.sent <= 128_000


def test_tree_of_a_large_header_costs_one_request_more(served: Server, tmp_path: Path) -> None:
    sparse(served.folder / "m.safetensors", 3000, 16)
    run("tree", f"{served.url}/m.safetensors", cwd=tmp_path)
    assert len(served.requests) <= 3
    assert served.sent <= (served.folder / "m.safetensors").stat().st_size / 100


def test_tree_of_a_pth_of_1000_tensors(served: Server, tmp_path: Path) -> None:
    torch.save({f"layers.{number}.weight": torch.zeros(3000) for number in range(1000)}, served.folder / "m.pth")
    run("tree", f"{served.url}/m.pth", cwd=tmp_path)
    assert len(served.requests) <= 6, [(each.first, each.last) for each in served.requests]
    assert served.sent <= 1_000_000


def test_tree_of_many_shards_opens_them_side_by_side(served: Server, tmp_path: Path) -> None:
    shards(served.folder / "m", {f"layers.{number}.weight": torch.zeros(4) for number in range(282)}, 282)
    served.latency = 0.03
    begun = time.monotonic()
    run("tree", f"{served.url}/m/model.safetensors.index.json", "--depth", "1", cwd=tmp_path)
    assert len(served.requests) <= 600
    assert 8 <= served.most <= 16
    assert time.monotonic() - begun < 12  # 3 s where nothing else runs; one after the other it would be 17


def test_tree_of_400_gigabytes(tmp_path: Path) -> None:
    folder = tmp_path / "owner" / "name"
    sparse_shards(folder, 40, 20, 30518)
    assert sum(each.stat().st_size for each in folder.iterdir()) > 400e9
    with hub(tmp_path) as found:
        told = run("tree", "hf://owner/name", "--depth", "1", cwd=tmp_path, **found.environment)
        assert "100,001,382,400" in told
        assert found.web.sent + found.store.sent <= 1_000_000


def test_one_tensors_page_costs_its_bytes(served: Server, tmp_path: Path) -> None:
    names = {f"layers.{number}.weight": torch.randn(1536, 2048) for number in range(4)}
    save_file(names, served.folder / "m.safetensors")
    run(f"{served.url}/m.safetensors", "--only", "layers.2.weight", "--layers", "-q", cwd=tmp_path)
    assert 1536 * 2048 * 4 <= served.sent <= 1536 * 2048 * 4 * 1.01
    assert len(served.requests) <= 2 + 8  # the begin, the end, and one for each connection


def test_a_row_costs_about_a_row(served: Server, tmp_path: Path) -> None:
    save_file({"w": torch.randn(4096, 2048)}, served.folder / "m.safetensors")
    run(f"{served.url}/m.safetensors", "--values", "--slice", "100:102, :4", "--format", "csv", cwd=tmp_path)
    assert served.sent <= 200_000
    assert len(served.requests) <= 6


def test_a_slice_of_columns_costs_few_requests(served: Server, tmp_path: Path) -> None:
    save_file({"w": torch.randn(4096, 512)}, served.folder / "m.safetensors")
    run(f"{served.url}/m.safetensors", "--stats", "--slice", ":, :64", "-q", cwd=tmp_path)
    assert len(served.requests) <= 20
    assert served.sent <= 1.1 * 4 * 4096 * 512


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("form", ["safetensors", "pth", "dcp"])
def test_a_pass_reads_each_byte_once(form: str, jobs: int, served: Server, tmp_path: Path) -> None:
    path = write(served.folder, form)
    whole = sum(each.stat().st_size for each in served.folder.rglob("*") if each.is_file())
    run(f"{served.url}/{path}{'/' * (form == 'dcp')}", "--stats", "-q", "--jobs", jobs, cwd=tmp_path)
    spared = sum(each.sent for each in served.requests if each.last - each.first < 72 << 10)
    assert served.sent <= whole * 1.01 + spared
    assert served.most <= 16 * jobs


def test_a_pass_goes_by_windows_over_eight_connections(served: Server, tmp_path: Path) -> None:
    sparse(served.folder / "m.safetensors", 5, 16384, 1024)  # 64 MiB each
    served.rate = 60e6
    run(f"{served.url}/m.safetensors", "--stats", "-q", "--jobs", "1", cwd=tmp_path)
    large = [each for each in served.requests if each.last - each.first > 1 << 20]
    assert all(each.last - each.first < 8 << 20 for each in large)
    edges = {each.first % (8 << 20) for each in large} - {0}
    assert len(edges) <= 5  # but for the begin of a tensor, they begin at whole windows
    assert 6 <= served.most <= 9  # one may just be ending
    assert served.sent <= 1.01 * (served.folder / "m.safetensors").stat().st_size
