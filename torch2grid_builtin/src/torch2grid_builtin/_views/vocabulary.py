"""Rows of embeddings and heads: norms, rows that look as if never trained, rows that are equal, with the tokens' text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from torch2grid_builtin._compare.figures import kind_and_layer
from torch2grid_builtin._rules.about import is_lookup, is_place_table, is_type_table, is_vocabulary
from torch2grid_builtin._views.describing import figure_text, formats_of, source_name
from torch2grid_builtin._views.units import in_whole
from torch2grid_builtin._vocabulary.rows import EQUAL, NOT_FINITE, SMALL, TOGETHER, ZERO, TokenRows, Vocabulary
from torch2grid_builtin._vocabulary.tokens import Tokens, tokens_of
from torch2grid_core import Checkpoint, LazyTensor, Need, NotDrawable, Page, Settings, View
from torch2grid_core.pages import Line, Scatter, Table
from torch2grid_core.sources import is_floating
from torch2grid_core.text import shape_text, visible

Array = np.ndarray[Any, Any]
OF_TABLES = ("Tensor", "Shape", "Median norm", "Small", "Together", "Zero", "Equal", "NaN, Inf", "Limits")
OF_ROWS = ("Tensor", "Row", "Token", "Norm", "Of median", "To mean", "1 − cos", "Why")
FORMATS = {
    **dict.fromkeys(("Median norm", "Norm", "To mean"), ".4g"),
    **dict.fromkeys(("Of median", "1 − cos"), ".3f"),
    **dict.fromkeys(("Small", "Together", "Zero", "Equal", "NaN, Inf"), ",d"),
}
WHY = {
    NOT_FINITE: "NaN or Inf",
    ZERO: "all zero",
    EQUAL: "equal",
    SMALL: "as small as untrained rows",
    TOGETHER: "where unused rows lie",
}
_ORDER = {NOT_FINITE: 0, ZERO: 1, EQUAL: 2, SMALL: 3, TOGETHER: 4, 0: 5}
_POINTS = 20_000
_BINS = 80
_BETWEEN = re.compile(r"mapping|proj(ection)?\b|patch|time|timestep", re.IGNORECASE)
_FEW_ROWS = 32
_LARGE_HEAD = 1000


@dataclass(frozen=True)
class VocabularyView(View):
    """Norms and distances of the rows of embeddings and heads, rows never trained and equal rows, with the tokens' text."""

    name = "vocabulary"
    uses_transformer = False

    count: int = field(default=40, metadata={"help": "rows that the table lists of each tensor, suspect ones first"})

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError("count must be at least 1")

    def subject(self, checkpoint: Checkpoint, run: Settings) -> Checkpoint:
        """The tensors. Raises ``NotDrawable`` where none of them is an embedding or a head over a vocabulary."""
        if not tables_of_tokens(checkpoint):
            raise NotDrawable(
                f"{checkpoint.source}: --vocabulary measures rows of tokens, in embeddings and heads, and there are none"
            )
        return checkpoint

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Need[Any]]:
        tokens = tokens_of(checkpoint)
        return {
            name: Vocabulary(tokens.free(in_whole(tensor, range(tensor.shape[0])))).about([name])
            for name, tensor in ((name, checkpoint[name]) for name in tables_of_tokens(checkpoint))
        }

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterator[Page]:
        names = tables_of_tokens(checkpoint)
        if not names:
            return
        tokens = tokens_of(checkpoint)
        found: dict[str, TokenRows] = {name: results[name][name] for name in names}
        title = run.title or f"Vocabulary of {source_name(checkpoint)}"
        shown = {"tensors": names}
        tables = (
            _table_of_tables(checkpoint, found),
            _table_of_rows(checkpoint, found, tokens, self.count),
        )
        yield Page("vocabulary", title, tables, kind="table", about=shown, panel_names=("tables", "rows"))
        panels = [(name, panel) for name, rows in found.items() for panel in _panels(checkpoint[name], rows)]
        called = tuple(f"{visible(name)}, {'each row' if isinstance(panel, Scatter) else 'by norm'}" for name, panel in panels)
        shapes = tuple(panel for _, panel in panels)
        yield Page("vocabulary_overview", title, shapes, columns=2, about=shown, panel_names=called)


def tables_of_tokens(checkpoint: Checkpoint) -> list[str]:
    """Embeddings by their names; heads that have as many rows as one of these, or, without any, very many."""
    fitting = [
        tensor
        for name, tensor in checkpoint.items()
        if name not in checkpoint.aliases and _may_be(tensor) and not is_place_table(tensor) and not is_type_table(tensor)
    ]
    lookups = [tensor for tensor in fitting if is_lookup(tensor)]
    lengths = {tensor.shape[0] for tensor in lookups}
    return [
        tensor.name
        for tensor in fitting
        if is_lookup(tensor) or tensor.shape[0] in lengths or (not lookups and tensor.shape[0] >= _LARGE_HEAD)
    ]


