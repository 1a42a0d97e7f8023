"""``--adapter``: the table, the pages, and what it says of adapters that waste their rank, or need their base."""

from __future__ import annotations

import csv
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import torch2grid as t2g
from tests.support import adapters
from tests.support.adapters import PEFT, Written
from tests.support.tools import torch2grid
from torch2grid_core import NotDrawable, UsageError

SHAPES = {f"model.layers.{layer}.{kind}": (40, 24) for layer in range(2) for kind in ("q_proj", "v_proj")}


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def base_of(written: Written) -> dict[str, Any]:
    return {name.removeprefix("delta."): rng().normal(0, 0.1, each.shape).astype("f2") for name, each in written.meant.items()}


def table(folder: Path, model: Path, view: str) -> dict[str, dict[str, str]]:
    done = torch2grid(model, "--view", view, "--format", "csv", "-o", "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    with (folder / "out" / "adapter.csv").open(encoding="utf-8") as file:
        return {row["Weight"]: row for row in csv.DictReader(file)}


def test_figures_are_those_of_the_dense_change(tmp_path: Path) -> None:
    written = adapters.peft(rng(), SHAPES, 6, 9)
    base = {
        name.removeprefix("delta."): rng().normal(0, 0.1, each.shape).astype(np.float16) for name, each in written.meant.items()
    }
    save_file(base, tmp_path / "base.safetensors")
    model = written.write(tmp_path / "adapter")
    rows = table(tmp_path, model, "adapter:each=false,base=base.safetensors")
    assert set(rows) == set(base)
    for name, row in rows.items():
        values = np.linalg.svd(written.meant[f"delta.{name}"], compute_uv=False)
        norm = np.linalg.norm(values)
        wanted = {
            "Rank": 6,
            "Alpha": 9,
            "Scale": 1.5,
            "‖ΔW‖": norm,
            "σ₁": values[0],
            "σ₂": values[1],
            "Top%": 100 * values[0] ** 2 / norm**2,
            "Stable rank": norm**2 / values[0] ** 2,
            "‖W‖": np.linalg.norm(base[name].astype(np.float64)),
            "‖ΔW‖/‖W‖": norm / np.linalg.norm(base[name].astype(np.float64)),
        }
        assert {key: float(row[key]) for key in wanted} == pytest.approx(wanted, rel=1e-6)
        assert (row["Used"], row["What"]) == ("6 of 6", "")


def test_what_there_is_to_say(tmp_path: Path) -> None:
    written = adapters.peft(rng(), SHAPES, 6, 6)
    names = list(SHAPES)
    written.stored[f"{PEFT}{names[0]}.lora_B.weight"][:, 2:] = 0
    written.stored[f"{PEFT}{names[1]}.lora_B.weight"][:, 0] *= 100
    written.stored[f"{PEFT}{names[2]}.lora_B.weight"][:] = 0
    written.stored[f"{PEFT}{names[3]}.lora_A.weight"][0, 0] = np.nan
    rows = table(tmp_path, written.write(tmp_path / "adapter"), "adapter:each=false")
    said = [rows[f"{name}.weight"]["What"] for name in names]
    assert said[0] == "4 ranks not used"
    assert said[1].startswith("rank-one spike: σ₁ holds 9")
    assert said[2] == "no change: a factor is zero"
    assert said[3] == "1 NaN in its factors"
    assert rows[f"{names[0]}.weight"]["Used"] == "2 of 6"
    assert rows[f"{names[3]}.weight"]["NaN"] == "1"
    assert rows[f"{names[3]}.weight"]["‖ΔW‖"].lower() == "nan"


def test_pages_are_of_the_change(tmp_path: Path) -> None:
    written = adapters.kohya(rng(), {"lora_unet_a_to_q": (30, 20), "lora_unet_conv": (6, 5, 3, 3)}, 4, 2)
    pages = t2g.draw(written.write(tmp_path), ["adapter"])
    page = pages["delta.lora_unet_a_to_q_adapter"]
    grid, line = page.panels[0].grid, page.panels[1]
    np.testing.assert_allclose(grid.values, written.meant["delta.lora_unet_a_to_q"], atol=1e-6)
    values = np.linalg.svd(written.meant["delta.lora_unet_a_to_q"], compute_uv=False)[:4]
    np.testing.assert_allclose(line.y["σ"], values, rtol=1e-6)
    assert {each.name for each in pages} == {
        "delta.lora_unet_a_to_q_adapter",
        "delta.lora_unet_conv_adapter",
        "adapter",
        "adapter_overview",
    }


@pytest.mark.parametrize("count", [1, 3, 60])
def test_an_overview_of_any_number_of_pairs_is_drawn(count: int, tmp_path: Path) -> None:
    shapes = {f"layers.{place}.fc": (12, 9) for place in range(count)}
    adapters.peft(rng(), shapes, 3, 3).write(tmp_path / "adapter")
    done = torch2grid("adapter", "--view", "adapter:each=false", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "grids" / "adapter_overview.png").stat().st_size > 1000
    assert "Traceback" not in done.stderr


def test_dora_without_its_base_says_so_and_with_it_is_shown(tmp_path: Path) -> None:
    base = {name: rng().normal(0, 0.1, shape).astype(np.float32) for name, shape in SHAPES.items()}
    written, _ = adapters.dora(rng(), base)
    model = written.write(tmp_path / "adapter")
    save_file({f"{name}.weight": each for name, each in base.items()}, tmp_path / "base.safetensors")
    rows = table(tmp_path, model, "adapter:each=false")
    assert {row["What"] for row in rows.values()} == {"of scale·B·A alone: ΔW needs the base"}
    done = torch2grid(model, "--stats", cwd=tmp_path)
    assert "needs the base" in done.stderr
    assert "delta." not in done.stdout
    rows = table(tmp_path, model, "adapter:each=false,base=base.safetensors")
    for name, row in rows.items():
        assert float(row["‖ΔW‖"]) == pytest.approx(np.linalg.norm(written.meant[f"delta.{name}"]), rel=1e-5)
        assert row["What"] == "σ of scale·B·A"
    page = t2g.draw(model, [{"adapter": {"base": tmp_path / "base.safetensors"}}])["delta.model.layers.0.q_proj.weight_adapter"]
    meant = written.meant["delta.model.layers.0.q_proj.weight"]
    np.testing.assert_allclose(page.panels[0].grid.values, meant, atol=1e-6)


def test_workers_draw_the_same(tmp_path: Path) -> None:
    written = adapters.peft(rng(), SHAPES, 6, 9)
    base = {
        name.removeprefix("delta."): rng().normal(0, 0.1, each.shape).astype(np.float16) for name, each in written.meant.items()
    }
    save_file(base, tmp_path / "base.safetensors")
    written.write(tmp_path / "adapter")
    found = []
    for jobs in (1, 2):
        words = ["adapter", "--view", "adapter:base=base.safetensors", "--jobs", jobs, "--format", "json", "-o", f"out{jobs}"]
        done = torch2grid(*words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        pages = sorted((tmp_path / f"out{jobs}").rglob("*.json"))
        found.append({page.name: page.read_text() for page in pages if page.name != "index.json"})
    assert found[0] == found[1]
    assert len(found[0]) == 6


def test_only_some_of_the_pairs(tmp_path: Path) -> None:
    adapters.peft(rng(), SHAPES).write(tmp_path / "adapter")
    pages = t2g.draw(tmp_path / "adapter", ["adapter:each=false"], only="*q_proj*")
    assert [row[0] for row in pages["adapter"].panels[0].rows] == [f"model.layers.{layer}.q_proj.weight" for layer in range(2)]


def test_in_a_training_checkpoint_names_are_those_of_the_model(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    written = adapters.peft(rng(), SHAPES, name="default")
    state = {name: torch.from_numpy(each) for name, each in written.stored.items()}
    torch.save({"state_dict": state, "epoch": 3, "global_step": 7}, tmp_path / "last.ckpt")
    done = torch2grid("last.ckpt", "--adapter", "--stats", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "\nmodel.layers.0.q_proj.weight " in done.stdout
    assert "\ndelta.model.layers.0.q_proj.weight " in done.stdout


def test_what_is_no_adapter_is_one_line(tmp_path: Path) -> None:
    save_file({"fc.weight": np.ones((3, 4), np.float32)}, tmp_path / "model.safetensors")
    done = torch2grid("model.safetensors", "--adapter", cwd=tmp_path)
    assert done.returncode != 0
    assert "no pair of an adapter" in done.stderr
    assert "Traceback" not in done.stderr
    adapter = adapters.peft(rng(), SHAPES).write(tmp_path / "adapter")
    with pytest.raises(UsageError, match="has no weight model"):
        list(t2g.draw(adapter, [{"adapter": {"base": tmp_path / "model.safetensors"}}]))
    with pytest.raises(NotDrawable, match="--slice takes a part"):
        list(t2g.draw(adapter, ["adapter"], slice="0:2"))
    done = torch2grid(adapter, "--view", "adapter:base=missing.safetensors", cwd=tmp_path)
    assert done.returncode != 0
    assert "missing.safetensors" in done.stderr
    assert "Traceback" not in done.stderr
    done = torch2grid(adapter, "--view", "adapter:spike=7", cwd=tmp_path)
    assert "spike must be above 0" in done.stderr


def sparse(path: Path, names: list[str], side: int) -> None:
    """A base of zeros in float16, which takes no room."""
    size, header = side * side * 2, {}
    for place, name in enumerate(names):
        span = [place * size, (place + 1) * size]
        header[f"{name}.weight"] = {"dtype": "F16", "shape": [side, side], "data_offsets": span}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + size * len(names))


PEAK = """
import sys
from torch2grid.__main__ import main
sys.argv = ["torch2grid", *sys.argv[1:]]
try:
    main()
finally:
    with open("/proc/self/status") as status:  # not getrusage, which begins with what the parent had
        print("peak", next(line.split()[1] for line in status if line.startswith("VmHWM")), file=sys.stderr)
"""


def peak(folder: Path, count: int, side: int) -> int:
    folder.mkdir()
    names = [f"model.layers.{layer}.fc" for layer in range(count)]
    sparse(folder / "base.safetensors", names, side)
    random, stored = rng(), dict[str, Any]()
    for name in names:
        stored[f"{PEFT}{name}.lora_A.weight"] = random.normal(0, 1, (16, side)).astype(np.float16)
        stored[f"{PEFT}{name}.lora_B.weight"] = random.normal(0, 1, (side, 16)).astype(np.float16)
    Written(stored, {}, {"peft_type": "LORA", "r": 16, "lora_alpha": 32}).write(folder / "adapter")
    words = ["adapter", "--view", "adapter:base=base.safetensors,each=false", "--jobs", "1"]
    done = subprocess.run([sys.executable, "-c", PEAK, *words], capture_output=True, text=True, cwd=folder)
    assert "model.layers.0.fc.weight" in done.stdout, done.stderr
    return int(done.stderr.rsplit("peak ", 1)[1].split()[0]) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="counts the memory as Linux does")
def test_memory_is_that_of_bands(tmp_path: Path) -> None:
    """16 weights of 4096 × 4096, 537 MB of base and 1.1 GB of changes: tens of megabytes more than a small one takes."""
    assert peak(tmp_path / "large", 16, 4096) - peak(tmp_path / "small", 16, 64) < 60 << 20


def test_dora_in_a_whole_model_has_its_base_beside_it(tmp_path: Path) -> None:
    random = rng()
    base = {name: random.normal(0, 0.1, shape).astype(np.float32) for name, shape in SHAPES.items()}
    written, _ = adapters.dora(random, base, 3, 3)
    whole = {name.replace(".weight", ".default.weight"): each for name, each in written.stored.items() if "lora_m" not in name}
    for name, weight in base.items():
        whole[f"{PEFT}{name}.base_layer.weight"] = weight
        whole[f"{PEFT}{name}.lora_magnitude_vector.default.weight"] = written.stored[f"{PEFT}{name}.lora_magnitude_vector"]
    save_file(whole, tmp_path / "whole.safetensors")
    rows = table(tmp_path, tmp_path / "whole.safetensors", f"adapter:base={tmp_path / 'whole.safetensors'}")
    assert set(rows) == {f"{name}.weight" for name in SHAPES}
    for name, row in rows.items():
        change = written.meant[f"delta.{name}"]
        assert float(row["‖ΔW‖"]) == pytest.approx(np.linalg.norm(change), rel=1e-3)
        assert float(row["‖W‖"]) == pytest.approx(np.linalg.norm(base[name.removesuffix(".weight")]), rel=1e-3)
