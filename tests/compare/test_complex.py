"""Complex weights: no part of a change is dropped."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from tests.compare.test_two import differences, saved
from tests.support.compare.opened import comparison_of
from tests.support.corpus import cases
from tests.support.tools import torch2grid


@pytest.mark.parametrize("shape", [(12, 20), (150, 130), (6, 4, 3)])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_figures_are_numpys(tmp_path, shape, dtype):
    generator = torch.Generator().manual_seed(2)
    a, b = (torch.randn(*shape, dtype=dtype, generator=generator) for _ in range(2))
    b = a + 0.1 * b
    comparison = comparison_of(*saved(tmp_path, {"w": a}, {"w": b}))
    delta = comparison.deltas["w"]
    x, y = (each.to(torch.complex128).numpy() for each in (a, b))
    d = (b - a).to(torch.complex128).numpy()
    assert delta.norm == pytest.approx(np.linalg.norm(d), rel=1e-6)
    assert delta.absmax == pytest.approx(np.abs(d).max(), rel=1e-6)
    assert delta.cosine == pytest.approx(np.vdot(x, y).real / np.linalg.norm(x) / np.linalg.norm(y), abs=1e-6)
    assert delta.largest[1:] == (x.flat[delta.largest[0]], y.flat[delta.largest[0]])
    values = np.linalg.svd(d.reshape(shape[0], -1), compute_uv=False)
    assert delta.rank.stable == pytest.approx((values**2).sum() / values[0] ** 2, rel=0.01)


def test_a_low_rank_update(tmp_path):
    generator = torch.Generator().manual_seed(3)
    a, u, v = (torch.randn(*shape, dtype=torch.complex64, generator=generator) for shape in ((40, 48), (40, 3), (3, 48)))
    ((_, _, text),) = differences(tmp_path, {"w": a}, {"w": a + u @ v})
    assert text.startswith("low rank: 3 directions hold 99.9 % of Δ")


def test_a_turned_weight_is_a_change_with_both_parts(tmp_path):
    before = torch.complex(torch.ones(4, 4), torch.ones(4, 4))
    after = before.clone()
    after[1, 2] = -before[1, 2]  # of the same size
    saved(tmp_path, {"w": before}, {"w": after})
    done = torch2grid("compare", "a.pth", "b.pth", "--stats", "-q", cwd=tmp_path)
    assert done.returncode == 1
    assert "one weight: [1, 2] 1+1j → -1-1j" in done.stdout
    assert "2.828e+00" in done.stdout
    report = json.loads(torch2grid("compare", "a.pth", "b.pth", "--format", "json", "-q", cwd=tmp_path).stdout)
    assert report["tensors"][0]["largest"] == {"index": [1, 2], "a": [1.0, 1.0], "b": [-1.0, -1.0]}


def test_rounding_to_a_narrower_complex_dtype(tmp_path):
    wide = torch.randn(8, 8, dtype=torch.complex128)
    found = differences(tmp_path, {"w": wide}, {"w": wide.to(torch.complex64)})
    assert [text for _, _, text in found] == ["complex128 → complex64", "B is A rounded to complex64"]


def test_inf_of_equal_size_is_not_equal(tmp_path):
    before = torch.tensor([complex(float("inf"), 0), 1])
    after = torch.tensor([complex(0, float("inf")), 1])
    ((_, _, text),) = differences(tmp_path, {"w": before}, {"w": after})
    assert text == "one weight: [0] Inf+0j → 0+Infj"


def test_the_case_of_a_fourier_operator(tmp_path):
    a, b = (cases(f"found/complex/{name}.pt") for name in ("before", "after"))
    comparison = comparison_of(a, b)
    states = [torch.load(each, weights_only=True) for each in (a, b)]
    for name in ("1.weights1", "3.weights1"):
        d = states[1][name] - states[0][name]
        assert comparison.deltas[name].norm == pytest.approx(d.norm().item(), rel=1e-6)
        assert comparison.deltas[name].norm > 1.01 * d.real.norm().item()
