"""What some honest files hold and the list of harmless names does not: `docs/safety.md` says what `check` says of each."""

from __future__ import annotations

import array
import sys
import typing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.loaders.opened import opened

GENERIC = "_operator.getitem(typing.List, __builtin__.long)"
HELD: dict[str, tuple[Any, str]] = {
    "array": (array.array("d", [1.0, 2.5]), "calls array.array('d', [1.0, 2.5])"),
    "ufunc": (np.add, "imports numpy.add"),
    "typing.List[int]": (typing.List[int], f"calls {GENERIC}"),  # noqa: UP006 - another class than list[int]
    "list[int]": (list[int], "calls types.GenericAlias(__builtin__.list, (__builtin__.long,))"),
}


@pytest.mark.parametrize("kind", HELD)
def test_it_is_an_error_that_names_what_it_is(kind: str, tmp_path: Path) -> None:
    value, sentence = HELD[kind]
    torch.save({"w": torch.ones(2), "held": value}, tmp_path / "x.pt")
    checkpoint = opened(tmp_path / "x.pt")
    assert checkpoint["w"].numpy().tolist() == [1, 1]
    assert [(action.severity, action.sentence) for action in checkpoint.not_run] == [("error", sentence)]


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="unions are pickled in another way")
def test_an_optional_type_is_a_subscript(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2), "held": typing.Optional[int]}, tmp_path / "x.pt")  # noqa: UP045 - another class than int | None
    found = [action.sentence for action in opened(tmp_path / "x.pt").not_run]
    assert found[0] == "calls _operator.getitem(typing.Union, (__builtin__.long, __builtin__.type(None)))"


def test_names_of_typing_alone_are_none(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2), "held": [typing.Any, typing.List, int]}, tmp_path / "x.pt")  # noqa: UP006
    assert opened(tmp_path / "x.pt").not_run == ()
