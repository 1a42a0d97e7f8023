"""``--slice``: a part of each tensor, in every view and command, under the indices of the whole."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from tests.support.tools import torch2grid

import torch2grid as t2g
from torch2grid_core import LazyTensor, Settings, UsageError
from torch2grid_core._data.indexing import index_text, parse_index
from torch2grid_core.sources import BytesStorage

SHAPES = st.lists(st.integers(1, 6), min_size=0, max_size=4).map(tuple)


def lazy(array: np.ndarray[Any, Any], name: str = "t") -> LazyTensor:
    return LazyTensor(name, array.shape, array.dtype, BytesStorage(array.tobytes()))


@st.composite
def indices(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """An index that numpy takes of *shape*, with fewer places than dimensions and an ellipsis at times."""
    first, last = sorted((draw(st.integers(0, len(shape))), draw(st.integers(0, len(shape)))))
    dots = draw(st.booleans())
    found: list[Any] = []
    for place, length in enumerate(shape):
        whole = st.builds(slice, st.none() | st.integers(-8, 8), st.none() | st.integers(-8, 8), st.none() | st.integers(1, 3))
        if dots and place == first:
            found.append(...)
        if place < first or (dots and place >= last):
            found.append(draw(st.integers(-length, length - 1) | whole) if length else slice(None))
    return tuple(found)


@given(st.data())
def test_a_view_knows_where_each_weight_is_in_the_whole(data: st.DataObject) -> None:
    shape = data.draw(SHAPES)
    array = np.arange(int(np.prod(shape)), dtype=np.int32).reshape(shape)
    view, expected = lazy(array), array
    for _ in range(data.draw(st.integers(1, 3))):
        index = data.draw(indices(expected.shape))
        view, expected = view.view(index), expected[index]
        assert np.array_equal(view[...], expected)
    for place in np.ndindex(*expected.shape):
        where = view.taken.index(place) if view.taken is not None else place
        assert array[where] == expected[place]
    if view.taken is None:
        assert expected.shape == array.shape
    else:
        assert view.taken.shape == array.shape
        assert tuple(map(len, view.taken.ranges)) == view.shape
        if expected.size:  # what a title says is the index that takes it
            assert np.array_equal(array[parse_index(str(view.taken))], expected)
        assert pickle.loads(pickle.dumps(view)).taken == view.taken


@given(st.data())
def test_what_is_typed_is_what_numpy_takes(data: st.DataObject) -> None:
    shape = data.draw(SHAPES.filter(bool))
    index = data.draw(indices(shape).filter(bool))
    array = np.arange(int(np.prod(shape))).reshape(shape)
    text = index_text(index)
    for typed in (text, f"[{text}]", f" {text} ", text.replace(", ", ","), f"{text},"):
        assert np.array_equal(array[parse_index(typed)], array[index])
    assert Settings(slice=index).slice == Settings(slice=text).slice == text


@pytest.mark.parametrize(
    "text",
    [
        "foo",
        "1.5",
        "0:64;",
        "::-1",
        "::0",
        "0:1:2:3",
        "...,...",
        ",",
        "0,,1",
        "__import__('os')",
        "None",
        "1e3",
        "[0",
        "9" * 40,
        "0 1",
        "a:b",
    ],
)
def test_a_wrong_text_is_one_line_that_says_what_is_allowed(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"steps are 1 or more|steps of 1 or more|more than one"):
        Settings(slice=text)
    if text in ("foo", "::-1", "...,...", "__import__('os')"):
        done = torch2grid("m.pth", "--slice", text, cwd=tmp_path)
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
        assert "--slice" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("value", [1.5, True, [0, 1], None, "", (), (None,), {"a": 1}, slice(0.5, 2), slice(0, 4, -1)])
def test_a_wrong_value_of_python_is_an_error_and_nothing_is_no_slice(value: Any) -> None:
    if value is None or value == "":
        assert Settings(slice=value).slice == ""
        return
    with pytest.raises(UsageError, match="slice"):
        Settings(slice=value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    matrix = torch.randn(300, 40) * 0.1
    matrix[200, 3] = torch.nan
    matrix[207] = 0
    made = {
        "fc.weight": matrix,
        "fc.bias": torch.randn(300),
        "conv.weight": torch.randn(8, 16, 3, 3),
        "emb.weight": torch.randn(100, 16).to(torch.bfloat16),
        "bn.num_batches_tracked": torch.tensor(3),
    }
    torch.save(made, tmp_path / "a.pth")
    made["fc.weight"] = matrix.clone()
    made["fc.weight"][190, 5] += 1
    torch.save(made, tmp_path / "b.pth")
    return tmp_path


def test_what_the_slice_takes_nothing_of_is_left_out_and_counted(folder: Path) -> None:
    done = torch2grid("a.pth", "--stats", "--slice", "180:210, :", cwd=folder)
    assert [line.split()[0] for line in done.stdout.splitlines()[3:]] == ["fc.weight"]
    assert done.stdout.splitlines()[0] == "Layer Statistics Comparison · slice [180:210, :]"
    said = "1 of 5 tensors shown; not shown: bookkeeping (1), too few dimensions (1), out of range (2); 1,200 parameters"
    assert said in done.stderr
    assert "slice [180:210, :], NaN in 1 tensor (1 weight)" in done.stderr
    nothing = torch2grid("a.pth", "--stats", "--slice", "9999", cwd=folder)
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert "the slice [9999] takes nothing of 4 tensors (4 out of range)" in nothing.stderr
    one = torch2grid("a.pth", "--slice", "9999", "--only", "fc.weight", cwd=folder)
    assert "takes nothing of 1 tensor (1 out of range)" in one.stderr


def test_figures_are_those_of_the_part(folder: Path) -> None:
    tensors = torch.load(folder / "b.pth", weights_only=True)
    table = t2g.stats(folder / "b.pth", only="fc.*", slice="-100:-5:3")
    (page,) = table
    rows = {row[0]: row for row in page.panels[0].rows}
    for name in ("fc.weight", "fc.bias"):
        part = tensors[name][-100:-5:3].double()
        part = part[~part.isnan()]
        assert rows[name][1] == pytest.approx(part.mean().item())
        assert rows[name][3:5] == pytest.approx((part.min().item(), part.max().item()))


def test_findings_have_the_indices_of_the_whole(folder: Path) -> None:
    done = torch2grid("check", "a.pth", "--select", "nan", "--slice", "180:210, 1:", "--format", "json", cwd=folder)
    (found,) = json.loads(done.stdout)["models"][0]["findings"]
    assert (done.returncode, found["tensor"], found["index"]) == (1, "fc.weight", [200, 3])
    elsewhere = torch2grid("check", "a.pth", "--select", "nan", "--slice", "0:150", cwd=folder)
    assert (elsewhere.returncode, elsewhere.stdout) == (0, "")
    one = torch2grid("check", "a.pth", "--select", "nan", "--slice", "200, 3", cwd=folder)
    assert "fc.weight[200, 3]" in one.stdout


def test_units_have_the_indices_of_the_whole(folder: Path) -> None:
    done = torch2grid("a.pth", "--dead-neurons", "--only", "fc.weight", "--slice", "201:220:2, :", "-q", "-o", "d", cwd=folder)
    assert done.returncode == 0, done.stderr
    (tensor,) = json.loads((folder / "d" / "dead_neurons_report.json").read_text())["tensors"]
    assert tensor["dead_output_units"] == [207]
    assert tensor["output_units"] == 10
    row = next(line for line in done.stdout.splitlines() if line.startswith("fc.weight"))
    assert row.split()[-1] == "207"


def test_compare_says_where_in_the_whole(folder: Path) -> None:
    done = torch2grid("compare", "a.pth", "b.pth", "--stats", "--slice", "180:210, 2:", cwd=folder)
    assert done.returncode == 1
    assert "one weight: [190, 5] " in done.stdout
    same = torch2grid("compare", "a.pth", "b.pth", "--stats", "--slice", "0:180", "-q", cwd=folder)
    assert same.returncode == 0
    words = ("--layers", "--slice", "180:210, :", "--format", "svg", "-o", "c", "-q")
    drawn = torch2grid("compare", "a.pth", "b.pth", *words, cwd=folder)
    text = (folder / drawn.stdout.split()[0]).read_text(encoding="utf-8")
    assert text.count(">180<") == 4


def panels(folder: Path, *words: object) -> tuple[dict[str, Any], dict[str, Any]]:
    """The page of one tensor as JSON, and its first heatmap."""
    done = torch2grid(*words, "-q", "--format", "json", "-o", "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    page = json.loads((folder / done.stdout.split()[0]).read_text())
    return page, next(each for each in page["panels"] if each["kind"] == "heatmap")


def test_axes_and_titles_keep_the_original_indices(folder: Path) -> None:
    page, heatmap = panels(folder, "a.pth", "--layers", "--only", "fc.weight", "--slice", "180:210:3, -8:")
    assert page["title"] == "fc.weight[180:210:3, 32:40] · 10×8 of 300×40 · float32"
    assert (heatmap["row_indices"], heatmap["column_indices"]) == ([180, 3], [32, 1])
    page, heatmap = panels(folder, "a.pth", "--layers", "--only", "fc.weight", "--slice", "7, 4:9")
    assert page["title"] == "fc.weight[7, 4:9] · 5 of 300×40 · float32"
    assert heatmap["column_indices"] == [4, 1]
    page, heatmap = panels(folder, "a.pth", "--conv", "--only", "conv.weight", "--slice", "2:6")
    assert [region["name"] for region in heatmap["regions"]] == ["2", "3", "4", "5"]
    page, heatmap = panels(folder, "a.pth", "--slice", "180:210, :")
    assert page["title"].endswith(" · slice [180:210, :]")
    page, heatmap = panels(folder, "a.pth", "--layers", "--only", "fc.weight")
    assert "row_indices" not in heatmap
    assert page["title"] == "fc.weight · 300×40 · float32"


def test_ticks_of_a_picture_begin_at_the_slice(folder: Path) -> None:
    done = torch2grid(
        "a.pth", "--layers", "--only", "fc.weight", "--slice", "180:210, :", "--format", "svg", "-o", "p", cwd=folder
    )
    assert done.returncode == 0, done.stderr
    text = (folder / "p" / "layers" / "fc.weight.svg").read_text(encoding="utf-8")
    assert ">180<" in text.replace("\n", "")
    assert ">205<" in text.replace("\n", "")


def test_the_html_page_knows_the_indices_of_the_whole(folder: Path) -> None:
    done = torch2grid("a.pth", "--layers", "--only", "fc.weight", "--slice", "180:210, 2:", "-o", "p.html", "-q", cwd=folder)
    assert done.returncode == 0, done.stderr
    text = (folder / "p.html").read_text(encoding="utf-8")
    assert '"taken":[[180,210,1],[2,40,1]]' in text.replace(" ", "")
    assert '"row_runs":[[0.0,180,1,30]]' in text.replace(" ", "")


@pytest.mark.parametrize("view", ["grid", "layers", "histogram", "conv", "stats", "dead_neurons", "values"])
def test_every_view_takes_a_slice(view: str, folder: Path) -> None:
    done = torch2grid("a.pth", "--view", view, "--slice", "1:4", "-o", "o", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "slice [1:4]" in done.stderr


def test_views_of_other_parts_take_the_same_slice(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Linear(8, 8))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 6)).square().sum().backward()
    optimizer.step()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "run.pt")
    done = torch2grid("run.pt", "--view", "optimizer", "--slice", "2:5", "-o", "o", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines() if line.startswith("0.")] == [
        ["0.weight", "3×6"],
        ["0.bias", "3"],
    ]


def test_tied_tensors_stay_tied_and_views_within_others_do_not(tmp_path: Path) -> None:
    whole = torch.randn(12, 4)
    torch.save({"a": whole, "tied": whole, "part": whole[6:]}, tmp_path / "m.pth")
    done = torch2grid("m.pth", "--stats", "--slice", "0:2", cwd=tmp_path)
    assert "3 tensors, 16 parameters, float32, slice [0:2], 1 tied" in done.stderr


def test_settings_come_from_files_and_variables(folder: Path) -> None:
    (folder / "s.yaml").write_text('slice: "180:210, :"\nonly: ["fc.*"]\n', encoding="utf-8")
    for words, env in ((("--config", "s.yaml"), {}), ((), {"TORCH2GRID_SLICE": "180:210, :"})):
        done = torch2grid("a.pth", "--stats", *words, cwd=folder, env=env)
        assert "slice [180:210, :]" in done.stderr, done.stderr


ROWS, COLUMNS = 20_000, 256


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A matrix of 20 MB as safetensors and as a stored .pth."""
    folder = tmp_path_factory.mktemp("large")
    matrix = np.arange(ROWS * COLUMNS, dtype=np.float32).reshape(ROWS, COLUMNS)
    torch.save({"w": torch.from_numpy(matrix)}, folder / "m.pth")
    head = json.dumps({"w": {"dtype": "F32", "shape": [ROWS, COLUMNS], "data_offsets": [0, matrix.nbytes]}}).encode()
    (folder / "m.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + matrix.tobytes())
    return folder


COUNTING = """
import os, sys
path, total, preadv, pread = sys.argv[1], 0, os.preadv, os.pread
def count(descriptor, size):
    global total
    if os.readlink(f"/proc/self/fd/{descriptor}") == path:
        total += size
def counted_into(descriptor, *given):
    found = preadv(descriptor, *given)
    count(descriptor, found)
    return found
def counted(descriptor, *given):
    found = pread(descriptor, *given)
    count(descriptor, len(found))
    return found
os.preadv, os.pread = counted_into, counted
from torch2grid_core._cli.main import run
code = run([*sys.argv[2:], "-q"])
print("bytes", total, file=sys.stderr)
sys.exit(code)
"""


def bytes_read(path: Path, folder: Path, *words: str) -> int:
    """The bytes of the file *path* that a run of the command line reads."""
    command = [sys.executable, "-c", COUNTING, str(path), *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return int(done.stderr.split()[-1])


@pytest.mark.parametrize("name", ["m.pth", "m.safetensors"])
@pytest.mark.parametrize("view", ["--stats", "--values", "--histogram", "--layers"])
@pytest.mark.skipif(sys.platform != "linux", reason="the file behind a descriptor is known on Linux")
def test_one_row_reads_one_row(name: str, view: str, large: Path, tmp_path: Path) -> None:
    path = large / name
    opened = bytes_read(path, tmp_path, "tree", str(path))
    assert 0 < opened < 1 << 20
    read = bytes_read(path, tmp_path, str(path), view, "--slice", "12345, :", "-j", "1")
    assert COLUMNS * 4 <= read - opened <= COLUMNS * 4 + (64 << 10)


@pytest.mark.parametrize("name", ["m.pth", "m.safetensors"])
def test_a_number_of_python_reads_that_number(name: str, large: Path) -> None:
    tensor = t2g.load(large / name)["w"]
    assert np.array_equal(tensor[12345], np.arange(12345 * COLUMNS, 12346 * COLUMNS, dtype=np.float32))
    assert tensor[-1, -1] == ROWS * COLUMNS - 1
    assert tensor.view(np.s_[12345, ::64]).taken is not None


def test_check_verifies_what_it_looks_at(large: Path, tmp_path: Path) -> None:
    """A checksum is of the whole record: drawing a part leaves it, ``check`` does not."""
    data = bytearray((large / "m.pth").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "m.pth").write_bytes(data)
    drawn = torch2grid("m.pth", "--stats", "--slice", "0", cwd=tmp_path)
    assert drawn.returncode == 0
    assert "not looked at for a slice: checksums, what other readers make of the file" in drawn.stderr
    checked = torch2grid("check", "m.pth", "--slice", "0", cwd=tmp_path)
    assert checked.returncode == 2
    assert "CRC" in checked.stderr


@pytest.mark.parametrize("part", ["1234", "3:9, 1", "2:, ::3", "7, 5", "..., 4"])
def test_a_part_says_which_numbers_it_has_wherever_it_is_shown(part: str, tmp_path: Path) -> None:
    whole = np.arange(2000 * 6, dtype=np.float32).reshape(2000, 6)
    np.save(tmp_path / "w.npy", whole)
    done = torch2grid("w.npy", "--values", "--slice", part, "--format", "json", "-o", "-", "-q", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    page = json.loads(done.stdout)
    (panel,) = page["panels"]
    index = tuple(slice(*each) if isinstance(each, list) else each for each in page["about"]["taken"])
    np.testing.assert_array_equal(np.asarray(panel["values"], np.float32), whole[index].reshape(-1))
    assert [[*each] for each in page["about"]["taken"] if isinstance(each, list)] == panel["indices"]
    (tensor,) = t2g.load(tmp_path / "w.npy").values()
    view = tensor.view(index)
    assert str(view.taken) in repr(view)
    assert "2000×6" in repr(view)
    assert "[" not in repr(tensor)
