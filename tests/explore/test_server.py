"""What the server answers: tiles are windows of the whole grid, values are exact, and what changes is said."""

from __future__ import annotations

import gc
import http.client
import socket
import time
import urllib.error
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from safetensors.numpy import save_file
from tests.raster.test_window import lazy
from tests.support.explore import Client, installed, running, served
from tests.support.tools import torch2grid

from torch2grid_core import Checkpoint
from torch2grid_core.grids import raster_window

Array = np.ndarray[Any, Any]
PLANES = ("mean", "rms", "min", "max")
DTYPES = ["f2", "f4", "f8", "i1", "i4", "i8", "u1", "bfloat16", "float8_e4m3fn", "float8_e5m2"]


def tile_of(client: Client, place: Any, level: int, row: int, column: int) -> Any:
    rectangle = tiled(place, level, row, column)
    data = client.get(f"/api/cells/0/{level}/{'/'.join(map(str, rectangle))}/{','.join(PLANES)}")
    height, width = rectangle[2:]
    size = 4 * height * width
    found = {
        name: np.frombuffer(data, "<f4", height * width, number * size).reshape(height, width)
        for number, name in enumerate(PLANES)
    }
    some = np.frombuffer(data, np.uint8, height * width, len(PLANES) * size).reshape(height, width)
    assert len(data) == len(PLANES) * size + height * width
    return found, some.astype(bool)


def tiled(place: Any, level: int, row: int, column: int) -> tuple[int, int, int, int]:
    height, width = place.shape(level)
    return 256 * row, 256 * column, min(256, height - 256 * row), min(256, width - 256 * column)


