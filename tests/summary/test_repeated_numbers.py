"""An expanded view: every command, figure and picture states its own shape, and counts what is stored of it once."""

import csv
import io
import json
import math
import pickle

import numpy as np
import pytest
from tests.support.tools import torch2grid

import torch2grid as t2g
from torch2grid_core.sources import stated_shape

torch = pytest.importorskip("torch")


def expanded(rng):
    """Random views: some dimensions of some tensors repeat, two overlap themselves, one is tied to a plain tensor."""
    found = {}
    for number in range(6):
        lengths = rng.integers(1, 9, size=rng.integers(1, 4)).tolist()
        bare = [1 if rng.random() < 0.5 else length for length in lengths]
        found[f"views.{number}"] = torch.from_numpy(rng.standard_normal(bare).astype(np.float32)).expand(lengths)
    found["plain"] = torch.from_numpy(rng.standard_normal((4, 6)).astype(np.float32))
    found["column"] = torch.from_numpy(rng.standard_normal((16, 1)).astype(np.float32)).expand(16, 16)
    found["overlapping"] = torch.from_numpy(rng.standard_normal(30).astype(np.float32)).unfold(0, 10, 2)
    found["tied"] = found["plain"][:1].expand(5, 6)
    return found


def stored(tensor):
    """How many elements of its storage *tensor* reaches, each once."""
    places = np.zeros(tuple(tensor.shape), np.int64)
    for axis, stride in enumerate(tensor.stride()):
        places += np.arange(tensor.shape[axis]).reshape([-1 if axis == each else 1 for each in range(tensor.ndim)]) * stride
    return len(np.unique(places))


@pytest.mark.parametrize("seed", range(3))
def test_shape_and_count_agree_everywhere(seed, tmp_path):
    tensors = expanded(np.random.default_rng(seed))
    path = tmp_path / "model.pth"
    torch.save(tensors, path)
    counts = {name: stored(tensor) for name, tensor in tensors.items()}
    total = sum(count for name, count in counts.items() if name != "tied")

    tree = json.loads(torch2grid("tree", path, "--format", "json", cwd=tmp_path).stdout)
    entries = {each["name"]: each for each in tree["tensors"]}
    rows = {row["Layer Name"]: row for row in csv.DictReader(io.StringIO(t2g.stats(path, detail=True).to_pandas().to_csv()))}
    figures = t2g.measure(path).to_pandas().set_index("name")
    checkpoint = t2g.load(path)
    for name, tensor in tensors.items():
        shape, count = tuple(tensor.shape), counts[name]
        assert (tuple(entries[name]["shape"]), entries[name]["weights"], entries[name]["bytes"]) == (shape, count, 4 * count)
        assert (rows[name]["Shape"], int(rows[name]["Weights"])) == ("×".join(map(str, shape)), count)
        assert (figures.loc[name, "shape"], figures.loc[name, "count"]) == (str(shape), count)
        assert checkpoint[name].shape == shape
        np.testing.assert_array_equal(checkpoint[name].numpy(), tensor.numpy())
        repeats = count != tensor.numel()
        assert ("stored, repeated to " + "×".join(map(str, shape)) in (entries[name]["note"] or "")) == repeats
    assert (tree["totals"]["weights"], checkpoint.parameters) == (total, total)

    done = torch2grid(path, "--layers", "--format", "json", "-o", "out", cwd=tmp_path)
    assert f"{total:,} parameters" in done.stderr
    for name, tensor in tensors.items():
        if tensor.ndim > 2:
            continue
        page = json.loads((tmp_path / "out" / "layers" / f"{name}.json").read_text())
        shape = "×".join(map(str, tensor.shape))
        assert f" · {shape} · " in page["title"]
        assert page["title"].count("stored, repeated to") == (counts[name] != tensor.numel())
        assert page["about"]["shape"] == list(tensor.shape)
    drawn = {page.name: page.panels[0].grid.weights for page in t2g.layers(path) if page.folder}
    assert drawn == counts
    assert t2g.grid(path)[0].panels[0].grid.weights == total


def test_what_is_stored_keeps_the_shape_that_the_file_states(tmp_path):
    torch.save({"w": torch.arange(16.0).reshape(16, 1).expand(16, 8)}, tmp_path / "w.pth")
    whole = t2g.load(tmp_path / "w.pth")["w"]
    bare = whole.distinct()
    assert (bare.shape, stated_shape(bare.shape), bare.note) == ((16, 1), (16, 8), "16×1 stored, repeated to 16×8")
    assert bare.distinct() is bare
    assert stated_shape(pickle.loads(pickle.dumps(bare.shape))) == (16, 8)  # as workers get it
    part = whole.view(np.s_[4:8, 2:6]).distinct()
    assert (part.shape, stated_shape(part.shape), part.note) == ((4, 1), (4, 4), "4×1 stored, repeated to 4×4")
    assert math.prod(stated_shape(whole.shape)) == whole.size  # a whole tensor states its own


def test_a_huge_view_of_one_number_is_one_weight(tmp_path):
    torch.save({"w": torch.ones(1, 1).expand(1 << 20, 1 << 20), "fc.weight": torch.ones(3, 4)}, tmp_path / "huge.pth")
    lines = torch2grid("tree", tmp_path / "huge.pth", cwd=tmp_path).stdout.splitlines()
    line = next(line for line in lines if line.startswith("w "))
    assert "(1048576, 1048576)" in line
    assert "1×1 stored, repeated to 1048576×1048576" in line
    assert line.split("float32")[1].split()[:3] == ["1", "4", "B"]
