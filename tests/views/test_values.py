"""``--values``: the numbers themselves, each at its index."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as arrays
from tests.support.tools import torch2grid
from tests.support.views.drawing import checkpoint_of

from torch2grid_builtin._views.values import ValuesView
from torch2grid_core import Settings
from torch2grid_core._pictures.numbers import number_texts
from torch2grid_core.pages import Numbers

DTYPES = ["float64", "float32", "float16", "int64", "int8", "uint8", "bool", "complex64"]
NARROW = [ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2, ml_dtypes.float8_e8m0fnu, ml_dtypes.float4_e2m1fn]


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
def test_a_text_is_read_back_as_the_same_number(dtype: str, data: st.DataObject) -> None:
    values = data.draw(arrays.arrays(dtype, st.integers(0, 20)))
    texts = number_texts(values)
    if dtype == "bool":
        assert texts == [str(bool(each)) for each in values]
        return
    kind: Any = complex if dtype == "complex64" else float if dtype.startswith("float") else int
    back = np.array([kind(text) for text in texts], dtype=dtype if values.size else values.dtype)
    assert np.array_equal(back, values, equal_nan=values.dtype.kind in "fc")


@pytest.mark.parametrize("dtype", NARROW)
def test_every_number_of_a_narrow_dtype_has_a_text_of_its_own_and_no_more_digits(dtype: type) -> None:
    bits = np.dtype(dtype).itemsize * 8
    codes = np.arange(16 if dtype is ml_dtypes.float4_e2m1fn else 1 << bits, dtype=f"u{bits // 8}")
    values = codes.view(dtype)
    wide = values.astype(np.float32)
    texts = number_texts(values)
    back = np.array([float(text) for text in texts]).astype(np.float32).astype(dtype).astype(np.float32)
    assert np.array_equal(back, wide, equal_nan=True)
    known = [text for text, each in zip(texts, wide.tolist(), strict=True) if np.isfinite(each) and each]
    assert len(set(known)) == len(known)
    digits = [len(re.sub(r"e.*|[.-]", "", text).strip("0")) for text in known]
    assert max(digits) <= {ml_dtypes.bfloat16: 4, ml_dtypes.float8_e8m0fnu: 4}.get(dtype, 3)


def save(folder: Path, **tensors: torch.Tensor) -> dict[str, torch.Tensor]:
    torch.save(tensors, folder / "m.pth")
    return tensors


def values(folder: Path, *words: object) -> str:
    done = torch2grid("m.pth", "--values", *words, "-q", cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_table_has_the_indices_of_the_whole(tmp_path: Path) -> None:
    made = save(tmp_path, w=torch.arange(60.0).reshape(6, 10) / 4)
    head, columns, _, *rows = values(tmp_path, "--slice", "-2:, 3:9:2").splitlines()
    assert head == "w[4:6, 3:9:2] · 2×3 of 6×10 · float32"
    assert columns.split() == ["row", "3", "5", "7"]
    for line, row in zip(rows, (4, 5), strict=True):
        assert [float(each) for each in line.split()] == [row, *made["w"][row, 3:9:2].tolist()]


def test_every_number_of_dimensions_has_its_lines(tmp_path: Path) -> None:
    save(tmp_path, k=torch.arange(24.0).reshape(2, 3, 2, 2), v=torch.arange(3.0), s=torch.tensor(0.25))
    text = values(tmp_path)
    blocks = re.split(r"^(\w.*·.*)$", text, flags=re.M)
    table = {head.split()[0]: body.strip("\n").splitlines() for head, body in zip(blocks[1::2], blocks[2::2], strict=True)}
    assert table["k"][0].split("  ")[:3] == ["dimension 0", "dimension 1", "dimension 2"]
    assert [[float(each) for each in line.split()] for line in table["k"][2:]] == [
        [a, b, c, 12 * a + 4 * b + 2 * c, 12 * a + 4 * b + 2 * c + 1] for a in range(2) for b in range(3) for c in range(2)
    ]
    assert [line.split() for line in table["v"]] == [
        ["index", "value"],
        ["-----", "-----"],
        ["0", "0.0"],
        ["1", "1.0"],
        ["2", "2.0"],
    ]
    assert table["s"][2].split() == ["0.25"]


@given(data=st.data())
def test_columns_name_the_dimensions_of_the_whole(data: st.DataObject) -> None:
    whole = np.arange(720.0).reshape(2, 3, 4, 5, 6)
    places = tuple(
        data.draw(st.integers(0, length - 1) | st.builds(slice, st.integers(0, length - 1), st.none(), st.integers(1, 3)))
        for length in whole.shape
    )
    part = checkpoint_of({"five": whole})["five"].view(places)
    (page,) = ValuesView().tensor_pages(part, {"values": np.asarray(whole[places])}, Settings())
    (table,) = (panel.as_table() for panel in page.panels)
    left = [axis for axis, place in enumerate(places) if isinstance(place, slice)]
    for row in table.rows:
        index = list(places)
        cells = dict(zip(table.columns, row, strict=True))
        if len(left) == 1:
            index[left[0]] = cells.pop("index")
        for name in [each for each in cells if each.startswith("dimension ")]:
            index[int(name.split()[1])] = cells.pop(name)
        if "row" in cells:
            index[0] = cells.pop("row")
        for name, value in cells.items():
            if name != "value":
                index[left[-1]] = int(name)
            assert value == whole[tuple(index)]


def test_nan_and_inf_are_themselves(tmp_path: Path) -> None:
    save(tmp_path, w=torch.tensor([torch.nan, torch.inf, -torch.inf, 0.1]))
    assert [line.split()[1] for line in values(tmp_path).splitlines()[3:]] == ["nan", "inf", "-inf", "0.1"]
    page = json.loads(values(tmp_path, "--format", "json", "-o", "-"))
    assert page["panels"][0]["values"] == ["NaN", "Infinity", "-Infinity", 0.1]
    rows = list(csv.reader(values(tmp_path, "--format", "csv", "-o", "-").splitlines()))
    assert rows == [["index", "value"], ["0", "nan"], ["1", "inf"], ["2", "-inf"], ["3", "0.1"]]
    (path,) = values(tmp_path, "--format", "npy", "-o", "n").splitlines()
    assert np.array_equal(np.load(tmp_path / path), np.array([np.nan, np.inf, -np.inf, 0.1], np.float32), equal_nan=True)


def test_many_numbers_go_into_files_only(tmp_path: Path) -> None:
    save(tmp_path, w=torch.zeros(100, 100), b=torch.zeros(1))
    done = torch2grid("m.pth", "--values", cwd=tmp_path)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    for word in ("10,001 numbers", "10,000", "--slice", "--format csv, json or npy"):
        assert word in done.stderr
    assert len(values(tmp_path, "--only", "w").splitlines()) == 103  # 10,000 are not too many
    assert values(tmp_path, "--format", "csv").splitlines() == ["grids/values/w.csv", "grids/values/b.csv"]


def test_files_hold_what_torch_saved(tmp_path: Path) -> None:
    made = save(
        tmp_path,
        f=torch.randn(5, 7),
        h=torch.randn(4).half(),
        d=torch.randn(2, 3, 4).double(),
        i=torch.arange(6).reshape(2, 3),
        c=torch.randn(3, dtype=torch.complex64),
        b=torch.tensor([[True, False]]),
        e=torch.randn(8, 8).bfloat16(),
    )
    done = torch2grid("m.pth", "--values", "--format", "npy,json,csv", "-o", "o", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0] == "npy has no bfloat16: its numbers are written as float32"
    for name, tensor in made.items():
        wanted = tensor.float().numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()
        found = np.load(tmp_path / "o" / "values" / f"{name}.npy", allow_pickle=False)
        assert found.dtype == wanted.dtype
        assert np.array_equal(found, wanted)
        (panel,) = json.loads((tmp_path / "o" / "values" / f"{name}.json").read_text())["panels"]
        assert (panel["shape"], panel["dtype"]) == (list(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        if name != "c":
            assert np.array_equal(np.array(panel["values"]).astype(wanted.dtype).reshape(wanted.shape), wanted) or name == "e"
        rows = list(csv.reader((tmp_path / "o" / "values" / f"{name}.csv").read_text().splitlines()))[1:]
        leading = max(tensor.ndim - 1, 1)
        cells = [each for row in rows for each in row[leading:]]
        assert len(cells) == tensor.numel()
    found = np.array(json.loads((tmp_path / "o" / "values" / "e.json").read_text())["panels"][0]["values"])
    assert np.array_equal(
        found.astype(np.float32).astype(ml_dtypes.bfloat16).astype(np.float32).reshape(8, 8), made["e"].float()
    )


def test_one_array_is_one_file(tmp_path: Path) -> None:
    made = save(tmp_path, w=torch.randn(6, 4), b=torch.randn(6))
    assert values(tmp_path, "--only", "w", "--slice", "2:4", "-o", "part.npy") == "part.npy\n"
    assert np.array_equal(np.load(tmp_path / "part.npy"), made["w"][2:4].numpy())
    done = torch2grid("m.pth", "--values", "-o", "all.npy", cwd=tmp_path)
    assert done.returncode == 2
    assert not (tmp_path / "all.npy").exists()


def test_npy_stands_beside_other_views(tmp_path: Path) -> None:
    save(tmp_path, w=torch.randn(6, 4))
    written = values(tmp_path, "--stats", "--layers", "--format", "npy", "-o", "o").splitlines()
    assert "o/values/w.npy" in written
    assert any(line.startswith("Layer Statistics") for line in written)
    assert np.load(tmp_path / "o" / "layers" / "w.npy").shape == (6, 4)


def test_the_panel_is_checked_where_it_is_made() -> None:
    with pytest.raises(ValueError, match="indices of lengths"):
        Numbers(np.zeros((2, 3)), (range(2), range(2)))
    panel = Numbers(np.arange(3), (range(5, 11, 2),))
    assert panel.as_table().rows == ((5, 0), (7, 1), (9, 2))


@pytest.mark.parametrize("given", ["all.csv", "-"])
def test_one_csv_holds_the_numbers_of_several_tensors_by_name_and_index(tmp_path: Path, given: str) -> None:
    tensors = save(tmp_path, a=torch.randn(5, 4), b=torch.arange(6), c=torch.randn(3, 2, 2).bfloat16(), empty=torch.zeros(0, 4))
    done = torch2grid("m.pth", "--values", "--slice", "1:", "--format", "csv", "-o", given, "-q", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / given).read_text() if given != "-" else done.stdout
    rows = list(csv.DictReader(text.splitlines()))
    expected = {
        (name, str([int(each) for each in index]))
        for name, tensor in tensors.items()
        for index in np.ndindex(tuple(tensor.shape))
        if index[0] >= 1
    }
    assert {(row["tensor"], row["index"]) for row in rows} == expected
    assert len(rows) == len(expected)
    for row in rows:
        found = tensors[row["tensor"]][tuple(json.loads(row["index"]))]
        assert torch.tensor(float(row["value"])).to(found.dtype) == found


def test_one_tensor_in_a_csv_is_a_table_of_its_own_and_several_in_npy_are_told_of(tmp_path: Path) -> None:
    save(tmp_path, a=torch.randn(5, 4), b=torch.arange(6))
    torch2grid("m.pth", "--values", "--only", "a", "-o", "a.csv", "-q", cwd=tmp_path)
    assert (tmp_path / "a.csv").read_text().splitlines()[0] == "row,0,1,2,3"
    done = torch2grid("m.pth", "--values", "-o", "both.npy", "-q", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "give a folder" in done.stderr
    assert not (tmp_path / "both.npy").exists()
