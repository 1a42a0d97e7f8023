"""Limits of colours for each kind of tensor: those that a drawing of these tensors alone would have."""

from __future__ import annotations

import urllib.error
from typing import Any

import numpy as np
import pytest
from tests.raster.test_window import lazy
from tests.support.explore import running

from torch2grid_core import Checkpoint, Grid
from torch2grid_core.grids import color_scale


def made(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    found = {}
    for layer in range(3):
        found[f"layers.{layer}.a.weight"] = rng.standard_normal((80, 60)).astype(np.float32)
        found[f"layers.{layer}.b2.weight"] = (20 + 3 * rng.standard_normal((90, 60))).astype(np.float32)
    found["layers.1.a.weight"][3, 5] = np.nan
    return {name: lazy(name, array) for name, array in found.items()}


@pytest.mark.parametrize("kind", ["auto", "symmetric", "minmax", "asinh"])
@pytest.mark.parametrize("plane", ["mean", "max"])
def test_limits_are_those_of_the_tensors_of_a_kind(plane: str, kind: Any) -> None:
    tensors = made(1)
    with running([Checkpoint(tensors)], memory=1 << 18) as (client, session):
        client.enter().filled()
        model = client.json("/api/model")["map"]
        assert model["kinds"] == ["layers.*.a.weight", "layers.*.b*.weight"]
        names = [each[0] for each in model["tensors"]]
        assert [model["kinds"][of] for of in model["kind_of"]] == [
            "layers.*.a.weight" if ".a." in name else "layers.*.b*.weight" for name in names
        ]
        place = session.map
        assert place.base > 0
        for level in (place.base, len(place.cells) - 1):
            found = client.json(f"/api/kinds/0/{level}/{plane}/{kind}")
            cells = session.pictures[0].pyramid.level(level - place.base)
            for number, each in enumerate(found):
                members = [at for at, of in enumerate(model["kind_of"]) if of == number]
                own = np.isin(cells.owners, members) & (cells.counts > 0)
                values = cells.planes[plane][own].reshape(1, -1)
                scale = color_scale([Grid(values, np.ones(values.shape, np.int64), plane)], kind)
                assert (each["low"], each["high"]) == (scale.low, scale.high)
                assert sum(each["counts"]) == np.isfinite(values).sum()
        # A level that is read from the file: limits of a sample are near those of all, and of no other kind.
        for number, each in enumerate(client.json(f"/api/kinds/0/0/{plane}/{kind}")):
            chosen = {name: tensors[name] for name, of in zip(names, model["kind_of"], strict=True) if of == number}
            whole = np.concatenate([np.asarray(tensor.numpy()).reshape(1, -1) for tensor in chosen.values()], axis=1)
            scale = color_scale([Grid(whole, np.ones(whole.shape, np.int64), plane)], kind)
            assert each["high"] == pytest.approx(scale.high, rel=0.25)


def test_limits_of_a_kind_are_of_all_pictures_that_share_limits() -> None:
    with running([Checkpoint(made(1)), Checkpoint(made(2))]) as (client, session):
        client.enter().filled()
        level = session.map.base
        first, second = (client.json(f"/api/kinds/{number}/{level}/mean/minmax") for number in (0, 1))
        assert first == second
        counts = sum(sum(each["counts"]) for each in first)
        assert counts == sum(
            int(np.isfinite(p.pyramid.level(0).planes["mean"][p.pyramid.level(0).counts > 0]).sum()) for p in session.pictures
        )


@pytest.mark.parametrize("path", ["0/99/mean/auto", "9/0/mean/auto", "0/0/median/auto", "0/0/mean/rainbow", "0/0/mean"])
def test_what_is_not_there_is_refused(path: str) -> None:
    with running([Checkpoint(made(1))]) as (client, _), pytest.raises(urllib.error.HTTPError, match="404"):
        client.enter().get(f"/api/kinds/{path}")
