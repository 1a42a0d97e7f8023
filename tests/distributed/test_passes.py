"""Passes over a distributed checkpoint take its blocks as they lie, and items like another one are known by their bytes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from tests.distributed.test_folders import DTYPES, cut
from tests.support.distributed.made import Box, by_rows, dcp
from tests.support.tools import torch2grid as command

import torch2grid
from torch2grid_builtin._loaders import dcp_plain
from torch2grid_core import LazyTensor, LoadError

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")


def passed(tensor: LazyTensor, chunk_bytes: int = 1 << 20) -> np.ndarray[Any, Any]:
    return np.concatenate([chunk.copy() for chunk in tensor.chunks(chunk_bytes)])


@given(cut(), st.sampled_from(DTYPES), st.integers(1, 4), st.integers(1, 300))
def test_a_pass_sees_every_weight_once(
    made: tuple[tuple[int, ...], list[Box]], dtype: Any, ranks: int, chunk_bytes: int
) -> None:
    shape, boxes = made
    count = int(np.prod(shape))
    tensor = (torch.arange(count) % 120).reshape(shape).to(dtype)
    with tempfile.TemporaryDirectory() as folder:
        found = torch2grid.load(dcp(Path(folder), {"w": tensor}, lambda _: boxes, ranks=ranks))["w"]
        whole = np.sort(tensor.reshape(-1).view(torch.uint8).numpy().reshape(count, -1).view(f"u{found.dtype.itemsize}"), 0)
        lengths = [len(chunk) for chunk in found.chunks(chunk_bytes)]
        full = max(min(chunk_bytes // found.dtype.itemsize, count), 1)
        assert lengths == [full] * (count // full) + [count % full] * bool(count % full)
        assert (np.sort(passed(found, chunk_bytes).view(f"u{found.dtype.itemsize}")) == whole.reshape(-1)).all()


@pytest.mark.parametrize("across", [False, True])
def test_the_table_is_that_of_one_file(across: bool, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    torch.manual_seed(0)
    state = {f"layers.{number}.weight": torch.randn(700, 520) for number in range(3)}
    state["layers.1.weight"][3, 4] = float("nan")
    columns = [((0, start), (700, 130)) for start in range(0, 520, 130)]
    folder = dcp(tmp_path / "saved", state, lambda shape: columns if across else by_rows(shape, 4), ranks=4)
    save_file(state, tmp_path / "one.safetensors")
    tables = [command(path, "--view", "stats:detail=true", cwd=tmp_path) for path in (folder, tmp_path / "one.safetensors")]
    assert tables[0].returncode == tables[1].returncode == 0, tables[0].stderr
    assert tables[0].stdout == tables[1].stdout
    assert "NaN" in tables[0].stdout


def twins(folder: Path) -> tuple[Path, int, int]:
    """Two tensors of one kind in one file; where the second's item begins and ends."""
    torch.manual_seed(1)
    path = dcp(folder, {"a": torch.randn(40, 30), "b": torch.randn(40, 30)}, lambda shape: by_rows(shape, 1), ranks=1)
    raw = (path / "__0_0.distcp").read_bytes()
    end = raw.index(b"PK\x05\x06") + 22
    return path, end, len(raw)


def test_an_item_like_another_is_not_opened_as_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _, _ = twins(tmp_path / "saved")
    opened, torch_state = torch2grid.load(path), []
    alike = dcp_plain.alike

    def noted(*arguments: Any) -> LazyTensor | None:
        found = alike(*arguments)
        torch_state.append(found is not None)
        return found

    monkeypatch.setattr("torch2grid_builtin._loaders.dcp_items.alike", noted)
    monkeypatch.setattr(dcp_plain, "_kinds", {})
    torch.manual_seed(1)
    for name in ("a", "b"):
        assert (passed(opened[name]) == torch.randn(40, 30).numpy().reshape(-1)).all()
    assert torch_state == [False, True]


def test_no_changed_byte_of_an_item_like_another_passes_for_the_weights(tmp_path: Path) -> None:
    path, begin, end = twins(tmp_path / "saved")
    file = path / "__0_0.distcp"
    raw = bytearray(file.read_bytes())
    expected = passed(torch2grid.load(path)["b"])
    places = [*range(begin, begin + 700, 3), *range(end - 900, end, 3), *range(begin + 1000, end - 1000, 397)]
    numbers = range(begin + 1000, end - 1500)
    for place in places:
        for change in (0x01, 0x80):
            raw[place] ^= change
            file.write_bytes(raw)
            raw[place] ^= change
            opened = torch2grid.load(path)
            passed(opened["a"])  # from which the kind is known
            try:
                found = passed(opened["b"])
            except LoadError:
                continue
            assert place not in numbers
            assert (found == expected).all(), place


