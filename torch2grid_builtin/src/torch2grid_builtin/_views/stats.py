"""The table of statistics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from torch2grid_builtin._views.describing import LOST_COLUMNS, TOTAL, columns_for, formats_of
from torch2grid_builtin._views.initialisations import as_initialised
from torch2grid_builtin._views.stacks import apart, matrices
from torch2grid_builtin._views.units import DeadUnits, dead_units, has_units
from torch2grid_builtin._views.zero_patterns import ZeroPattern, ZeroPatterns
from torch2grid_core import Checkpoint, LazyTensor, Page, Settings, UsageError, View
from torch2grid_core.measures import Distribution, Profile, Summary
from torch2grid_core.pages import Table
from torch2grid_core.text import shape_text

TITLE = "Layer Statistics Comparison"
COLUMNS = ("Layer Name", "Mean", "Std", "Min", "Max", "~Zero%")
LEVELS = {"1%": 0.01, "25%": 0.25, "Median": 0.5, "75%": 0.75, "99%": 0.99}
_FIGURES = (
    "Weights",
    *LEVELS,
    "|Max|",
    "RMS",
    "L1",
    "L2",
    "Skewness",
    "Excess kurtosis",
    "Zeros",
    "NaN",
    "+Inf",
    "-Inf",
    "Dead%",
    "Zeros lie",
    "As initialised",
)
DETAIL = (*COLUMNS, "Shape", "Dtype", *_FIGURES)
FORMATS = {
    **dict.fromkeys(("Mean", "Std", "Min", "Max"), ".4f"),
    **dict.fromkeys(("~Zero%", "Dead%"), ".2f"),
    **dict.fromkeys(("Weights", "Zeros", "NaN", "Inf", "+Inf", "-Inf"), ",d"),
    **dict.fromkeys((*LEVELS, "|Max|", "RMS", "L1", "L2"), ".4g"),
    **dict.fromkeys(("Skewness", "Excess kurtosis"), ".3f"),
}
Row = dict[str, str | int | float | None]


@dataclass(frozen=True)
class Stats(View):
    """A table of mean, std, min, max and near-zero share of each tensor."""

    name = "stats"
    uses_transformer = False
    default_format = "text"

    detail: bool = field(
        default=False,
        metadata={
            "help": "also shape, dtype, quantiles, norms, kurtosis, dead units, patterns of zeros, initialisations, totals"
        },
    )
    sort: str = field(
        default="",
        metadata={
            "help": "column to sort by, NaN and Inf first, then the largest, names from A to Z; empty: the order of the model"
        },
    )

    def needs(self, checkpoint: Checkpoint, run: Settings) -> dict[str, Any]:
        if self.sort:
            self._column()
        summary = {"summary": Summary((run.threshold,), brief=not self.detail)}
        if not self.detail:
            return summary
        of_dimensions = [name for name, tensor in checkpoint.items() if tensor.ndim >= 2]
        zeros = {"zeros": ZeroPatterns().about(of_dimensions)} if of_dimensions else {}
        return {**summary, **apart(checkpoint, {"profile": Profile()}), **zeros}

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Page]:
        summaries: Mapping[str, Distribution] = results["summary"]
        rows: Iterable[Row] = (_row(name, summaries[name], run.threshold) for name in checkpoint)  # 100,000 fill no memory
        columns = (*COLUMNS, *columns_for([summaries[name].not_finite for name in checkpoint]))
        if self.detail:
            columns = DETAIL
            dead = {
                name: [dead_units(each.tensor, each.of(results, "profile"), run.threshold) for each in matrices(tensor)]
                for name, tensor in checkpoint.items()
                if has_units(tensor, checkpoint)
            }
            shares = [_share(dead[name]) if name in dead else None for name in checkpoint]
            rows = [
                row
                | _detail(shape_text(tensor.shape), tensor.dtype.name, summaries[tensor.name], share)
                | _made(tensor, results)
                for row, tensor, share in zip(rows, checkpoint.values(), shares, strict=True)
            ]
        if self.sort:
            rows = _sorted(list(rows), self._column())
        if self.detail:
            kept = [name for name in checkpoint if name not in checkpoint.aliases]
            total = reduce(Distribution.merge, (summaries[name] for name in kept), Distribution((run.threshold,)))
            units = [each for name in kept if name in dead for each in dead[name]]
            share = _share(units) if any(each.units for each in units) else None
            last = _row(TOTAL, total, run.threshold) | _detail("", ", ".join(checkpoint.dtypes), total, share)
            rows = [*rows, last]
        table = Table(
            columns,
            tuple(tuple(map(row.__getitem__, columns)) for row in rows),
            formats=formats_of(columns, FORMATS),
            totals=int(self.detail),
        )
        yield Page("stats", TITLE, (table,), kind="table")

    def _column(self) -> str:
        columns = DETAIL if self.detail else (*COLUMNS, *LOST_COLUMNS)
        wanted = self.sort.strip().casefold()
        for column in columns:
            name = column.casefold()
            if wanted in (name, name.strip("~|%"), name.removeprefix("excess ")) or (wanted == "name" and column == COLUMNS[0]):
                return column
        raise UsageError(f"stats: no column {self.sort!r} to sort by; the columns: {', '.join(columns)}")


def _share(found: Sequence[DeadUnits]) -> float:
    """Dead units among all of several matrices."""
    units = sum(each.units for each in found)
    return sum(each.dead for each in found) / units if units else 0.0


def _row(name: str, summary: Distribution, threshold: float) -> Row:
    row: Row = {"Layer Name": name, "NaN": summary.nan, "Inf": summary.posinf + summary.neginf}
    row["~Zero%"] = 100 * summary.near_zero(threshold) / summary.count if summary.count else None
    return row | _known(summary, {"Mean": summary.mean, "Std": summary.std, "Min": summary.min, "Max": summary.max})


def _detail(shape: str, dtype: str, summary: Distribution, dead: float | None) -> Row:
    row: Row = {"Shape": shape, "Dtype": dtype, "Weights": summary.count}
    row.update({"Zeros": summary.zeros, "+Inf": summary.posinf, "-Inf": summary.neginf})
    row["Dead%"] = None if dead is None else 100 * dead
    row["Zeros lie"] = row["As initialised"] = ""
    figures = {
        "|Max|": summary.absmax,
        "RMS": summary.rms,
        "L1": summary.l1,
        "L2": summary.l2,
        "Skewness": summary.skewness,
        "Excess kurtosis": summary.kurtosis,
        **dict(zip(LEVELS, summary.quantiles(LEVELS.values()).tolist(), strict=True)),
    }
    return row | _known(summary, figures)


def _made(tensor: LazyTensor, results: Mapping[str, Any]) -> Row:
    """How its zeros lie, and which initialisation it looks like."""
    found: ZeroPattern | None = results.get("zeros", {}).get(tensor.name)
    scheme = as_initialised(tensor, results["summary"][tensor.name])
    return {"Zeros lie": found.text if found is not None else "", "As initialised": scheme}


def _known(summary: Distribution, figures: Mapping[str, float]) -> Row:
    """No figure of nothing: an all-NaN or empty tensor shows a dash, as does the skewness of a constant."""
    finite = summary.finite
    return {key: value if finite and value == value else None for key, value in figures.items()}


def _sorted(rows: list[Row], column: str) -> list[Row]:
    """NaN and Inf first, then the largest, unknown figures last; text from A to Z. Equal rows stay in their order."""
    if any(isinstance(row[column], str) for row in rows):
        return sorted(rows, key=lambda row: str(row[column]).casefold())
    known = [row for row in rows if row[column] is not None]
    unknown = [row for row in rows if row[column] is None]
    return sorted([*sorted(known, key=lambda row: -float(row[column] or 0)), *unknown], key=_is_finite)


def _is_finite(row: Row) -> bool:
    return not (row["NaN"] or row["Inf"])
