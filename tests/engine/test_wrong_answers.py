"""Views that answer with something else: whose fault it is, and what was wrong, before anything is drawn of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from tests.support.views.drawing import checkpoint_of, drawn_of

from torch2grid_builtin._transformers.flatten import Flatten
from torch2grid_core import GridTransformer, Need, NotDrawable, Page, PluginError, View
from torch2grid_core.grids import matrix_layout
from torch2grid_core.measures import Of, Raster, Summary, Transformed


def asked(needs: Any) -> Any:
    """The needs; those that cannot even be made are made where a view would."""
    return needs() if callable(needs) else needs


class Answers(View):
    """Answers what it was made with."""

    name = "answers"

    def __init__(self, **answers: Any) -> None:
        self.answers = answers

    def subject(self, checkpoint: Any, run: Any) -> Any:
        return self.answers.get("subject", checkpoint)

    def needs(self, checkpoint: Any, run: Any) -> Any:
        return asked(self.answers.get("needs", {}))

    def tensor_needs(self, tensor: Any, run: Any) -> Any:
        return asked(self.answers.get("tensor_needs", {}))

    def tensor_pages(self, tensor: Any, results: Any, run: Any) -> Any:
        return self.answers.get("tensor_pages", ())

    def pages(self, checkpoint: Any, results: Any, run: Any) -> Any:
        return self.answers.get("pages", ())


@dataclass
class Loose(Need[None]):
    """A measure that can change, so that it has no hash."""

    bins: int = 8

    def collector(self, tensors: Any) -> Any:
        raise AssertionError("nothing is measured")


@dataclass
class LooseOnes(GridTransformer):
    """ones, by a transformer without a hash"""

    name = "loose_ones"
    side: int = 3

    def transform(self, tensors: Any) -> Any:
        return np.ones((self.side, self.side))


CHECKPOINT = checkpoint_of({"w": np.ones((4, 6), np.float32)})
LAYOUT = matrix_layout("w", (4, 6), 8)
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "subject": ({"subject": {}}, "subject returned a dict, not a Checkpoint"),
    "no mapping": ({"needs": ["summary"]}, "needs returned a list, not a mapping of key to need"),
    "no need": ({"needs": {"s": "summary"}}, "needs: 's' is str, not a need such as Summary"),
    "reduction": (
        {"tensor_needs": lambda: {"r": Raster(LAYOUT, "median")}},
        "tensor_needs: .*by 'median'; valid: mean",
    ),
    "layout": (
        {"tensor_needs": lambda: {"r": Raster((4, 6))}},
        "layout of a Raster is tuple, not a Layout",
    ),
    "inside another": (
        {"tensor_needs": lambda: {"r": Of("w", Raster(None))}},
        "layout of a Raster is NoneType, not",
    ),
    "whole": ({"tensor_needs": {"t": Transformed(Flatten())}}, "'t' is Transformed, which is of the whole: name it in needs"),
    "transformer": ({"needs": lambda: {"t": Transformed("spiral")}}, "needs: .*the transformer is str, not a GridTransformer"),
    "list": ({"needs": {"s": Summary(thresholds=[1e-3])}}, "'s': Summary has no hash .TypeError: unhashable type: 'list'"),  # type: ignore[arg-type]
    "list inside": ({"tensor_needs": {"s": Of("w", Summary([1e-3]))}}, "tensor_needs: 's': Of has no hash"),  # type: ignore[arg-type]
    "not frozen": ({"tensor_needs": {"m": Loose()}}, "tensor_needs: 'm': Loose has no hash .*'Loose'"),
    "tensor's page": ({"tensor_needs": {"s": Summary()}, "tensor_pages": ["page"]}, "tensor_pages yields str, not a Page"),
    "page": ({"pages": [None]}, "pages yields NoneType, not a Page"),
    "name": ({"pages": (Page(each, "t", ()) for each in [b"x"])}, "the name of a page is of type bytes, not a text"),
    "panels": (
        {"pages": (Page("x", "t", each) for each in ["panels"])},
        "page 'x': panels: a sequence of panels is needed, not the text",
    ),
    "panel": (
        {"pages": (Page("x", "t", (each,)) for each in ["text"])},
        "page 'x': one of its panels is of type str, which has no as_table",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_it_is_an_error_of_the_view(case: str) -> None:
    answers, told = WRONG[case]
    with pytest.raises(PluginError, match=told) as found:
        list(drawn_of(CHECKPOINT, [Answers(**answers)]))
    assert "answers" in str(found.value)


def test_the_others_go_on_without_it() -> None:
    failed: list[PluginError] = []
    good = Answers(tensor_needs={"s": Summary()}, pages=[Page("good", "t", ())])
    views = [Answers(subject=3), good, Answers(pages=[7]), Answers(tensor_needs={"s": Summary()}, tensor_pages=[7])]
    drawn = list(drawn_of(CHECKPOINT, views, failed=lambda view, error: failed.append(error)))
    assert [each.page.name for each in drawn] == ["good"]
    assert len(failed) == 3


def test_nothing_to_draw_is_said() -> None:
    for checkpoint, views in ((checkpoint_of({}), []), (CHECKPOINT, [Answers(subject=checkpoint_of({}))])):
        with pytest.raises(NotDrawable, match="no tensor is left"):
            list(drawn_of(checkpoint, views))


def test_the_others_go_on_without_what_has_no_hash() -> None:
    failed: list[PluginError] = []
    good = Answers(tensor_needs={"s": Summary()}, pages=[Page("good", "t", ())])
    bad = [Answers(needs={"s": Summary(thresholds=[1e-3])}), Answers(tensor_needs={"m": Loose()})]  # type: ignore[arg-type]
    drawn = list(drawn_of(CHECKPOINT, [bad[0], good, bad[1]], failed=lambda view, error: failed.append(error)))
    assert [each.page.name for each in drawn] == ["good"]
    assert len(failed) == 2


def test_a_transformer_without_a_hash_is_the_error_of_the_transformer() -> None:
    for need in (lambda: Transformed(LooseOnes()), lambda: Of("w", Transformed(LooseOnes()))):
        with pytest.raises(PluginError, match=r"loose_ones.*has no hash .*'LooseOnes'.*frozen=True\)"):
            list(drawn_of(CHECKPOINT, [Answers(needs=lambda need=need: {"t": need()})]))