def test_a_second_end_is_refused_in_an_item_like_another(tmp_path: Path) -> None:
    path, begin, end = twins(tmp_path / "saved")
    file = path / "__0_0.distcp"
    raw = bytearray(file.read_bytes())
    at = begin + 2000  # among the numbers
    raw[at : at + 22] = b"PK\x05\x06" + bytes(16) + (end - at - 22).to_bytes(2, "little")
    file.write_bytes(raw)
    opened = torch2grid.load(path)
    passed(opened["a"])
    with pytest.raises(LoadError, match="two ends"):
        passed(opened["b"])


@pytest.mark.parametrize("form", ["nested", "flat", "under a name", "by number"])
def test_the_state_of_an_optimizer_is_drawn(form: str, tmp_path: Path) -> None:
    import torch.distributed.checkpoint as saving
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict

    net = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Linear(5, 3))
    optimizer = torch.optim.AdamW(
        [{"params": net[0].parameters(), "lr": 0.25}, {"params": net[1].parameters(), "lr": 0.125, "betas": (0.5, 0.75)}]
    )
    for _ in range(3):
        net(torch.ones(2, 6)).sum().backward()
        optimizer.step()
    flat = StateDictOptions(flatten_optimizer_state_dict=True)
    weights, moments = get_state_dict(net, optimizer, options=flat if form in ("flat", "under a name") else None)
    state = {
        "nested": {"model": weights, "optimizer": moments},
        "flat": {**weights, **moments},
        "under a name": {"model": weights, "optimizer": moments},
        "by number": {"model": net.state_dict(), "optimizer": optimizer.state_dict()},
    }[form]
    saving.save({**state, "step": 3}, checkpoint_id=tmp_path / "saved", no_dist=True)
    run = command(tmp_path / "saved", "--optimizer", "--output", tmp_path / "out", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "4 of 16 tensors shown; not shown: optimizer (12)" in run.stderr
    rows = {row.split()[0]: row.split() for row in run.stdout.splitlines() if row.startswith(("0.", "1."))}
    rates = {name: row[3] for name, row in rows.items()}
    assert rates == {"0.weight": "2.500e-01", "0.bias": "2.500e-01", "1.weight": "1.250e-01", "1.bias": "1.250e-01"}
    assert {row[2] for row in rows.values()} == {"3"}


def test_a_module_that_is_called_state_stays_the_model(tmp_path: Path) -> None:
    tensors = {"state.weight": torch.ones(3, 4), "state.weight.exp_avg": torch.ones(3, 4), "state.other": torch.ones(5)}
    path = dcp(tmp_path / "saved", tensors, objects={"param_groups.weight.lr": 0.5})
    run = command(path, "--stats", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "state.other" in run.stdout
    assert "state.weight" in run.stdout


def test_a_state_without_its_parameter_groups_is_said(tmp_path: Path) -> None:
    moments = {"w": {"exp_avg": torch.ones(3, 4), "exp_avg_sq": torch.ones(3, 4)}}
    torch.save({"model": {"w": torch.ones(3, 4)}, "optimizer": {"state": moments}}, tmp_path / "saved.pt")
    run = command("saved.pt", "--optimizer", cwd=tmp_path)
    assert run.returncode == 1
    assert "this has one whose parameter groups are not there; --part optimizer shows what is stored" in run.stderr


def test_bytes_of_blocks_that_are_taken_for_other_numbers(tmp_path: Path) -> None:
    from dataclasses import replace

    tensor = torch.arange(24, dtype=torch.float32).reshape(6, 4)
    found = torch2grid.load(dcp(tmp_path / "saved", {"w": tensor}, lambda shape: by_rows(shape, 3)))["w"]
    halves = replace(found, shape=(6, 8), dtype=np.dtype(np.uint16))
    assert (np.concatenate([part.copy() for part in halves.chunks(20)]) == tensor.numpy().view(np.uint16).reshape(-1)).all()