@settings(max_examples=settings().max_examples // 5, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.sampled_from(DTYPES), min_size=2, max_size=4),
    st.sampled_from(["atlas", "layer_separated"]),
    st.integers(0, 2**31),
)
def test_a_tile_is_the_same_window_of_the_whole_grid(dtypes: list[str], transformer: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    made = {}
    for number, dtype in enumerate(dtypes):
        kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
        shape = [(300, 200), (50, 700), (4, 3, 3, 3), (90,)][number]
        made[f"layers.{number}.weight"] = (rng.standard_normal(shape) * 20).astype(kind)
    made["layers.0.weight"].reshape(-1)[7] = 0
    tensors = {name: lazy(name, array) for name, array in made.items()}
    with running([Checkpoint(tensors)], transformer, 1 << 17) as (client, session):
        place = session.map
        client.enter().filled()
        for level, cell in enumerate(place.cells):
            layout = place.at(level)
            height, width = place.shape(level)
            for row, column in ((0, 0), ((height - 1) // 256, (width - 1) // 256)):
                found, some = tile_of(client, place, level, row, column)
                if level > place.base:
                    continue  # tests/explore/test_pyramid.py
                assert layout.cell == tuple(cell)
                expected = raster_window(layout, tensors, tiled(place, level, row, column), PLANES)
                assert np.array_equal(some, expected.counts > 0)
                for name in PLANES:
                    assert np.array_equal(found[name][some], expected.planes[name][some], equal_nan=True), (level, name)


def test_tiles_that_are_asked_for_together_are_those_that_come_alone() -> None:
    made = np.random.default_rng(0).standard_normal((1500, 900)).astype(np.float32)
    with running([Checkpoint([lazy("layer.weight", made)])], memory=1 << 18) as (client, session):
        client.enter().filled()
        levels = [number for number in range(len(session.map.cells)) if number < session.map.base]
        asked = [
            f"/api/cells/0/{level}/{'/'.join(map(str, tiled(session.map, level, row, column)))}/mean"
            for level in levels
            for row in range(-(-session.map.shape(level)[0] // 256))
            for column in range(-(-session.map.shape(level)[1] // 256))
        ]
        assert len(levels) > 1
        with ThreadPoolExecutor(6) as several:
            together = list(several.map(client.get, asked))
        assert [client.get(each) for each in asked] == together


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_weight_is_told_exactly(dtype: str) -> None:
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    rng = np.random.default_rng(4)
    array = (rng.standard_normal((40, 30)) * 100).astype(kind)
    if kind == np.dtype("i8"):
        array[0, 1] = 2**53 + 1
    if kind == np.dtype("f8"):
        array[0, 1] = 0.1 + 0.2
    with running([Checkpoint({"w": lazy("w", array)})]) as (client, session):
        client.enter().filled()
        for index in ((0, 1), (17, 29), (39, 0)):
            row, column = session.map.at(0).cell_of("w", index[0] * 30 + index[1])
            found = client.json(f"/api/cell/0/0/{row}/{column}")
            (weight,) = found["weights"]
            assert weight["first"] == weight["last"] == list(index)
            back = int(weight["value"]) if kind.kind in "iu" else float(weight["value"])
            assert np.array(back).astype(kind).tobytes() == array[index].tobytes()


def test_figures_name_what_is_lost_and_where(tmp_path: Path) -> None:
    array = np.random.default_rng(0).standard_normal((64, 48)).astype(np.float32)
    array[3, 5], array[9, 9], array[20, 40] = np.nan, np.inf, 77
    with running([Checkpoint({"w": lazy("w", array)})]) as (client, _):
        found = client.enter().json("/api/tensor/0/0")
    assert found["counts"]["nan"] == 1
    assert found["counts"]["posinf"] == 1
    assert [each["index"] for each in found["not_finite"]] == [[3, 5], [9, 9]]
    assert found["largest"][0] == {"index": [20, 40], "flat": 20 * 48 + 40, "value": "77"}
    assert sum(found["bars"]) == array.size - 2
    assert len(found["rows"]["values"]) == 64
    assert found["rows"]["values"][3] is None  # a NaN stays one


def test_limits_are_those_of_a_drawing_and_shared_where_they_should_be() -> None:
    from torch2grid_core import Grid
    from torch2grid_core.grids import color_scale

    rng = np.random.default_rng(2)
    one, two = (rng.standard_normal((40, 40)).astype(np.float32) * size for size in (1, 5))
    with running([Checkpoint({"w": lazy("w", one)}), Checkpoint({"w": lazy("w", two)})]) as (client, session):
        client.enter().filled()
        first, second = (client.json(f"/api/limits/{number}/0/mean/auto") for number in (0, 1))
        grids = [
            Grid(found.planes["mean"], found.counts.astype(np.int64))
            for found in (each.pyramid.level(0) for each in session.pictures)
        ]
        scale = color_scale(grids)
    assert first == second
    assert (first["low"], first["high"]) == (scale.low, scale.high)
    assert sum(first["counts"]) == 2 * 1600


def weights(seed: int = 0, size: int = 30) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {f"layers.{number}.weight": rng.standard_normal((size, 20)).astype(np.float32) for number in range(3)}


def test_two_models_and_their_difference(tmp_path: Path) -> None:
    first, second = weights(), weights(1)
    save_file(first, tmp_path / "a.safetensors")
    save_file({**second, "more": np.ones(3, np.float32)}, tmp_path / "b.safetensors")
    with served(tmp_path, "a.safetensors", "b.safetensors") as client:
        model = client.enter().json("/api/model")
        assert [each["label"][:1] for each in model["pictures"]] == ["A", "B", "Δ"]
        assert any("not shown of each: 0, 1" in note for note in model["notes"])
        client.filled()
        found = client.json("/api/tensor/2/0")
        truth = second["layers.0.weight"] - first["layers.0.weight"]
        assert float(found["figures"]["max"]) == pytest.approx(float(truth.max()), rel=1e-5)


def test_a_folder_is_a_series_and_new_checkpoints_appear(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for step in (20, 100):
        save_file(weights(step), tmp_path / "run" / f"step_{step}.safetensors", metadata={"step": str(step)})
    with served(tmp_path, "run") as client:
        model = client.enter().json("/api/model")
        assert [each["label"] for each in model["pictures"]] == ["step 20", "step 100"]
        assert all(each["frame"] for each in model["pictures"])
        client.filled()
        (tmp_path / "run" / "notes.txt").write_text("no checkpoint")
        save_file(weights(7), tmp_path / "run" / "step_300.safetensors")
        until = time.monotonic() + 30
        while len(pictures := client.json("/api/model")["pictures"]) < 3:
            assert time.monotonic() < until
            time.sleep(0.3)
        assert pictures[2]["label"] == "step_300.safetensors"
        found = client.json("/api/tensor/2/0")["figures"]
        assert float(found["max"]) == pytest.approx(float(weights(7)["layers.0.weight"].max()), rel=1e-5)


def test_a_file_that_changes_is_said_and_breaks_nothing(tmp_path: Path) -> None:
    save_file(weights(), tmp_path / "m.safetensors")
    with served(tmp_path, "m.safetensors", "--memory", "1") as client:
        client.enter().filled()
        save_file(weights(1, 31), tmp_path / "m.safetensors")
        until = time.monotonic() + 20
        while True:
            found = client._opener.open(f"{client.address}/api/events", timeout=30)
            with found as answer:
                lines = [answer.readline() for _ in range(4)]
            if any(b"has changed since it was opened" in line for line in lines):
                break
            assert time.monotonic() < until, lines
            time.sleep(0.3)
        assert client.json("/api/model")["map"]["tensors"]
        assert client.get("/")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("missing.pth",), "missing.pth"),
        (("a.safetensors", "--plugin", "flaten"), "did you mean"),
        (("a.safetensors", "--port", "70000"), "--port"),
        (("a.safetensors", "other.safetensors"), "no tensor of the same name and shape in common"),
        ((), "MODEL"),
    ],
)
def test_bad_input_gets_one_line(tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    save_file(weights(), tmp_path / "a.safetensors")
    save_file({"x": np.ones((2, 2), np.float32)}, tmp_path / "other.safetensors")
    run = torch2grid("explore", *words, "--no-browser", cwd=tmp_path, path=installed(tmp_path), timeout=60)
    assert run.returncode in (1, 2)
    assert told in run.stderr
    assert "Traceback" not in run.stderr


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    save_file(weights(), tmp_path / "a.safetensors")
    with served(tmp_path, "a.safetensors") as client:
        port = client.host.partition(":")[2]
        run = torch2grid(
            "explore", "a.safetensors", "--no-browser", "--port", port, cwd=tmp_path, path=installed(tmp_path), timeout=60
        )
    assert run.returncode == 2
    assert "cannot be served: Address already in use" in run.stderr


def test_a_stranger_to_the_session_gets_a_refusal(tmp_path: Path) -> None:
    save_file(weights(), tmp_path / "a.safetensors")
    with served(tmp_path, "a.safetensors") as client, pytest.raises(urllib.error.HTTPError, match="403"):
        client.get("/api/model")


def test_the_end_of_an_answer_does_not_wait_for_the_browser() -> None:
    """Nagle's algorithm holds it back for 40 ms on a connection that stays open, as those of browsers do."""
    with running([Checkpoint({"w": lazy("w", np.ones((4, 4), np.float32))})]) as (client, _):
        from torch2grid_explore.server import _Limited

        kept = http.client.HTTPConnection(client.host, timeout=20)
        kept.request("GET", "/")
        assert kept.getresponse().read()
        protocols = {id(other): other for each in gc.get_objects() if isinstance(each, _Limited) for other in each.connections}
        ours = [each.transport.get_extra_info("socket") for each in protocols.values()]
        ours = [each for each in ours if each.fileno() >= 0 and each.getpeername() == kept.sock.getsockname()]
        assert [each.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for each in ours] == [1]
        kept.close()
