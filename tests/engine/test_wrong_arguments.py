"""Arguments of another type are mistakes of the caller, not of a plugin."""

from __future__ import annotations

import inspect
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from tests.support.views.drawing import checkpoint_of

from torch2grid_core import PluginError, PluginManager, Settings, Torch2GridError, UsageError, check, draw, measure
from torch2grid_core.measures import Summary

CHECKPOINT = checkpoint_of({"w.weight": np.full((2, 3), np.nan, np.float32)})


def test_needs_that_are_none() -> None:
    for needs, told in [
        ({"a": 3}, "measure: 'a' is int, not a need"),
        ([Summary()], "measure: the needs are list, not a mapping of key to need"),
        ({"a": Summary}, "measure: 'a' is "),
    ]:
        with pytest.raises(UsageError, match=told) as raised:
            list(measure(CHECKPOINT, needs))  # type: ignore[arg-type]
        assert not isinstance(raised.value, PluginError)
        assert "plugin" not in str(raised.value)


@pytest.mark.parametrize("function", [measure, draw, check])
def test_what_is_no_checkpoint(function: Any) -> None:
    for model, kind in (("big.pth", "str"), ({"w": np.ones(3)}, "dict")):
        with pytest.raises(UsageError, match=rf"^{function.__name__} takes a Checkpoint, not {kind}; "):
            list(function(model, {}))


def test_settings_come_third_and_the_rest_by_name() -> None:
    rules = [each.create() for each in PluginManager.discover().names("rule").values()]
    plain = check(CHECKPOINT, rules)
    assert "T101" in {each.code for each in plain}
    assert check(CHECKPOINT, rules, Settings()) == plain
    with ThreadPoolExecutor(1) as executor:
        assert check(CHECKPOINT, rules, Settings(), executor=executor) == plain
        for function in (check, draw):
            with pytest.raises(Torch2GridError, match="takes Settings as its third argument, not ThreadPoolExecutor"):
                function(CHECKPOINT, [], executor)  # type: ignore[operator]
    for function in (check, draw):
        names = list(inspect.signature(function).parameters.values())
        assert [each.name for each in names if each.kind is not each.KEYWORD_ONLY][2:] == ["run"]
    assert [each.name for each in inspect.signature(measure).parameters.values() if each.kind is not each.KEYWORD_ONLY] == [
        "checkpoint",
        "needs",
    ]
