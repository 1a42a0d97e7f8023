"""Loaders of live objects: those of torch2grid, by the hook that everybody's come by, and others beside and before them."""

from __future__ import annotations

import subprocess
import sys
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from tests.support.memory import STORE, MemorySource
from tests.support.tools import torch2grid

import torch2grid as t2g
from torch2grid._session import manager as shared
from torch2grid_core import Checkpoint, Lazy, LazyTensor, Loader, PluginError, PluginManager, UsageError, hookimpl
from torch2grid_core.sources import BytesStorage, ObjectSource, Source
from torch2grid_core.testing import Bound, conformance


class Tree:
    """What a library of its own holds weights in."""

    def __init__(self, **leaves: Any) -> None:
        self.leaves = leaves


class Tagged(dict[str, Any]):
    """A mapping that its own loader knows better."""


class TreeLoader(Loader):
    """a tree of arrays"""

    name = "tree"
    accepts: ClassVar[Literal["bytes", "objects"]] = "objects"
    kind: ClassVar[type] = Tree

    def sniff(self, source: Source) -> int:
        return 2 if isinstance(source.object, self.kind) else 0

    def load(self, source: Source) -> Checkpoint:
        leaves = getattr(source.object, "leaves", source.object)
        tensors = [LazyTensor(name, each.shape, each.dtype, BytesStorage(each.tobytes())) for name, each in leaves.items()]
        return Checkpoint(tensors, source=source.shown, format=self.name)


class TaggedLoader(TreeLoader):
    """a mapping of its own"""

    name = "tagged"
    kind = Tagged


class Plugin:
    @hookimpl
    def torch2grid_loaders(self) -> list[type]:
        return [TreeLoader, TaggedLoader]


@pytest.fixture
def registered() -> Iterator[PluginManager]:
    """The manager of the Python API, with the plugin of this test."""
    record = shared().register(Plugin())
    yield shared()
    shared().records.remove(record)
    shared()._indexed.clear()
    shared()._loaders.clear()


@conformance(
    TreeLoader,
    files=lambda folder: [Tree(a=np.ones(3, np.float32))],
    expected_failures={"no_torch_at_import": "this module imports it"},
)
def test_that_of_these_tests_conforms(check: Bound) -> None:
    check()


def test_an_object_of_a_plugin_opens_wherever_a_model_does(registered: PluginManager, tmp_path: Path) -> None:
    weights = np.arange(12, dtype=np.float32).reshape(3, 4)
    checkpoint = t2g.load(Tree(w=weights))
    assert (checkpoint.format, checkpoint.source, list(checkpoint)) == ("tree", "Tree", ["w"])
    assert "w" in str(t2g.stats(Tree(w=weights)))
    assert t2g.compare(Tree(w=weights), {"w": weights}).same
    assert len(t2g.layers(Tree(w=weights)).save(tmp_path)) == 2
    assert registered.open(ObjectSource(Tree(w=weights), "my tree")).source == "my tree"


def test_the_loader_that_knows_an_object_best_opens_it(registered: PluginManager) -> None:
    assert t2g.load(Tagged(w=np.ones(3))).format == "tagged"
    assert t2g.load({"w": np.ones(3)}).format == "live"


def test_names_of_live_objects() -> None:
    loaded = {"Linear": torch.nn.Linear(2, 2), "state dict": OrderedDict(a=torch.ones(2)), "tensor": np.ones(2)}
    assert {name: t2g.load(each).source for name, each in loaded.items()} == {name: name for name in loaded}


class Agreeable(dict[str, Any]):
    """A mapping that has every attribute that it is asked for, as some libraries' have."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.setdefault(name, Agreeable())


def test_a_mapping_with_every_attribute_is_no_source() -> None:
    state = Agreeable(a=np.ones(2))
    assert list(t2g.load(state)) == ["a"]
    assert list(state) == ["a"]


@pytest.mark.parametrize(("value", "kind"), [(None, "NoneType"), (3, "int"), (object(), "object"), ([1], "list")])
def test_what_no_loader_knows_is_said(value: Any, kind: str) -> None:
    with pytest.raises(UsageError, match=f"a path, a module, a state dict or a Checkpoint is needed, not {kind}"):
        t2g.load(value)


def test_a_loader_is_shown_what_it_accepts_and_nothing_else(registered: PluginManager, tmp_path: Path) -> None:
    seen: list[Any] = []

    class Nosy(TreeLoader):
        """claims nothing, and looks at all"""

        name = "nosy"

        def sniff(self, source: Source) -> int:
            seen.append(source.object)
            return 0

    class NosyOfBytes(Nosy):
        """the same of files"""

        name = "nosy_of_bytes"
        accepts = "bytes"

    manager = PluginManager.discover()
    manager.register(Nosy)
    manager.register(NosyOfBytes)
    tensors = {"a": np.ones(2)}
    np.savez(tmp_path / "m.npz", **tensors)
    manager.open(tmp_path / "m.npz")
    assert seen
    assert all(each is None for each in seen)
    seen.clear()
    assert list(manager.open(tensors)) == ["a"]
    assert seen == [tensors]
    with pytest.raises(UsageError, match="loader 'nosy' opens objects, not bytes"):
        manager.open(tmp_path / "m.npz", "nosy")
    with pytest.raises(UsageError, match="loader 'npz' opens bytes, not objects"):
        manager.open(tensors, "npz")
    done = torch2grid("m.npz", "--loader", "state-dict", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "torch2grid: loader 'state-dict' opens objects, not bytes\n")


def test_a_source_that_a_caller_made_opens_as_it_is(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones(3))
    STORE["a.npy"] = (tmp_path / "a.npy").read_bytes()
    try:
        (tensor,) = shared().open(MemorySource("a.npy")).values()
        np.testing.assert_array_equal(tensor.numpy(), np.ones(3))
    finally:
        STORE.clear()


def test_a_loader_that_fails_is_named(registered: PluginManager) -> None:
    with pytest.raises(PluginError, match="loader 'tree': load: AttributeError"):
        t2g.load(Tree(w=3))


def test_what_it_accepts_is_one_of_two() -> None:
    manager = PluginManager()
    for item in (type("Odd", (TreeLoader,), {"accepts": "all", "__doc__": "odd"}), Lazy("x:Y", "odd", "odd", accepts="all")):
        plugin = type("Brings", (), {"torch2grid_loaders": hookimpl(_giving(item))})()
        record = manager.register(plugin)
        assert record.provides("loader") == []
        assert "accepts all, neither 'bytes' nor 'objects'" in record.error.replace("'all'", "all")


def _giving(item: Any) -> Any:
    def torch2grid_loaders(self: Any) -> list[Any]:
        return [item]

    return torch2grid_loaders


def test_no_command_and_no_import_brings_torch_along(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", a=np.ones((3, 3)))
    script = (
        "import sys, torch2grid as t2g; t2g.load('m.npz'); t2g.load({'a': t2g.load('m.npz')['a'].numpy()});"
        "print(sorted({'torch', 'torch2grid_builtin._loaders.live'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "['torch2grid_builtin._loaders.live']\n"
    done = torch2grid("plugins", "torch2grid-builtin", cwd=tmp_path)
    brought = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("  loader")]
    assert {"module", "state-dict"} <= {*brought}
