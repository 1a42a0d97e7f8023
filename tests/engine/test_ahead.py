"""Work in workers: results in the order of the file, the largest tensor begun first, overviews made ready away from here."""

from __future__ import annotations

import os
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from tests.support.views.drawing import Drawn, checkpoint_of, drawn_of

from torch2grid_builtin._views.histogram import HistogramView
from torch2grid_builtin._views.layers import LayersView
from torch2grid_core import Checkpoint, Page, PluginManager, View
from torch2grid_core.measures import Summary
from torch2grid_core.pages import Text

RNG = np.random.default_rng(0)
ARRAYS = {f"h.{i}.weight": RNG.standard_normal((30 + i, 40)).astype(np.float32) for i in range(50)}


class Watched(Executor):
    """Runs nothing until it is asked for a result, and remembers what it was given."""

    def __init__(self) -> None:
        self.given: list[tuple] = []

    def submit(self, function, /, *arguments, **options):
        self.given.append((function.__name__, *arguments))
        future: Future = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(function(*arguments, **options))
        except Exception as error:
            future.set_exception(error)
        return future


def stamped(page: Page, view: View) -> tuple[Page, int]:
    return page, os.getpid()


def drawn_by(executor, arrays=ARRAYS, views=None, prepare=stamped):
    checkpoint = arrays if isinstance(arrays, Checkpoint) else checkpoint_of(arrays)
    views = views or [LayersView(), HistogramView()]
    return list[Drawn](drawn_of(checkpoint, views, prepare=prepare, executor=executor))


def numbers(page: Page):
    return [getattr(panel, "counts", None) if not hasattr(panel, "grid") else panel.grid.values for panel in page.panels]


def in_a_file(folder, arrays):
    """Tensors that workers can read for themselves, in the order of *arrays*."""
    np.savez(folder / "model.npz", **arrays)
    return PluginManager.discover().open(str(folder / "model.npz"))


def test_pages_and_their_order_do_not_depend_on_the_workers(tmp_path):
    checkpoint = in_a_file(tmp_path, ARRAYS)
    alone = drawn_by(None, checkpoint)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes, ThreadPoolExecutor(3) as threads:
        for executor in (processes, threads):
            found = drawn_by(executor, checkpoint)
            assert [each.page.name for each in found] == [each.page.name for each in alone]
            for here, there in zip(alone, found, strict=True):
                assert len(here.page.panels) == len(there.page.panels)
                for one, other in zip(numbers(here.page), numbers(there.page), strict=True):
                    np.testing.assert_array_equal(one, other)
            if executor is processes:
                assert all(each.made != os.getpid() for each in found)
                overviews = [each for each in found if not each.page.folder]
                assert len(overviews) >= 2
                assert all(each.page.panels for each in overviews)  # whoever looks at them finds them whole


def test_the_largest_tensors_are_begun_first_wherever_they_are(tmp_path):
    arrays = {**ARRAYS, "last": np.ones((2000, 300), np.float32), "larger": np.ones((3000, 300), np.float32)}
    executor = Watched()
    found = drawn_by(executor, in_a_file(tmp_path, arrays), [LayersView(overview=False)])
    names = [task.tensors[0].name for each in executor.given if each[0] == "perform" for task in each[1]]
    assert names[:2] == ["larger", "last"]
    assert names[2:] == list(ARRAYS)
    assert [each.page.name for each in found] == list(arrays)


class Stubborn:
    """A panel of a plugin that cannot be sent anywhere."""

    def __init__(self) -> None:
        self.function = lambda: 1

    def as_table(self):
        return Text("here").as_table()


class StubbornView(View):
    """Draws pages that stay where they are."""

    name = "stubborn"

    def tensor_needs(self, tensor, run):
        return {"summary": Summary()}

    def tensor_pages(self, tensor, results, run):
        return [Page(tensor.name, f"{results['summary'].count}", (Stubborn(),), folder="stubborn")]

    def pages(self, checkpoint, results, run):
        return [Page("stubborn", "t", (Stubborn(),))]


def test_a_page_that_cannot_travel_is_made_ready_here():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        found = drawn_by(executor, {"a": np.ones((3, 3), np.float32)}, [StubbornView()])
    assert [each.page.title for each in found] == ["9", "t"]
    assert found[1].page.panels[0].function() == 1
    assert found[1].made == os.getpid()


def test_a_tensor_whose_page_cannot_travel_is_drawn_here(tmp_path):
    checkpoint = in_a_file(tmp_path, {"a": np.ones((3, 3), np.float32), "b": np.ones(4, np.float32)})
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        found = drawn_by(executor, checkpoint, [StubbornView()])
    assert [each.page.title for each in found] == ["9", "4", "t"]
    assert {each.made for each in found} == {os.getpid()}


def failing(page: Page, view: View) -> tuple[Page, None]:
    raise ValueError(f"no {page.name}")


def test_a_failure_in_a_worker_is_the_failure_of_the_run():
    with ThreadPoolExecutor(1) as executor, pytest.raises(ValueError, match="no layer_overview"):
        drawn_by(executor, {"a": np.ones((3, 3), np.float32)}, [LayersView(each=False)], failing)


class FailsAt(LayersView):
    """Fails at one tensor, after a page of it."""

    name = "fails_at"

    def tensor_pages(self, tensor, results, run):
        yield from super().tensor_pages(tensor, results, run)
        if tensor.name == "h.7.weight":
            raise RuntimeError("no more")


def test_what_a_view_drew_before_it_failed_does_not_depend_on_the_workers(tmp_path):
    arrays = {**ARRAYS, "last": np.ones((2000, 300), np.float32)}  # begun before all others
    checkpoint, found = in_a_file(tmp_path, arrays), []
    with ThreadPoolExecutor(2) as threads:
        for executor in (None, threads, Watched()):
            pages, failures = [], []
            for drawn in drawn_of(
                checkpoint,
                [FailsAt(), HistogramView()],
                executor=executor,
                failed=lambda view, error, failures=failures: failures.append(error),
            ):
                pages.append((drawn.view.name, drawn.page.name))
            assert len(failures) == 1
            found.append(pages)
    assert [page for view, page in found[0] if view == "fails_at"] == [f"h.{i}.weight" for i in range(8)]
    assert found[1] == found[2] == found[0]
