"""A view that declines, in whatever it is asked first, is left out and says why; the others go on."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from tests.support.tools import DIGITS, torch2grid
from tests.support.views.drawing import checkpoint_of, drawn_of

from torch2grid_core import GridTransformer, NotDrawable, Page, PluginManager, Settings, View
from torch2grid_core._pictures.layouts import drawable_sizes
from torch2grid_core.measures import Raster, Summary, Transformed

METHODS = ("subject", "tensor_needs", "needs", "tensor_pages", "pages")


class Declines(View):
    """Draws a page of each tensor and an overview, up to the method in which it declines."""

    def __init__(self, where=""):
        self.name, self.where = f"declines_{where}" if where else "draws", where

    def asked(self, method):
        if method == self.where:
            raise NotDrawable(f"nothing for me in {method}")

    def subject(self, checkpoint, run):
        self.asked("subject")
        return checkpoint

    def tensor_needs(self, tensor, run):
        self.asked("tensor_needs")
        return {"summary": Summary()}

    def tensor_pages(self, tensor, results, run):
        self.asked("tensor_pages")
        yield Page(f"{tensor.name} of {self.name}", "", ())

    def needs(self, checkpoint, run):
        self.asked("needs")
        return {"summary": Summary()}

    def pages(self, checkpoint, results, run):
        self.asked("pages")
        yield Page(f"overview of {self.name}", "", ())


def drawn_by(checkpoint, *views, executor=None, run=None):
    told = {}
    drawn = drawn_of(
        checkpoint, views, run, executor=executor, declined=lambda view, error: told.update({view.name: str(error)})
    )
    return [each.page.name for each in drawn], told


CHECKPOINT = checkpoint_of({"a": np.ones(3, np.float32), "b": np.ones(4, np.float32)})
OTHERS = ["a of draws", "b of draws", "overview of draws"]


@pytest.mark.parametrize("method", METHODS)
def test_the_others_draw_all_their_pages_and_the_reason_is_told(method):
    for views in ((Declines(method), Declines()), (Declines(), Declines(method))):
        pages, told = drawn_by(CHECKPOINT, *views)
        assert [page for page in pages if page.endswith("of draws")] == OTHERS
        assert told == {f"declines_{method}": f"nothing for me in {method}"}


@pytest.mark.parametrize("method", METHODS)
def test_where_nobody_is_told_it_is_raised(method):
    pages = []
    for views in ([Declines(method)], [Declines(method), Declines()]):
        with pytest.raises(NotDrawable, match=f"nothing for me in {method}"):
            pages.extend(drawn.page.name for drawn in drawn_of(CHECKPOINT, views))
    assert [page for page in pages if page.endswith("of draws")] == OTHERS


def test_in_a_worker(tmp_path):
    np.savez(tmp_path / "model.npz", **{name: tensor.numpy() for name, tensor in CHECKPOINT.items()})
    checkpoint = PluginManager.discover().open(str(tmp_path / "model.npz"))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        pages, told = drawn_by(checkpoint, Declines("tensor_pages"), Declines(), executor=executor)
    assert pages == OTHERS
    assert told == {"declines_tensor_pages": "nothing for me in tensor_pages"}


class NoRoom(GridTransformer):
    """declines in the middle of the pass"""

    name = "no_room"

    def transform(self, tensors):
        drawable_sizes({})


class OfTheTransformer(Declines):
    def needs(self, checkpoint, run):
        return {"grid": Transformed(run.transformer, run.reduce, 64)}


def test_a_transformer_that_declines_costs_only_the_views_that_want_it():
    view = OfTheTransformer("x")
    pages, told = drawn_by(CHECKPOINT, view, Declines(), run=Settings(transformer=NoRoom()))
    assert pages[-1] == "overview of draws"
    assert told == {view.name: "there are no weights to draw"}


class TooMany(Declines):
    """Its layout is made before a byte is read, and there is none."""

    def tensor_needs(self, tensor, run):
        drawable_sizes({})
        return {"grid": Raster(None)}


def test_nothing_is_read_for_views_that_have_all_declined(monkeypatch):
    checkpoint = checkpoint_of({"a": np.ones(3, np.float32)})
    monkeypatch.setattr(type(checkpoint["a"].storage), "read_into", lambda *arguments: pytest.fail("a read"))
    assert drawn_by(checkpoint, TooMany("x"), Declines("needs")) == (
        [],
        {"declines_x": "there are no weights to draw", "declines_needs": "nothing for me in needs"},
    )


def test_on_the_command_line_of_one_model_and_of_a_batch(tmp_path):
    done = torch2grid(DIGITS, "--layers", "--optimizer", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "grids/layer_overview.png").exists()
    (why,) = [line for line in done.stderr.splitlines() if "--optimizer draws the state" in line]
    assert "optimizer: nothing to draw" not in done.stderr
    alone = torch2grid(DIGITS, "--optimizer", cwd=tmp_path)
    assert (alone.returncode, alone.stderr.splitlines()[-1]) == (1, f"torch2grid: {why}")
    np.savez(tmp_path / "plain.npz", w=np.ones((3, 4), np.float32))
    for views in (("--optimizer", "--conv"), ("--conv", "--optimizer")):
        both = torch2grid("plain.npz", *views, cwd=tmp_path)
        assert both.returncode == 1
        first, last = both.stderr.splitlines()[-2:]
        assert first == "conv: nothing to draw"
        assert last.startswith("torch2grid: plain.npz: --optimizer draws the state")
    batch = torch2grid(DIGITS, DIGITS, "--layers", "--optimizer", cwd=tmp_path)
    assert batch.returncode == 0, batch.stderr
    assert "2 of 2 models drawn" in batch.stderr
