"""Sheets of histograms: ends that are true, and what lies beyond them; one page into one file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.support.tools import torch2grid

from torch2grid_builtin._views.histogram import limits_text


@pytest.mark.parametrize(("low", "high"), [(0.9609375, 1.0390625), (-0.09, 0.11), (-1e-8, 1e-8), (999.5, 1000.5), (0.0, 1.0)])
def test_stated_limits_are_those_of_the_axis(low: float, high: float) -> None:
    for text, value in zip(limits_text(low, high), (low, high), strict=True):
        assert abs(float(text.replace("−", "-")) - value) <= 0.01 * (high - low)


def test_outliers_are_beyond_the_bars_and_drawn(tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = {f"layers.{each}.fc.weight": torch.randn(64, 64) * 0.02 for each in range(6)}
    torch.save(made, tmp_path / "whole.pth")
    made["layers.3.fc.weight"][5, 7] = 5.0
    torch.save(made, tmp_path / "planted.pth")
    edges = {}
    for name in ("whole", "planted"):
        words = ("--histogram", "--format", "json", "--format", "svg", "-q", "-o", name)
        assert torch2grid(f"{name}.pth", *words, cwd=tmp_path).returncode == 0
        page = json.loads((tmp_path / name / "histogram_overview.json").read_text())
        panels = {panel["title"]: panel for panel in page["panels"] if panel["kind"] == "histogram"}
        edges[name] = [panels["layers.0.fc.weight"]["edges"][place] for place in (0, -1)]
        beyond = {title: panel["above"] + panel["below"] for title, panel in panels.items()}
        if name == "planted":
            assert beyond["layers.3.fc.weight"] >= 1
            picture = (tmp_path / name / "histogram_overview.svg").read_text(encoding="utf-8")
            assert "weights beyond it" in picture
            assert "max 5," in picture  # at the head of the column: the largest weight, and not the last bar alone
        assert beyond["layers.0.fc.weight"] == 0
    low, high = (max(abs(end) for end in edges[name]) for name in ("planted", "whole"))
    assert low == pytest.approx(high, rel=0.3)  # one weight neither widens the axis nor narrows it


@pytest.mark.parametrize("view", ["--layers", "--histogram"])
def test_one_tensor_goes_into_one_file(tmp_path: Path, view: str) -> None:
    torch.save({"fc.weight": torch.randn(8, 8), "fc.bias": torch.randn(8)}, tmp_path / "m.pth")
    done = torch2grid("m.pth", view, "--only", "fc.weight", "-o", "fc.png", cwd=tmp_path)
    assert (done.returncode, done.stdout.split()) == (0, ["fc.png"]), done.stderr
    assert (tmp_path / "fc.png").read_bytes()[:4] == b"\x89PNG"
    two = torch2grid("m.pth", view, "-o", "both.png", cwd=tmp_path)
    assert two.returncode == 2
