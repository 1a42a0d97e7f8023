"""Singular values of every matrix: ranks, the exponent of the tail, and what stands out of independent weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from torch2grid_builtin._compare.figures import by_kind, by_layer_and_kind, together
from torch2grid_builtin._spectra.laws import density
from torch2grid_builtin._spectra.ranks import by_rank
from torch2grid_builtin._spectra.spectra import NOT_FINITE, Part, Spectra, Spectrum, parts
from torch2grid_builtin._views.describing import about, figure_text, formats_of, source_name, tensor_title
from torch2grid_core import Checkpoint, LazyTensor, Need, NotDrawable, Page, Settings, View
from torch2grid_core.pages import Bar, Line, Table, Text
from torch2grid_core.text import shape_text, visible

Array = np.ndarray[Any, Any]
FOLDER, OVERVIEW = "spectrum", "spectrum_overview"
COLUMNS = ("Matrix", "Shape", "‖W‖", "σ₁", "Stable rank", "Effective rank", "α", "±", "D", "λ_min", "Tail", "α̂", "Spikes")
SHUFFLED, SHUFFLED_SPIKES = "σ₁ shuffled", "Spikes shuffled"
FORMATS = {
    **dict.fromkeys(("‖W‖", "σ₁", "λ_min", SHUFFLED), ".4g"),
    **dict.fromkeys(("Stable rank", "Effective rank", "α", "±", "α̂"), ".2f"),
    "D": ".3f",
    **dict.fromkeys(("Tail", "Spikes", SHUFFLED_SPIKES), ",d"),
}
EXPLAINED = (
    "λ = σ², not σ²/N. α is the exponent of the tail of eigenvalues, λ^−α; between 2 and 6 it is common in models that"
    " generalise, and no proof of it. Stable rank ‖W‖²/σ₁². Effective rank exp(−Σ p ln p), p = σ/Σσ. σ₁ is the largest singular"
    " value."
)
_BINS = 60  # at most; of few singular values fewer, so that each has some


@dataclass(frozen=True)
class SpectrumView(View):
    """Singular values of every matrix and kernel: a page each, a table, and ranks and exponents by depth."""

    name = "spectrum"
    uses_transformer = False

    each: bool = field(default=True, metadata={"help": "draw a page for each matrix"})
    overview: bool = field(default=True, metadata={"help": "draw the overview and print the table"})
    side: int = field(
        default=4096, metadata={"help": "the longest shorter side that is measured: memory is 16 bytes times its square"}
    )
    exact: bool = field(default=False, metadata={"help": "decompose each matrix itself, held whole in float64, not its square"})
    shuffled: bool = field(
        default=False,
        metadata={"help": "beside it σ₁ and the spikes of the same weights in random places"},
    )

    def __post_init__(self) -> None:
        if self.side < 2:
            raise ValueError("side must be at least 2")

    @property
    def _need(self) -> Spectra:
        return Spectra(self.side, self.exact, self.shuffled)

    def subject(self, checkpoint: Checkpoint, run: Settings) -> Checkpoint:
        """The tensors. Raises ``NotDrawable`` where none of them is a matrix of floating numbers."""
        if not self._need.groups(checkpoint):
            raise NotDrawable(
                f"{checkpoint.source}: --spectrum measures matrices and kernels of floating numbers, and there are none"
            )
        return checkpoint

    def tensor_needs(self, tensor: LazyTensor, run: Settings) -> Mapping[str, Need[Any]]:
        return {"spectra": self._need} if self.each and next(parts(tensor), None) is not None else {}

    def tensor_pages(self, tensor: LazyTensor, results: Mapping[str, Any], run: Settings) -> Iterable[Page]:
        members = list(zip(parts(tensor), results["spectra"], strict=True))
        panels: tuple[Any, ...] = (_of_several(members),)
        if all(part.letter and not part.index for part, _ in members) or len(members) == 1:
            panels = tuple(panel for part, found in members for panel in _of_one(found, part.letter))
        yield Page(f"{tensor.name}_spectrum", _heading(tensor, members), panels, FOLDER, columns=2, about=about(tensor))

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Need[Any]]:
        return {"spectra": self._need} if self.overview else {}

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterator[Page]:
        if not self.overview:
            return
        spectra: Mapping[str, tuple[Spectrum, ...]] = results["spectra"]
        found = {
            part.name: spectrum
            for name, members in spectra.items()
            for part, spectrum in zip(parts(checkpoint[name]), members, strict=True)
        }
        columns = (*COLUMNS, *((SHUFFLED, SHUFFLED_SPIKES) if self.shuffled else ()), "What")
        rows = [tuple(_row(name, each)[column] for column in columns) for name, each in found.items()]
        title = run.title or f"Singular values of {source_name(checkpoint)}"
        shown = {"tensors": list(spectra)}
        yield Page(
            "spectrum", title, (Table(columns, tuple(rows), formats=formats_of(columns, FORMATS)),), kind="table", about=shown
        )
        panels = sorted(_overview(found), key=lambda panel: isinstance(panel, Bar))  # bars below the tables in colours
        yield Page(OVERVIEW, title, (*panels, Text(EXPLAINED)), columns=2, about=shown)


def _row(name: str, found: Spectrum) -> dict[str, Any]:
    law, values = found.law, found.values
    return {
        "Matrix": visible(name),
        "Shape": shape_text(found.shape),
        "‖W‖": found.norm,
        "σ₁": None if values is None else float(values[0]),
        "Stable rank": found.stable_rank,
        "Effective rank": found.effective_rank,
        "α": law and law.alpha,
        "±": law and law.error,
        "D": law and law.distance,
        "λ_min": law.least if law and 0 < law.least < math.inf else None,
        "Tail": law and law.tail,
        "α̂": found.alpha_hat,
        "Spikes": found.bulk and found.bulk.spikes,
        SHUFFLED: found.shuffled,
        SHUFFLED_SPIKES: found.shuffled_spikes,
        "What": _what(found),
    }


def _what(found: Spectrum) -> str:
    """What there is to say of a spectrum: why there is none, or what of it is not to be relied on."""
    if found.values is None:
        return found.why
    if not found.values[0]:
        return "all zero"
    notes = [found.doubt] if found.doubt else []
    if found.law is None and len(found.known) > 1:
        notes.append("no α: all eigenvalues are equal")
    if found.law is not None and not 0 < found.law.least < math.inf:
        notes.append("λ_min is beyond float64")
    if found.lost:
        notes.append(f"{found.lost:,} of {len(found.values):,} σ {_below(found)}")
    return ", ".join(notes)


def _below(found: Spectrum) -> str:
    return f"below {found.floor:.0e}·σ₁".replace("1e-07", "10⁻⁷")


def _heading(tensor: LazyTensor, members: Sequence[tuple[Part, Spectrum]]) -> str:
    facts = [tensor_title(tensor)]
    if len(members) == 1:
        ((part, found),) = members
        if part.shape != tuple(tensor.shape):
            facts.append(f"as {shape_text(part.shape)}")
        for name, figure in (("stable rank", found.stable_rank), ("effective rank", found.effective_rank)):
            if figure is not None:
                facts.append(f"{name} {figure_text(figure)}")
        if found.law is not None:
            facts.append(f"α {figure_text(found.law.alpha)}" + (" (unreliable)" if found.doubt else ""))
        told = _what(found)
        facts += [told] if told and not found.doubt else []
    else:
        facts.append(f"{len(members)} matrices")
    return " · ".join(facts)


def _of_one(found: Spectrum, letter: str = "") -> Iterator[Line | Text]:
    """The tail beside its power law, and the density of singular values beside that of independent weights.

    letter: of one of several.
    """
    values, known, of = found.values, found.known, f"{letter}: " if letter else ""
    if values is None or not values[0]:
        yield Text(of + _what(found))
        return
    if len(known) < 2:
        yield Text(f"{of}one direction is all: σ₁ = {figure_text(float(values[0]))}, the others are {_below(found)}")
        return
    if letter:
        of += f"stable rank {figure_text(found.stable_rank or 0)}, effective rank {figure_text(found.effective_rank or 0)}. "
    with np.errstate(over="ignore", under="ignore"):
        squares = known[::-1] * known[::-1]
    inside = (squares > 0) & np.isfinite(squares)  # what float64 has no square of is left out
    squares, share = squares[inside], (np.arange(len(known), 0, -1) / len(values))[inside]
    if not len(squares):
        yield Text(f"{of}λ = σ² leaves the range of float64")
        yield _density(found, values, letter)
        return
    series = {"eigenvalues": share}
    xmarks: dict[str, float] = {}
    title = f"{of}Share of eigenvalues λ = σ² that are as large, or larger"
    if found.law is not None:
        law = found.law
        beyond = np.where(squares >= law.least * (1 - 1e-12), squares / law.least, np.nan)
        with np.errstate(invalid="ignore"):
            series[f"power law, α = {law.alpha:.2f} ± {law.error:.2f}"] = law.tail / len(values) * beyond ** (1 - law.alpha)
        xmarks["the tail begins"] = law.least
        title += f"; D = {law.distance:.3f}" + (f" ({found.doubt})" if found.doubt else "")
    if found.lost:
        title += f"; {found.lost:,} {_below(found)} are not drawn"
    if found.shuffled is not None:
        xmarks["shuffled"] = found.shuffled**2
    yield Line(squares, series, title, xlabel="λ", ylabel="share", log=True, xlog=True, xmarks=xmarks)
    yield _density(found, values, letter)


def _density(found: Spectrum, values: Array, letter: str) -> Line:
    """Up to twice the bulk's end, or four times the median: a few large ones would press all others together."""
    ends = found.bulk.edge if found.bulk else 2 * float(np.median(found.known))
    top = min(float(values[0]), max(2 * ends, float(np.quantile(found.known, 0.9))))
    heights, edges = np.histogram(values, min(max(8, round(2 * math.sqrt(len(values)))), _BINS), (0.0, top))
    middles = (edges[:-1] + edges[1:]) / 2
    series = {"singular values": heights / (len(values) * (edges[1] - edges[0]))}
    xmarks = {}
    title = f"{letter}: density of singular values" if letter else "Density of singular values"
    if found.bulk is not None:
        law = density(middles, found.bulk)
        series[f"independent weights of std {figure_text(found.bulk.std)}"] = np.where(law > 0, law, np.nan)
        xmarks["the bulk ends"] = ends
        title += f"; {found.bulk.spikes:,} beyond the bulk of independent weights"
    right = int(np.count_nonzero(values > top))
    title += f"; {right:,} further right" if right else ""
    return Line(middles, series, title, xlabel="σ", ylabel="density", xmarks=xmarks)


