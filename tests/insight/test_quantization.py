"""What quantisation would cost: what the libraries' own functions cost, whatever the chunks, and what is said of it."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, strategies as st
from safetensors.numpy import save_file
from tests.support.insight.quantization_weights import WEIGHTS
from tests.support.renderers.pixels import pixels
from tests.support.tools import torch2grid
from tests.support.views.drawing import checkpoint_of, draw

import torch2grid as t2g
from torch2grid_builtin._quantization.errors import Quantization
from torch2grid_builtin._quantization.schemes import BFLOAT16, E2M1, E4M3, E5M2, FLOAT16, NF4, SCHEMES, USUAL
from torch2grid_builtin._views.quantization import OF_SCHEMES, OF_TYPES, QuantizationView
from torch2grid_core import NotDrawable, UsageError, measure
from torch2grid_core.measures import Chunk
from torch2grid_core.pages import Heatmap, Table

REFERENCES = json.loads(
    (Path(__file__).parents[1] / "support/insight/quantization_references.json").read_text(encoding="utf-8")
)
ALL = tuple(SCHEMES)


def errors_of(weights, schemes=ALL, picture=""):
    checkpoint = checkpoint_of({"w": weights})
    return dict(measure(checkpoint, {"q": Quantization(schemes, picture)}))["w"]["q"]


def lines(table):
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


# --- the libraries' own functions


@pytest.mark.parametrize("function", REFERENCES)
def test_an_error_is_what_the_library_makes(function: str) -> None:
    scheme = REFERENCES[function]["scheme"]
    for name, (relative, row) in REFERENCES[function]["weights"].items():
        found = errors_of(WEIGHTS[name](), (scheme,)).schemes[scheme]
        # torchao multiplies by reciprocals: scales of blocks that lie in the middle of two numbers go to the other one
        near = 1e-3 if (function, name) == ("torchao nvfp4", "ties") else 3e-6
        assert found.relative == pytest.approx(relative, rel=near), name
        assert found.row.relative == pytest.approx(row, rel=3e-6), name


def test_every_scheme_has_a_reference() -> None:
    assert {each["scheme"] for each in REFERENCES.values()} == set(SCHEMES)


# --- the definitions, one weight at a time

DTYPES = {
    "e4m3": (E4M3, ml_dtypes.float8_e4m3fn),
    "e5m2": (E5M2, ml_dtypes.float8_e5m2),
    "e2m1": (E2M1, ml_dtypes.float4_e2m1fn),
    "float16": (FLOAT16, np.float16),
    "bfloat16": (BFLOAT16, ml_dtypes.bfloat16),
}


@pytest.mark.parametrize("name", DTYPES)
def test_a_minifloat_rounds_as_its_dtype(name: str) -> None:
    kind, dtype = DTYPES[name]
    rng = np.random.default_rng(0)
    around = (rng.standard_normal(40_000) * 10.0 ** rng.uniform(-10, 5, 40_000)).astype(np.float32)
    halves = (rng.integers(-4096, 4096, 40_000) / 2.0 ** rng.integers(0, 24, 40_000)).astype(np.float32)
    x = np.clip(np.concatenate([around, halves]), -kind.largest, kind.largest)
    assert np.array_equal(kind.round(x, np.empty_like(x)), x.astype(dtype).astype(np.float32))
    with np.errstate(over="ignore"):
        edge = np.float32(kind.becomes_infinite)
        if name in ("float16", "bfloat16"):
            assert np.isinf(np.array(edge).astype(dtype).astype(np.float32))
            assert np.isfinite(np.array(np.nextafter(edge, np.float32(0))).astype(dtype).astype(np.float32))
    zero = np.float32(kind.becomes_zero)
    assert not np.array(zero).astype(dtype).astype(np.float32)
    assert np.array(np.nextafter(zero, np.float32(1))).astype(dtype).astype(np.float32)


def quantised(scheme: str, weights):
    """The formula in plain numpy, float64, block by block."""
    rows, columns = weights.shape
    block = SCHEMES[scheme].block
    found = np.empty_like(weights, np.float64)
    top = np.abs(weights).max()
    if scheme == "nf4":
        flat, out = weights.reshape(-1).astype(np.float64), found.reshape(-1)
        for start in range(0, len(flat), 64):
            part = flat[start : start + 64]
            scale = np.abs(part).max() or 1.0
            nearest = np.abs(part[:, None] / scale - np.array(NF4)).argmin(1)
            out[start : start + 64] = np.array(NF4)[nearest] * scale
        return found
    for row in range(rows):
        width = block if block > 0 else columns
        for start in range(0, columns, width):
            part = weights[row, start : start + width].astype(np.float64)
            found[row, start : start + width] = _part(scheme, part, top if block == -1 else np.abs(part).max(), top)
    return found


def _part(scheme, part, absmax, top):
    if not absmax:
        return part
    if scheme == "int8":
        return np.rint(part / (absmax / 127)) * (absmax / 127)
    if scheme.endswith("asymmetric"):
        low, high = min(part.min(), 0), max(part.max(), 0)
        scale = (high - low) / 15
        zero = np.rint(np.clip(-8 - low / scale, -8, 7))
        return (np.clip(np.rint(part / scale + zero), -8, 7) - zero) * scale
    if scheme.startswith("int4"):
        return np.clip(np.rint(part / (absmax / 7.5)), -8, 7) * (absmax / 7.5)
    if scheme == "mxfp4":
        scale = 2.0 ** (math.floor(math.log2(absmax)) - 2)
    elif scheme == "nvfp4":
        scale = float(np.float32(min(absmax / 6 * 2688 / top, 448)).astype(ml_dtypes.float8_e4m3fn) or 0.125) * top / 2688
    else:
        scale = absmax / (448 if "e4m3" in scheme else 57344)
    dtype = (
        ml_dtypes.float4_e2m1fn if "p4" in scheme else ml_dtypes.float8_e4m3fn if "e4m3" in scheme else ml_dtypes.float8_e5m2
    )
    most = 6 if "p4" in scheme else 448 if "e4m3" in scheme else 57344
    return np.clip(part / scale, -most, most).astype(np.float32).astype(dtype).astype(np.float64) * scale


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("shape", [(24, 256), (7, 100), (40, 27), (3, 16), (2, 131)])
def test_an_error_is_that_of_the_formula_with_its_worst_row_and_block(scheme: str, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(sum(shape))
    weights = (rng.standard_normal(shape) * np.exp(rng.standard_normal((shape[0], 1)))).astype(np.float32)
    lost = (quantised(scheme, weights) - weights) ** 2
    sizes = weights.astype(np.float64) ** 2
    found = errors_of(weights, (scheme,)).schemes[scheme]
    assert found.relative == pytest.approx(math.sqrt(lost.sum() / sizes.sum()), rel=1e-5)
    rows = np.sqrt(lost.sum(1) / sizes.sum(1))
    assert found.row.relative == pytest.approx(rows.max(), rel=1e-5)
    assert found.row.index == (int(rows.argmax()),)
    block = SCHEMES[scheme].block
    if block <= 0:
        assert found.block is None
        return
    flat = scheme == "nf4"
    starts = [
        (start // shape[1], start % shape[1]) if flat else (row, start)
        for row in range(1 if flat else shape[0])
        for start in range(0, weights.size if flat else shape[1], block)
    ]

    def of_block(start):
        row, column = start
        begin = row * shape[1] + column
        end = begin + block if flat else row * shape[1] + min(column + block, shape[1])
        return math.sqrt(lost.reshape(-1)[begin:end].sum() / sizes.reshape(-1)[begin:end].sum())

    worst = max(map(of_block, starts))
    assert found.block.relative == pytest.approx(worst, rel=1e-5)
    assert of_block(found.block.index) == pytest.approx(worst, rel=1e-5)


# --- chunks, pieces and workers


@given(
    shape=st.sampled_from([(5, 27), (37, 100), (130, 64), (9, 256), (3, 1000), (66, 16), (200, 3)]),
    cuts=st.lists(st.floats(0, 1), max_size=6),
    pieces=st.lists(st.floats(0, 1), max_size=3),
    seed=st.integers(0, 5),
)
def test_no_digit_depends_on_chunks_and_pieces(shape, cuts, pieces, seed) -> None:
    weights = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    checkpoint = checkpoint_of({"w": weights})
    need, flat = Quantization(ALL, "int4_32"), weights.reshape(-1)
    whole = need.collector(dict(checkpoint))
    whole.update(Chunk("w", 0, flat))
    bounds = sorted({0, flat.size, *(int(flat.size * cut) for cut in cuts)})
    edges = sorted({0, flat.size, *(int(flat.size * cut) for cut in pieces)})
    parts = []
    for begin, end in pairwise(edges):
        part = need.collector(dict(checkpoint))
        inside = sorted({begin, end, *(bound for bound in bounds if begin < bound < end)})
        for start, stop in pairwise(inside):
            part.update(Chunk("w", start, flat[start:stop]))
        parts.append(part)
    merged = parts[0]
    for part in parts[1:]:
        merged.merge(part)
    one, other = whole.result(), merged.result()
    assert (one.schemes, one.narrower, one.norm) == (other.schemes, other.narrower, other.norm)
    assert np.allclose(one.picture.values, other.picture.values, rtol=1e-12, equal_nan=True)


def test_very_many_rows_are_summed_up_in_bands() -> None:
    weights = np.random.default_rng(1).standard_normal((300_000, 2)).astype(np.float32)
    weights[123_457] = [1.0, 0.004]
    found = errors_of(weights, ("int8", "nf4"))
    lost = (quantised("nf4", weights) - weights).astype(np.float64)
    assert found.schemes["nf4"].relative == pytest.approx(
        np.linalg.norm(lost) / np.linalg.norm(weights.astype(float)), rel=1e-5
    )
    scale = np.abs(weights).max(1, keepdims=True) / 127
    rows = np.linalg.norm(np.rint(weights / scale) * scale - weights, axis=1) / np.linalg.norm(weights, axis=1)
    assert found.schemes["int8"].row.relative == pytest.approx(rows.max(), rel=1e-4)
    assert rows[found.schemes["int8"].row.index[0]] == pytest.approx(rows.max(), rel=1e-4)


# --- what is not finite, zero, tiny or large


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_inf_are_never_averaged_away(bad: float) -> None:
    arrays = {f"layers.{i}.fc.weight": np.random.default_rng(i).standard_normal((32, 64)).astype(np.float32) for i in range(5)}
    arrays["layers.2.fc.weight"][3, 5] = bad
    pages = draw(QuantizationView(detail=True), arrays)
    schemes, tensors, types, each = pages["quantization"].panels
    assert "1 tensor holds NaN or Inf" in schemes.title
    row = lines(tensors)[2]
    assert row["What"] == ("1 NaN" if math.isnan(bad) else "1 Inf")
    assert all(row[SCHEMES[name].label] is None for name in USUAL)
    assert all(line["SNR"] is not None for line in lines(schemes))
    assert all(line["‖Δ‖/‖W‖"] is None for line in lines(each) if line["Tensor"] == "layers.2.fc.weight")
    assert lines(types)[2]["f16 ‖Δ‖/‖W‖"] is None
    heat = pages["quantization_overview"].panels[0]
    assert np.isnan(heat.grid.values[2]).all()
    assert not np.isnan(np.delete(heat.grid.values, 2, 0)).any()


def test_zeros_cost_nothing_and_say_so() -> None:
    (_, tensors, *_) = draw(QuantizationView(), {"a": np.zeros((8, 32), np.float32)})["quantization"].panels
    assert lines(tensors)[0]["What"] == "all zero"
    found = errors_of(np.zeros((8, 40), np.float32))
    assert all(each.relative == 0 and each.row is None and each.block is None for each in found.schemes.values())


@pytest.mark.parametrize("size", [1e-30, 1e-12, 1e12, 1e30])
def test_the_size_of_all_weights_changes_no_integer_scheme(size: float) -> None:
    weights = np.random.default_rng(0).standard_normal((16, 128)).astype(np.float32)
    schemes = ("int8", "int4_32", "int4_64_asymmetric", "nf4", "fp8_e4m3", "nvfp4")
    one, other = errors_of(weights, schemes), errors_of((weights * size).astype(np.float32), schemes)
    for name in schemes:
        assert other.schemes[name].relative == pytest.approx(one.schemes[name].relative, rel=1e-2 if name == "nvfp4" else 1e-4)


def test_what_narrower_types_lose_is_counted() -> None:
    weights = np.random.default_rng(0).standard_normal((32, 64)).astype(np.float32)
    weights[0, :5] = [65519, 65520, -7e4, 1e20, 3.4e38]
    weights[1, :4] = [2.0**-25, -(2.0**-25) * 1.001, 1e-30, 1e-45]
    found = errors_of(weights, ("int8",)).narrower
    with np.errstate(over="ignore"):
        halves = {"float16": weights.astype(np.float16), "bfloat16": weights.astype(ml_dtypes.bfloat16)}
    for name, half in halves.items():
        back = half.astype(np.float32)
        assert found[name].over == np.isinf(back).sum()
        assert found[name].zeroed == ((back == 0) & (weights != 0)).sum()
    assert found["float16"].over == 4
    assert found["float16"].zeroed == 3
    plain = np.random.default_rng(0).standard_normal((32, 64)).astype(np.float32)
    for name, dtype in (("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16)):
        lost = plain.astype(dtype).astype(np.float64) - plain
        wanted = np.linalg.norm(lost) / np.linalg.norm(plain.astype(float))
        assert errors_of(plain, ("int8",)).narrower[name].relative == pytest.approx(wanted, rel=1e-5)
        assert errors_of(plain.astype(dtype), ("int8",)).narrower[name].relative == 0


# --- pages


def model(layers=12):
    rng = np.random.default_rng(0)
    found = {"embed.weight": rng.standard_normal((256, 64)).astype(np.float32)}
    for layer in range(layers):
        for name, shape in (("q", (64, 64)), ("up", (128, 64)), ("down", (64, 128)), ("o", (64, 64))):
            found[f"layers.{layer}.{name}.weight"] = (rng.standard_normal(shape) * 0.02).astype(np.float32)
        found[f"layers.{layer}.norm.weight"] = np.ones(64, np.float32)
    return found


def test_a_tensor_with_outliers_is_to_be_kept_and_no_other() -> None:
    arrays = model()
    name = "layers.3.down.weight"
    arrays[name][:, ::64] *= 30
    _, tensors, *_ = draw(QuantizationView(), arrays)["quantization"].panels
    kept = {line["Tensor"]: line["Keep"] for line in lines(tensors) if line["Keep"]}
    assert list(kept) == [name]
    assert "INT4 128" in kept[name]
    assert "INT8" in kept[name]
    _, tensors, *_ = draw(QuantizationView(keep=200), arrays)["quantization"].panels
    assert not any(line["Keep"] for line in lines(tensors))


def test_the_overview_is_a_map_of_layers_and_kinds_for_each_scheme() -> None:
    arrays = model()
    arrays["layers.3.down.weight"][:, ::64] *= 30
    first, *maps = draw(QuantizationView(schemes=("int8", "nf4")), arrays)["quantization_overview"].panels
    assert isinstance(first, Heatmap)
    assert [name for _, name in first.column_names] == ["INT8", "NF4"]
    *maps, rest = maps
    assert len(maps) == 2
    grid = maps[0].grid.values
    assert np.unravel_index(grid.argmax(), grid.shape)[0] == 3
    assert grid.max() > 3
    assert [name for _, name in maps[0].row_names] == [str(layer) for layer in range(12)]
    assert [name for _, name in rest.row_names] == ["embed.weight"]
    assert [name for _, name in rest.column_names] == ["INT8", "NF4"]
    assert "In no layer" in rest.title
    for each in (*maps, rest):
        assert each.grid.counts.all()


@pytest.mark.parametrize("experts", [4, 40])
def test_the_stages_of_a_network_share_the_columns_of_the_overview_and_of_many_experts_the_worst_counts(experts: int) -> None:
    rng = np.random.default_rng(0)
    names = [
        f"layer{stage}.{block}.conv{n}.weight" for stage, blocks in ((1, 3), (2, 9)) for block in range(blocks) for n in (1, 2)
    ]
    names += [f"layer2.{block}.experts.{expert}.up.weight" for block in range(9) for expert in range(experts)]
    arrays = {name: rng.standard_normal((16, 64)).astype(np.float32) for name in [*names, "stem.weight", "fc.weight"]}
    arrays["layer2.5.experts.2.up.weight"][:, ::64] *= 30
    arrays["layer2.6.experts.2.up.weight"][0, 0] = np.nan
    _, table, rest = draw(QuantizationView(schemes=("int8",)), arrays)["quantization_overview"].panels
    rows, columns = ([name for _, name in names] for names in (table.row_names, table.column_names))
    assert rows == [*(f"layer1.{block}" for block in range(3)), *(f"layer2.{block}" for block in range(9))]
    few = [f"experts.{expert}.up" for expert in range(4)]
    assert columns == ["conv1", "conv2", *(few if experts == 4 else ["experts.*.up"])]
    assert table.title.endswith("of experts the worst") == (experts == 40)
    assert (table.grid.counts[:, 2:] == np.array([0] * 3 + [1] * 9)[:, None]).all()
    cells = table.grid.values[:, columns.index("experts.2.up" if experts == 4 else "experts.*.up")]
    assert np.nanargmax(np.where(table.grid.counts[:, 2] > 0, cells, -np.inf)) == rows.index("layer2.5")
    assert np.isnan(cells[rows.index("layer2.6")])
    assert [name for _, name in rest.row_names] == ["stem", "fc"]


def test_a_kind_without_figures_has_no_column_in_the_overview() -> None:
    arrays = model()
    for layer in range(12):
        arrays[f"layers.{layer}.o.weight"][:] = 0
    _, table, _ = draw(QuantizationView(schemes=("int8",)), arrays)["quantization_overview"].panels
    assert [name for _, name in table.column_names] == ["q", "up", "down"]
    assert table.title.endswith("; 1 kind has none")


def test_few_tensors_are_a_row_each() -> None:
    (only,) = draw(QuantizationView(), {"a.weight": np.ones((4, 32), np.float32)})["quantization_overview"].panels
    assert [name for _, name in only.row_names] == ["a.weight"]


def test_tables_have_columns_for_schemes_and_types() -> None:
    schemes, tensors, types = draw(QuantizationView(), model(1))["quantization"].panels
    assert schemes.columns == OF_SCHEMES
    assert types.columns == OF_TYPES
    assert tensors.columns == ("Tensor", "Shape", "‖W‖", *(SCHEMES[name].label for name in USUAL), "Keep", "What")
    bits = {line["Scheme"]: line["Bits"] for line in lines(schemes)}
    assert (bits["INT4 32"], bits["NF4"], bits["MXFP4"], bits["NVFP4"]) == (4.5, 4.5, 4.25, 4.5)
    halves = {name: array.astype(np.float16) for name, array in model(1).items()}
    page = draw(QuantizationView(), halves)["quantization"]
    assert len(page.panels) == 3  # bfloat16 rounds what float16 holds
    arrays = {name: np.sign(array).astype(np.float32) for name, array in model(1).items()}
    assert len(draw(QuantizationView(), arrays)["quantization"].panels) == 2


def test_the_error_by_block_is_where_the_outlier_is() -> None:
    weights = np.random.default_rng(0).standard_normal((64, 512)).astype(np.float32) * 0.01
    weights[40, 300] = 5
    page = draw(QuantizationView(blocks="int4_128"), {"fc.weight": weights})["quantization/fc.weight_quantization"]
    table, heat = page.panels
    assert isinstance(table, Table)
    assert heat.grid.values.shape == (64, 4)
    others = np.delete(heat.grid.values.ravel(), 40 * 4 + 2)
    assert heat.grid.values[40, 2] < others.min()  # nothing but the outlier has a size there
    line = next(line for line in lines(table) if line["Scheme"] == "INT8")
    assert line["Worst row"] == "[40]"


def test_matrices_of_a_stack_are_measured_apart() -> None:
    stack = np.random.default_rng(0).standard_normal((4, 96, 160)).astype(np.float32)
    stack[2] *= 100
    pages = draw(QuantizationView(blocks="nvfp4"), {"mlp.experts.up_proj": stack})
    _, tensors, *_ = pages["quantization"].panels
    assert [line["Tensor"] for line in lines(tensors)] == [f"mlp.experts.up_proj[{i}]" for i in range(4)]
    for place, line in enumerate(lines(tensors)):
        alone = errors_of(stack[place])
        assert line["FP8 e4m3"] == pytest.approx(alone.schemes["fp8_e4m3"].decibels)
    assert len(pages["quantization/mlp.experts.up_proj_quantization"].panels) == 4


def test_tied_weights_vectors_and_integers_are_left_out() -> None:
    shared = np.random.default_rng(0).standard_normal((64, 32)).astype(np.float32)
    arrays = {
        "embed.weight": shared,
        "head.weight": shared,
        "norm.weight": np.ones(32, np.float32),
        "ids": np.ones((8, 8), np.int64),
    }
    checkpoint = checkpoint_of(arrays, aliases={"head.weight": "embed.weight"})
    _, tensors, *_ = draw(QuantizationView(), checkpoint)["quantization"].panels
    assert [line["Tensor"] for line in lines(tensors)] == ["embed.weight"]
    with pytest.raises(NotDrawable, match="matrices and kernels of floating numbers"):
        draw(QuantizationView(), {"norm.weight": np.ones(32, np.float32), "ids": np.ones((8, 8), np.int64)})


def test_a_name_of_no_scheme_is_one_clear_line() -> None:
    with pytest.raises(UsageError, match="no scheme 'int5'"):
        QuantizationView(schemes=("int5",))
    with pytest.raises(UsageError, match="no scheme 'nf5'"):
        QuantizationView(blocks="nf5")


def test_command_python_and_workers_say_the_same(tmp_path: Path) -> None:
    save_file(model(4), tmp_path / "m.safetensors")
    out = torch2grid("m.safetensors", "--quantization", "-o", "out", "--jobs", 1, cwd=tmp_path)
    again = torch2grid("m.safetensors", "--quantization", "-o", "again", "--jobs", 2, cwd=tmp_path)
    assert out.stdout.replace("out/", "again/") == again.stdout
    assert "NVFP4" in out.stdout
    assert pixels((tmp_path / "out/quantization_overview.png").read_bytes()).std() > 1
    (table, _) = t2g.quantization(tmp_path / "m.safetensors", schemes=("nf4",), keep=1.0)
    assert [line["Scheme"] for line in lines(table.panels[0])] == ["NF4"]


def test_what_float32_cannot_hold_is_not_called_inf_or_zero():
    rng = np.random.default_rng(0)
    large, small = rng.standard_normal((32, 64)) * 1e200, (rng.standard_normal((32, 64)) * 1e-42).astype(np.float32)
    pages = draw(QuantizationView(), {"large.weight": large, "small.weight": small, "zero.weight": np.zeros((32, 64))})
    told = {row[0]: row[-1] for row in pages["quantization"].panels[1].rows}
    assert told["large.weight"].endswith("as float32, too narrow for 2,048 weights")
    assert told["small.weight"].startswith("too small: ")
    assert told["zero.weight"] == "all zero"
    types = {row[0]: row for row in pages["quantization"].panels[2].rows}
    assert types["large.weight"][1] == types["large.weight"][4] == 2048
