"""The experts of mixtures: maps of layers and experts, which experts are alike, and how the router weighs them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from torch2grid_builtin._compare.figures import by_kind, by_layer_and_kind, in_colors, layer_names
from torch2grid_builtin._experts.figures import ExpertFigures, Experts
from torch2grid_builtin._experts.finding import Mixture, Projection, mixtures
from torch2grid_builtin._views.describing import figure_text, formats_of, source_name
from torch2grid_core import Checkpoint, Need, NotDrawable, Page, Settings, View
from torch2grid_core.measures import Profile, UnitProfile
from torch2grid_core.pages import Bar, Heatmap, Table, Text
from torch2grid_core.text import counted, shape_text, visible

Array = np.ndarray[Any, Any]
FOLDER, OVERVIEW = "experts", "experts_overview"
COLUMNS = (
    *("Layer", "Expert", "Matrix", "Shape", "‖W‖", "σ₁", "Stable rank", "Dead", "Most alike", "Cosine", "Router gain", "What"),
)
FORMATS = {
    **dict.fromkeys(("‖W‖", "σ₁", "Router gain"), ".4g"),
    "Stable rank": ".2f",
    "Dead": ".2%",
    "Cosine": ".4f",
}
ROUTER = "Router gain: the norm of each expert's weights there"
ALIKE = "cosine to the expert most alike"
GAINS, DEAD = "router gain", "dead share"


@dataclass(frozen=True)
class ExpertsView(View):
    """Experts of mixtures: a page for each layer, a table of all, and maps of layers × experts."""

    name = "experts"
    uses_transformer = False

    each: bool = field(default=True, metadata={"help": "draw a page for each layer"})
    overview: bool = field(default=True, metadata={"help": "draw the overview and print the table"})

    def subject(self, checkpoint: Checkpoint, run: Settings) -> Checkpoint:
        """The tensors. Raises ``NotDrawable`` where there are no experts."""
        if not mixtures(checkpoint):
            sliced = any(tensor.taken is not None for tensor in checkpoint.values())
            none = "this slice leaves no matrices of two experts" if sliced else "no weights of experts were found"
            raise NotDrawable(f"{checkpoint.source}: --experts shows mixtures of experts, and {none}")
        return checkpoint

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Need[Any]]:
        found = mixtures(checkpoint)
        if not (self.each or self.overview):
            return {}
        projections = tuple(part for each in found for part in (*each.projections, *each.shared))
        routers = [each.router[0] for each in found if each.router is not None]
        needs: dict[str, Need[Any]] = {"experts": Experts(projections, run.threshold)}
        return {**needs, "routers": Profile().about(routers)} if routers else needs

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterator[Page]:
        figures: Mapping[Any, ExpertFigures] = results.get("experts", {})
        layers = [_Layer(each, figures, results.get("routers", {})) for each in mixtures(checkpoint)]
        if self.each:
            for layer in layers:
                yield layer.page(run)
        if not self.overview:
            return
        title = run.title or f"Experts of {source_name(checkpoint)}"
        about = {"tensors": list(dict.fromkeys(name for layer in layers for name in layer.mixture.names))}
        rows = tuple(row for layer in layers for row in layer.rows())
        dead = f"dead: rows and columns of which every |weight| < {run.threshold:g}"
        yield Page("experts", title, (Table(COLUMNS, rows, dead, formats_of(COLUMNS, FORMATS)),), kind="table", about=about)
        yield Page(OVERVIEW, title, tuple(_overview(layers)), columns=2, about=about)


class _Layer:
    """A mixture with its figures. gains: by expert, NaN where they are not known; ``None`` without a router."""

    def __init__(self, mixture: Mixture, figures: Mapping[Any, ExpertFigures], routers: Mapping[str, UnitProfile]) -> None:
        self.mixture, self.figures = mixture, figures
        self.experts = mixture.experts
        self.place = {expert: place for place, expert in enumerate(self.experts)}
        self.gains: Array | None = None
        if mixture.router is not None:
            name, axis = mixture.router
            found = routers[name].input_norm if axis else routers[name].output_norm
            assert found is not None
            self.gains = found[: len(self.experts)] if len(found) >= len(self.experts) else None
        self.cosine = self._together()

    def of(self, projection: Projection) -> ExpertFigures:
        return self.figures[projection.key]

    def spread(self, projection: Projection, values: Array) -> Array:
        """*values* of the members of a projection by the place of their expert."""
        found = np.full(len(self.experts), np.nan)
        found[[self.place[each.expert] for each in projection.members]] = values
        return found

    def figure(self, name: str, figure: Callable[[ExpertFigures], Array]) -> tuple[Array, Array] | None:
        """A figure of the matrix *name* by expert, and where NaN or Inf hide it; ``None`` in a layer without such a matrix."""
        part = next((each for each in self.mixture.projections if each.name == name), None)
        return None if part is None else (self.spread(part, figure(self.of(part))), self.lost(part))

    def lost(self, projection: Projection) -> Array:
        """Which experts hold NaN or Inf there."""
        found = np.zeros(len(self.experts), bool)
        for each, told in zip(projection.members, self.of(projection).lost, strict=True):
            found[self.place[each.expert]] |= bool(told)
        return found

    @property
    def any_lost(self) -> Array:
        return np.asarray(np.any([self.lost(each) for each in self.mixture.projections], axis=0))

    def _together(self) -> Array:
        """The cosine of all matrices of two experts together; NaN where one is not known, or zero."""
        total = np.zeros((len(self.experts),) * 2)
        squares = np.zeros(len(self.experts))
        known = [self.of(each) for each in self.mixture.projections]
        largest = max((float(np.nanmax(each.norms)) for each in known if not np.isnan(each.norms).all()), default=0.0) or 1.0
        for projection, figures in zip(self.mixture.projections, known, strict=True):
            norms = self.spread(projection, figures.norms) / largest
            cosine = np.full(total.shape, np.nan)
            places = [self.place[each.expert] for each in projection.members]
            cosine[np.ix_(places, places)] = figures.cosine
            zero = norms == 0
            cosine[zero], cosine[:, zero] = 0.0, 0.0
            total += norms[:, None] * norms * cosine
            squares += norms**2
        with np.errstate(divide="ignore", invalid="ignore"):
            found = total / np.sqrt(squares[:, None] * squares)
        found[~np.isfinite(found)] = np.nan
        return np.asarray(found)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        for shared, parts in ((False, self.mixture.projections), (True, self.mixture.shared)):
            for part in parts:
                figures = self.of(part)
                ranks = figures.stable_rank
                for at, member in enumerate(part.members):
                    alike, cosine = (None, None) if shared else self._most_alike(figures.cosine, at, part)
                    gain = None if shared or self.gains is None else float(self.gains[self.place[member.expert]])
                    yield (
                        visible(self.mixture.module),
                        "shared" if shared else member.expert,
                        visible(part.name),
                        shape_text(figures.shape),
                        *(None if math.isnan(each[at]) else float(each[at]) for each in (figures.norms, figures.top, ranks)),
                        None if math.isnan(figures.dead[at]) else float(figures.dead[at]),
                        alike,
                        cosine,
                        gain,
                        figures.lost[at] or ("" if figures.norms[at] else "all zero"),
                    )

    @staticmethod
    def _most_alike(cosine: Array, at: int, part: Projection) -> tuple[int | None, float | None]:
        others = cosine[at].copy()
        others[at] = np.nan
        if np.isnan(others).all():
            return None, None
        most = int(np.nanargmax(others))
        return part.members[most].expert, float(others[most])

    def page(self, run: Settings) -> Page:
        mixture = self.mixture
        facts = [visible(mixture.module or "experts"), counted(len(self.experts), "expert")]
        lost = int(self.any_lost.sum())
        if lost:
            facts.append(f"NaN or Inf in {counted(lost, 'expert')}")
        panels: list[Heatmap | Bar | None] = []
        for part in mixture.projections:
            figures = self.of(part)
            cosine = np.full((len(self.experts),) * 2, np.nan)
            places = [self.place[each.expert] for each in part.members]
            cosine[np.ix_(places, places)] = figures.cosine
            chance = 3 / math.sqrt(math.prod(figures.shape))
            panels.append(self._alike(cosine, self.lost(part), visible(part.name), chance))
        if self.gains is not None:
            labels = tuple(map(str, self.experts))
            flags = {place: "NaN or Inf" for place, gain in enumerate(self.gains) if not math.isfinite(gain)}
            panels.append(
                Bar(
                    labels, self.gains, title="Router gain: the norm of each expert's weights there", ylabel="norm", flags=flags
                )
            )
        title = " · ".join([run.title, *facts] if run.title else facts)
        shown = tuple(panel for panel in panels if panel is not None) or (Text("every expert is zero, or alone"),)
        name = f"{mixture.module or 'mixture'}_experts"
        return Page(name, title, shown, FOLDER, columns=2, about={"tensors": list(mixture.names)})

    def _alike(self, cosine: Array, gone: Array, name: str, chance: float) -> Heatmap | None:
        values = cosine.copy()
        np.fill_diagonal(values, np.nan)
        lost = gone[:, None] | gone
        np.fill_diagonal(lost, False)
        names = [str(each) for each in self.experts]
        return in_colors(
            values,
            lost,
            "cosine",
            title=f"{name}: cosine of each two experts, by chance within ±{figure_text(chance, '.2g')}; no diagonal",
            rows="expert",
            columns="expert",
            row_names=names,
            column_names=names,
            signed=True,
            limits=_limits(values, 2 * chance),
        )


_FIGURES: tuple[tuple[str, Callable[[ExpertFigures], Array]], ...] = (
    ("‖W‖", lambda each: each.norms),
    ("σ₁", lambda each: each.top),
    ("stable rank", lambda each: each.stable_rank),
    (DEAD, lambda each: each.dead),
)


def _overview(layers: Sequence[_Layer]) -> Iterator[Any]:
    """A map of layers × experts for each figure of each matrix; then what is of whole experts, and shared ones."""
    names = list(dict.fromkeys(part.name for layer in layers for part in layer.mixture.projections))
    alive = []
    for name in names:
        for what, figure in _FIGURES:
            found = [layer.figure(name, figure) for layer in layers]
            if what == DEAD and not any(each is not None and ((each[0] > 0) | each[1]).any() for each in found):
                alive.append(visible(name))
                continue
            yield from _map(layers, found, f"{what} of {visible(name)}")
    alike = [(_largest(layer.cosine), layer.any_lost) for layer in layers]
    yield from _map(layers, alike, ALIKE)
    if any(layer.gains is not None for layer in layers):
        gains = [None if each.gains is None else (each.gains, ~np.isfinite(each.gains)) for each in layers]
        yield from _map(layers, gains, GAINS)
    shared = {
        f"{layer.mixture.module}.shared.{part.name}": (float(layer.of(part).norms[0]), layer.of(part).lost[0])
        for layer in layers
        for part in layer.mixture.shared
    }
    if shared:
        norms = {name: shared[name][0] for name in by_kind(list(shared))}
        flags = {name: told for name, (_, told) in shared.items() if told}
        yield from by_layer_and_kind(norms, "‖W‖", "matrix of the shared experts", flags=flags)
    if alive:
        yield Text(f"No row and no column is dead: {', '.join(alive)}.")


def _limits(cosine: Array, least: float = 0.0) -> tuple[float, float]:
    """0 in the middle, and the largest at an end; *least* at least."""
    top = max(float(np.abs(cosine[np.isfinite(cosine)]).max(initial=0.0)), least) or 1.0
    return -top, top


def _largest(cosine: Array) -> Array:
    """Of each expert the cosine to the other that is most alike."""
    others = cosine.copy()
    np.fill_diagonal(others, -np.inf)
    found = np.where(np.isnan(others), -np.inf, others).max(axis=1)
    return np.where(np.isinf(found), np.nan, found)


def _map(layers: Sequence[_Layer], found: Sequence[tuple[Array, Array] | None], what: str) -> Iterator[Heatmap]:
    experts = sorted({expert for layer in layers for expert in layer.experts})
    place = {expert: at for at, expert in enumerate(experts)}
    values, lost = np.full((len(layers), len(experts)), np.nan), np.zeros((len(layers), len(experts)), bool)
    for row, (layer, each) in enumerate(zip(layers, found, strict=True)):
        if each is not None:
            columns = [place[expert] for expert in layer.experts]
            values[row, columns], lost[row, columns] = each
    panel = in_colors(
        values,
        lost,
        "cosine" if what == ALIKE else what,
        title=f"{what}, by layer and expert",
        rows="layer",
        columns="expert",
        row_names=layer_names([layer.mixture.module for layer in layers]),
        column_names=[str(expert) for expert in experts],
        signed=what == ALIKE,
        limits=_limits(values) if what == ALIKE else None,
    )
    if panel is not None:
        yield panel