def _of_several(members: Sequence[tuple[Part, Spectrum]]) -> Any:
    """Singular values by rank; what there is to say where none is known."""
    named = [(_label(part), found.values) for part, found in members]
    return by_rank(named, "matrix", "matrices") or Text(_what(members[0][1]))


def _label(part: Part) -> str:
    """What tells a matrix from the others of its tensor."""
    place = ", ".join(map(str, part.index))
    return f"{place} {part.letter}".strip() or part.owner


def _overview(found: Mapping[str, Spectrum]) -> Iterator[Any]:
    """Exponents, ranks and the largest singular value, by layer and kind; of experts, the median of their layer."""
    laws = {name: law.alpha for name, each in found.items() if (law := each.law) is not None and not each.doubt}
    ill = {name: each.why for name, each in found.items() if each.values is None and each.why == NOT_FINITE}
    if laws:
        left = len(found) - len(laws)
        yield from _figure(laws, "α", {}, f"; {left} without a reliable α are left out" if left else "")
    for what, figure in (
        ("stable rank", lambda each: each.stable_rank),
        ("effective rank", lambda each: each.effective_rank),
        ("σ₁", lambda each: None if each.values is None else float(each.values[0])),
    ):
        yield from _figure(
            {name: math.nan if (number := figure(each)) is None else number for name, each in found.items()}, what, ill
        )


def _figure(figures: Mapping[str, float], what: str, flags: Mapping[str, str], note: str = "") -> Iterator[Any]:
    groups = together(figures)
    joined, told = {}, {}
    for own, names in groups.items():
        numbers = [figures[name] for name in names if not math.isnan(figures[name])]
        joined[own] = float(np.median(numbers)) if numbers else math.nan
        ill = [flags[name] for name in names if name in flags]
        if ill:
            told[own] = ill[0]
    most = max(map(len, groups.values()))
    note += "; of experts the median" if most > 1 else ""
    ordered = {name: joined[name] for name in by_kind(list(joined))}
    yield from by_layer_and_kind(ordered, what, "matrix", flags=told, note=note)
