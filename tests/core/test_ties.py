"""What a loader says of tied tensors holds for every selection of them, as far as both names are left."""

from __future__ import annotations

import numpy as np
import pytest
from tests.support.tools import distribution, torch2grid

from torch2grid_core import Checkpoint, LazyTensor, Part
from torch2grid_core.sources import BytesStorage


def tensor(name, values=(1.0, 2.0)):
    array = np.array(values, np.float32)
    return LazyTensor(name, array.shape, array.dtype, BytesStorage(array))


def told():
    names = ("model.wte", "model.head", "model.copy", "other.w")
    parts = [Part("model", "model.", names[:3])]
    ties = {"model.head": "model.wte", "model.copy": "model.wte"}
    return Checkpoint([tensor(name) for name in names], aliases=ties, parts=parts, default_part="model")


@pytest.mark.parametrize(
    ("names", "left"),
    [
        (("model.wte", "model.head", "other.w"), {"model.head": "model.wte"}),
        (("model.head", "model.copy"), {}),
        (("model.wte", "other.w"), {}),
    ],
)
def test_a_selection_keeps_the_ties_that_a_loader_names(names, left):
    chosen = told().select(names)
    assert chosen.aliases == left
    assert chosen.parameters == 2 * (len(names) - len(left))
    assert chosen.select(names).aliases == left


def test_so_does_a_part_under_its_own_names():
    assert told().part("model").aliases == {"head": "wte", "copy": "wte"}


def test_a_tensor_that_a_filter_puts_in_the_place_of_another_is_not_tied():
    whole = told()
    changed = whole.with_tensors({**whole, "model.head": tensor("model.head", (3.0, 4.0))})
    assert changed.aliases == {"model.copy": "model.wte"}


def test_shared_storage_is_found_anew_where_the_loader_says_nothing():
    first = tensor("a")
    ties = [LazyTensor(name, first.shape, first.dtype, first.storage) for name in ("a", "b", "c")]
    assert Checkpoint(ties).aliases == {"b": "a", "c": "a"}
    assert Checkpoint(ties).select(["b", "c"]).aliases == {"c": "b"}
    assert Checkpoint(ties, aliases={}).select(["b", "c"]).aliases == {}


PLUGIN = """
import numpy as np
from torch2grid_core import Checkpoint, LazyTensor, Loader, hookimpl
from torch2grid_core.sources import BytesStorage


class Tied(Loader):
    "a matrix under two names, stored twice"

    name = "tied"

    def sniff(self, source):
        return 2 if source.path.suffix == ".tied" else 0

    def load(self, source):
        array = np.ones((3, 4), np.float32)
        tensors = [LazyTensor(name, array.shape, array.dtype, BytesStorage(array.copy())) for name in ("wte", "head", "w")]
        return Checkpoint(tensors, source=source.shown, format="tied", aliases={"head": "wte"})


@hookimpl
def torch2grid_loaders():
    return [Tied]
"""


def test_a_plugins_ties_reach_the_drawing(tmp_path):
    distribution(tmp_path / "site", "t2g-tied", PLUGIN)
    (tmp_path / "model.tied").write_bytes(b"tied")
    for words in ((), ("--only", "*e*")):
        done = torch2grid("model.tied", "--stats", *words, cwd=tmp_path, path=[tmp_path / "site"])
        assert done.returncode == 0, done.stderr
        assert f"{12 if words else 24} parameters" in done.stderr
        assert "1 tied" in done.stderr
