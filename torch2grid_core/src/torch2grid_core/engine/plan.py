"""What a run is going to do: the needs of all views united, and which result goes to whom."""

from __future__ import annotations

from collections.abc import Sequence

from torch2grid_core.data.checkpoint import Checkpoint
from torch2grid_core.engine.asking import STOPS, Stop, needs_of
from torch2grid_core.engine.seen import Seen, Shown
from torch2grid_core.engine.tasks import Draw, Drawn, Outcome, Prepare, Task
from torch2grid_core.engine.whole import Whole
from torch2grid_core.kinds.view import View
from torch2grid_core.needs import Need, Of, Raster, Transformed
from torch2grid_core.pictures.page import Page
from torch2grid_core.run import Run
from torch2grid_core.summary.not_finite import NotFiniteCount


class Plan:
    """The needs of all views, united: which tensor is read for what, and who gets which result.

    stopped: the error of each view that failed or declined, by its place in *views*; it is left out from then on.
    """

    def __init__(self, checkpoint: Checkpoint, views: Sequence[View], run: Run, prepare: Prepare) -> None:
        self.checkpoint, self.views, self.run, self.prepare = checkpoint, views, run, prepare
        self.stopped: dict[int, Stop] = {}
        self.of_tensor: list[dict[str, dict[str, Need]]] = [{} for _ in views]
        self.of_whole: list[dict[str, Need]] = [{} for _ in views]
        self.kept: dict[Need, dict[str, object]] = {}  # per-tensor needs of the overviews → results by tensor
        self.wholes: dict[Need, Whole] = {}
        self._not_finite: dict[str, NotFiniteCount] = {}
        self._told: list[set[str]] = [set() for _ in views]  # tensors that pages were drawn for, or say they show
        self._drew: set[int] = set()
        for index, view in enumerate(views):
            try:
                by_tensor = {name: needs_of(view, view.tensor_needs, each, run) for name, each in checkpoint.items()}
                of_whole = needs_of(view, view.needs, checkpoint, run, whole=True)
                wholes = {need: self._whole(need) for need in of_whole.values() if _is_of_whole(need)}
            except STOPS as error:
                self.stopped[index] = error
                continue
            self.of_tensor[index], self.of_whole[index] = by_tensor, of_whole
            self.wholes.update(wholes)
            self.kept.update({need: {} for need in of_whole.values() if need not in wholes})

    def _whole(self, need: Need) -> Whole:
        """The grid that *need* waits for, one for all views. Raises what its transformer does."""
        member, inner = (need.member, need.need) if isinstance(need, Of) else ("", need)
        assert isinstance(inner, (Raster, Transformed))
        return self.wholes.get(need) or Whole(inner, self.checkpoint, member)

    @property
    def active(self) -> list[tuple[int, View]]:
        """The views that have not stopped, with their places."""
        return [(index, view) for index, view in enumerate(self.views) if index not in self.stopped]

    def stop(self, index: int, error: Stop) -> None:
        """Leave a view out from now on. The first error is kept."""
        self.stopped.setdefault(index, error)

    def task(self, name: str) -> Task:
        """The reading and drawing of one tensor: every view's needs, each once."""
        kept: dict[Need, None] = dict.fromkeys(self.kept)
        for whole in self.wholes.values():
            if name in whole.shares:
                kept[whole.shares[name]] = None
                if whole.summary:
                    kept[whole.summary] = None
        draws = [Draw(index, view, self.of_tensor[index].get(name, {})) for index, view in self.active]
        return Task(self.checkpoint[name], tuple(kept), tuple(draw for draw in draws if draw.needs), self.run, self.prepare)

    def take(self, name: str, outcome: Outcome) -> list[Drawn]:
        """Keep what the overviews wait for, and which views stopped; the pages of those that had not before this tensor.

        A worker may have drawn later tensors for a view that has stopped since: one process would not have.
        """
        drawn = []
        for index, each in outcome.drawn:
            if index not in self.stopped:
                self._told[index].add(name)
                self._drew.add(index)
                drawn.append(each)
        self._not_finite.update(outcome.not_finite)
        for index, error in outcome.stops:
            self.stop(index, error)
        for need, by_tensor in self.kept.items():
            by_tensor[name] = outcome.results[need]
        for whole in self.wholes.values():
            whole.take(name, outcome.results)
        return drawn

    def overview_results(self, index: int) -> dict[str, object]:
        """The results of a view's ``needs`` under its keys. Raises ``PluginError`` where one could not be had."""
        found: dict[str, object] = {}
        for key, need in self.of_whole[index].items():
            found[key] = self.wholes[need].grid(self.views[index]) if need in self.wholes else self.kept[need]
        return found

    def look(self, index: int, page: Page) -> Page:
        """Note which tensors an overview of a view shows, where it says so; the page itself."""
        tensors = page.about.get("tensors")
        if isinstance(tensors, (list, tuple)):
            self._told[index].update(each for each in tensors if isinstance(each, str))
        self._drew.add(index)
        return page

    def seen(self) -> Seen:
        """What the run saw, once it is over."""
        found = Seen(dict(self._not_finite))
        for whole in self.wholes.values():
            found.not_finite.update(whole.not_finite)
        names = frozenset(self.checkpoint)
        for index, view in self.active:
            told = set(self._told[index])
            for need in self.of_whole[index].values() if index in self._drew else ():
                told.update(self.wholes[need].shares if need in self.wholes else ())
            known = told or index not in self._drew
            found.shown.append(Shown(view.name, frozenset(told) if known else None, names))
        return found


def _is_of_whole(need: Need) -> bool:
    return isinstance(need.need if isinstance(need, Of) else need, (Raster, Transformed))
