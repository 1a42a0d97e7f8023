"""The option grammar and how values get their types."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pytest
from hypothesis import given, strategies as st

from torch2grid_core import Checkpoint, LoadError, PluginManager, UsageError, View
from torch2grid_core._plugins.options import build, options_of, split_spec


@dataclass(frozen=True)
class Sample:
    name: ClassVar[str] = "sample"
    clockwise: bool = field(default=True, metadata={"help": "which way"})
    turns: int = 3
    share: float = 0.5
    per: Literal["model", "tensor"] = "model"
    label: str | None = None
    sizes: tuple[int, ...] = ()


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("spiral", ("spiral", {})),
        ("spiral:", ("spiral", {})),
        ("spiral:clockwise=false", ("spiral", {"clockwise": "false"})),
        ('x:a="quoted, value",b=2', ("x", {"a": "quoted, value", "b": "2"})),
        (r'x:a="she said \"no\""', ("x", {"a": 'she said "no"'})),
        ("dist/x: a = 1 , b = two words ", ("dist/x", {"a": "1", "b": "two words"})),
        ("x:path=C:/a=b", ("x", {"path": "C:/a=b"})),
    ],
)
def test_grammar(spec: str, expected: tuple[str, dict[str, str]]) -> None:
    assert split_spec(spec) == expected


@pytest.mark.parametrize("spec", ["", ":a=1", "x:a", "x:=1", "x:a=1,a=2", 'x:a="open', 'x:a="closed"y'])
def test_bad_grammar_is_a_usage_error(spec: str) -> None:
    with pytest.raises(UsageError):
        split_spec(spec)


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.text(max_size=20), max_size=4))
def test_quoting_carries_any_text(pairs: dict[str, str]) -> None:
    escaped = {key: value.replace("\\", "\\\\").replace('"', '\\"') for key, value in pairs.items()}
    spec = "name:" + ",".join(f'{key}="{value}"' for key, value in escaped.items())
    assert split_spec(spec) == ("name", pairs)


def test_values_get_the_types_of_their_fields() -> None:
    text = {"clockwise": "No", "turns": "7", "share": "1e-3", "per": "tensor", "label": "none", "sizes": "1, 2"}
    assert build(Sample, text, "it") == Sample(False, 7, 1e-3, "tensor", None, (1, 2))
    assert build(Sample, {"turns": 7, "share": 1, "label": "x", "sizes": [4]}, "it") == Sample(True, 7, 1.0, "model", "x", (4,))


@pytest.mark.parametrize(
    ("given_options", "told"),
    [
        ({"clockwize": "1"}, "its options: clockwise, turns, share, per, label, sizes"),
        ({"clockwise": "maybe"}, "expected true or false"),
        ({"turns": "2.5"}, "expected a whole number"),
        ({"turns": True}, "expected a whole number"),
        ({"per": "layer"}, "expected one of model, tensor"),
        ({"sizes": "1,x"}, "expected a whole number"),
    ],
)
def test_wrong_values_say_what_was_expected(given_options: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        build(Sample, given_options, "transformer 'sample'")


def test_options_carry_help_and_default() -> None:
    options = options_of(Sample)
    assert list(options) == ["clockwise", "turns", "share", "per", "label", "sizes"]
    assert (options["clockwise"].help, options["clockwise"].default) == ("which way", True)
    assert options["per"].type_text == "one of model, tensor"


@dataclass(frozen=True)
class Beside(View):
    """a view of a model beside another"""

    name: ClassVar[str] = "beside"

    other: Checkpoint | None = field(default=None, metadata={"help": "the other"}, compare=False)


def test_an_option_that_is_a_checkpoint_is_a_location_which_is_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones(3, np.float32))
    manager = PluginManager.discover(third_party=False)
    manager.register(Beside)
    held = manager.open(tmp_path / "a.npy")
    assert manager.create("view", "beside").other is None
    assert manager.create("view", "beside:other=").other is None
    for given_as in (f"beside:other={tmp_path}/a.npy", {"beside": {"other": tmp_path / "a.npy"}}, {"beside": {"other": held}}):
        other = manager.create("view", given_as).other
        assert isinstance(other, Checkpoint)
        assert [tensor.shape for tensor in other.values()] == [(3,)]
    with pytest.raises(LoadError, match="missing"):
        manager.create("view", f"beside:other={tmp_path}/missing.npy")
    with pytest.raises(UsageError, match="has no option 'another'"):
        manager.create("view", "beside:another=x")
