"""Things that are added to a manager by hand: which one a name means, and what is refused before it is called."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.tools import DIGITS
from tests.support.views.drawing import checkpoint_of

from torch2grid_core import (
    Checkpoint,
    GridTransformer,
    Lazy,
    Loader,
    NotDrawable,
    PluginError,
    PluginManager,
    Renderer,
    TensorFilter,
    Torch2GridError,
    UsageError,
    hookimpl,
)
from torch2grid_core._selection import select


class First(Renderer):
    """writes art"""

    name = "first"
    formats = ("art", "ink")

    def render(self, page: Any, target: Any, style: Any) -> None:
        target.write(b"first")


class Second(First):
    """writes art, too"""

    name = "second"
    formats = ("art",)


class Flagged(TensorFilter):
    """has a flag and no option"""

    name = "flagged"
    flag = "X"


def test_a_format_of_two_renderers_wants_a_name() -> None:
    manager = PluginManager()
    manager.add(First())
    manager.add(Second())
    assert manager.formats() == ["art", "ink"]
    assert manager.renderer_for("ink").name == "first"
    assert manager.renderer_for("art", "second").name == "second"
    with pytest.raises(UsageError, match="format 'art' is written by first and second; say which with --renderer first"):
        manager.renderer_for("art")
    with pytest.raises(UsageError, match="unknown format 'inc'; did you mean 'ink'"):
        manager.renderer_for("inc")


def test_a_manager_without_the_batteries_says_what_is_missing() -> None:
    manager = PluginManager()
    with pytest.raises(UsageError, match="unknown view 'grid'; none is installed"):
        manager.find("view", "grid")
    with pytest.raises(Torch2GridError, match="no loader is installed; pip install torch2grid brings"):
        manager.open(DIGITS)
    with pytest.raises(UsageError, match="int is not one of the kinds that a plugin brings"):
        manager.add(3)
    manager.add(Flagged())
    with pytest.raises(PluginError, match="takes a value and has no option for it"):
        manager.create("filter", {"flagged": "x"})
    off = PluginManager.discover(third_party=False, disabled=["torch2grid-builtin"])
    assert off.names("view") == {}


class Bare(GridTransformer):
    """brought twice"""

    name = "bare"

    def transform(self, tensors: Any) -> Any:
        return np.zeros((2, 2))


def brings(*items: Any, hook: str = "torch2grid_transformers") -> Any:
    """A plugin object whose *hook* gives *items*."""

    def give(self: Any) -> Any:
        return list(items)

    give.__name__ = hook
    return type("Made", (), {hook: hookimpl(give)})()


def renamed(name: Any) -> type:
    return type("Renamed", (Bare,), {"name": name, "__doc__": "renamed"})


WRONG: dict[str, tuple[Any, str, str]] = {
    "two of a name": (brings(Bare, Bare), "transformer", "two of the name 'bare'|'bare' twice"),
    "no class": (brings(7), "transformer", "yields 7, not a class"),
    "an instance": (brings(Bare()), "transformer", "yields a Bare, not a class"),
    "name of none": (brings(renamed(None)), "transformer", "name is None, not a text"),
    "name with a blank": (brings(renamed("a b")), "transformer", "a name holds no space"),
    "lazy path": (brings(Lazy("module", "x", "")), "transformer", "not 'package.module:Class'"),
    "lazy summary": (brings(Lazy("m:C", "x", 5)), "transformer", "the summary of 'x' is 5, not a text"),  # type: ignore[arg-type]
    "formats": (
        brings(type("Mute", (First,), {"formats": (), "__doc__": "m"}), hook="torch2grid_renderers"),
        "renderer",
        "formats of renderer Mute are a tuple, not a tuple of texts",
    ),
    "other kind": (brings(First), "transformer", "First"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_a_hook_may_not_give(case: str) -> None:
    plugin, kind, told = WRONG[case]
    manager = PluginManager()
    record = manager.register(plugin, "made")
    assert manager.names(kind) == {}
    assert any(told_part in record.error for told_part in told.split("|")), record.error
    assert any("made" in line for line in manager.problems())


class Wrong(Loader):
    """gives what is no tensor"""

    name = "wrong"
    gives: Any = None

    def sniff(self, source: Any) -> int:
        return 2

    def load(self, source: Any) -> Any:
        return self.gives


@pytest.mark.parametrize(("gives", "told"), [({"w": 1}, "load returned a dict, not a Checkpoint")])
def test_what_a_loader_may_not_give(gives: Any, told: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    manager = PluginManager()
    manager.register(type("Given", (Wrong,), {"gives": gives, "__doc__": "given"}))
    with pytest.raises(PluginError, match=told):
        manager.open(tmp_path / "x")


@dataclass(frozen=True)
class Keeps(TensorFilter):
    """answers what it was made with"""

    name = "keeps"
    answer: Any = None

    def apply(self, checkpoint: Checkpoint) -> Any:
        return self.answer


def test_what_is_left_to_draw() -> None:
    counters = checkpoint_of({"bn.num_batches_tracked": np.array([3]), "step": np.array(7)})
    selection = select(counters)
    assert list(selection.checkpoint) == ["bn.num_batches_tracked", "step"]
    assert selection.remarks == ["nothing but bookkeeping is there, so it is drawn"]
    mixed = checkpoint_of({"w": np.ones(3, np.float32), "step": np.array(7), "none": np.ones((0, 2), np.float32)})
    chosen = select(mixed).checkpoint
    assert list(chosen) == ["w"]
    assert {(skip.name, skip.reason) for skip in chosen.skipped} == {("step", "bookkeeping"), ("none", "empty")}
    assert list(select(mixed, include_buffers=True).checkpoint) == ["w", "step", "none"]
    empty = select(checkpoint_of({"none": np.ones((0, 2), np.float32)}))
    assert (list(empty.checkpoint), empty.hidden, empty.remarks) == (["none"], {}, [])
    with pytest.raises(NotDrawable, match="filter 'keeps' keeps none of 3 tensors"):
        select(mixed, filters=[Keeps(mixed.select([]))])
    with pytest.raises(PluginError, match="apply returned a list, not a Checkpoint"):
        select(mixed, filters=[Keeps([])])