def _may_be(tensor: LazyTensor) -> bool:
    """True for a table of a size and name that one of tokens may have; in a layer, or between two widths, is none."""
    return (
        tensor.ndim == 2
        and kind_and_layer(tensor.name)[1] is None
        and not _BETWEEN.search(tensor.name)
        and is_floating(tensor.dtype)
        and tensor.dtype.itemsize > 1
        and tensor.shape[0] >= _FEW_ROWS
        and tensor.shape[1] > 1
        and is_vocabulary(tensor)
    )


def _median(rows: TokenRows) -> float:
    finite = rows.norms[np.isfinite(rows.norms)]
    return float(np.median(finite)) if len(finite) else math.nan


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _table_of_tables(checkpoint: Checkpoint, found: Mapping[str, TokenRows]) -> Table:
    lines = []
    for name, rows in found.items():
        counts = {why: int(np.count_nonzero(rows.why == why)) for why in WHY}
        told = []
        if SMALL in rows.limits:
            told.append(f"norm ≤ {figure_text(rows.limits[SMALL])}")
        if TOGETHER in rows.limits:
            told.append(f"1 − cos ≤ {figure_text(rows.limits[TOGETHER])}")
        lines.append(
            (
                visible(name),
                shape_text(checkpoint[name].shape),
                _known(_median(rows)),
                *(counts[why] for why in (SMALL, TOGETHER, ZERO, EQUAL, NOT_FINITE)),
                ", ".join(told),
            )
        )
    return Table(OF_TABLES, tuple(lines), "Rows that look as if never trained, and why", formats_of(OF_TABLES, FORMATS))


def suspects(rows: TokenRows) -> Array:
    """The numbers of all rows, suspect ones first; of those alike, the nearest to the unused ones, or the smallest."""
    rank = np.array([_ORDER[why] for why in range(len(_ORDER))])[rows.why]
    near = rows.norms if rows.unused is None else np.where(rows.why == SMALL, rows.norms, rows.unused)
    return np.lexsort((np.nan_to_num(near, nan=-1.0), rank))


def _table_of_rows(checkpoint: Checkpoint, found: Mapping[str, TokenRows], tokens: Tokens, count: int) -> Table:
    lines: list[tuple[Any, ...]] = []
    for name, rows in found.items():
        usual, tensor = _median(rows), checkpoint[name]
        for row in suspects(rows)[:count].tolist():
            why = WHY.get(int(rows.why[row]), "")
            if rows.why[row] == EQUAL:
                (twin,) = in_whole(tensor, (int(rows.twin[row]),))
                why = f"equal to row {twin}" if rows.twin[row] != row else "equal to later rows"
            norm, (token,) = float(rows.norms[row]), in_whole(tensor, (row,))
            lines.append(
                (
                    visible(name),
                    token,
                    tokens.shown(token),
                    _known(norm),
                    _known(norm / usual) if usual else None,
                    _known(float(rows.distances[row])),
                    None if rows.unused is None else _known(float(rows.unused[row])),
                    why,
                )
            )
    more = sum(max(int(np.count_nonzero(rows.why)) - count, 0) for rows in found.values())
    title = "Rows, suspect ones first" + (f"; {more:,} more suspect ones are not listed" if more else "")
    title += f"; no text of tokens: {visible(tokens.why)}" if tokens.why else ""
    return Table(OF_ROWS, tuple(lines), title, formats_of(OF_ROWS, FORMATS))


def _panels(tensor: LazyTensor, rows: TokenRows) -> Iterator[Any]:
    """Norms by row, and how many rows have which norm; of suspect ones apart."""
    finite = np.isfinite(rows.norms)
    suspect = rows.why > 0
    step = -(-len(rows.norms) // _POINTS)
    kept = np.flatnonzero(finite & (suspect | (np.arange(len(rows.norms)) % step == 0)))
    shown = visible(tensor.name)
    lost = int(np.count_nonzero(~finite))
    note = f"; {lost:,} with NaN or Inf are not drawn" if lost else ""
    note = f"; of rows that are not suspect, one of {step} is drawn{note}" if step > 1 else note
    groups = ["suspect rows" if each else "other rows" for each in suspect[kept].tolist()]
    title, places = f"{shown}: norm of each row{note}", np.array(in_whole(tensor, kept.tolist()), np.float64)
    yield Scatter(places, rows.norms[kept], title, xlabel="row", ylabel="norm", groups=groups)
    norms = rows.norms[finite]
    if not len(norms):
        return
    top = float(norms.max()) or 1.0
    edges = np.linspace(0, top, _BINS + 1)
    series = {"other rows": np.histogram(rows.norms[finite & ~suspect], edges)[0].astype(np.float64)}
    if (suspect & finite).any():
        series["suspect rows"] = np.histogram(rows.norms[finite & suspect], edges)[0].astype(np.float64)
    yield Line((edges[:-1] + edges[1:]) / 2, series, f"{shown}: rows by norm", xlabel="norm", ylabel="rows")
