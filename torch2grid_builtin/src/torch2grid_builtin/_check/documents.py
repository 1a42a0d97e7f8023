"""Findings as a page for people: Markdown, and HTML with pictures of the places."""

from __future__ import annotations

import base64
import html
import io
import math
import re
from collections.abc import Iterator, Sequence

import numpy as np

from torch2grid_builtin._check.checked import Checked
from torch2grid_core import Grid, LazyTensor, Rule, Severity, Torch2GridError
from torch2grid_core.commands import Found
from torch2grid_core.grids import Array, color_scale, default_map, paint, reduce_array
from torch2grid_core.sources import as_float
from torch2grid_core.text import counted, visible

_LIMIT = 1000
_ROWS = 200  # of one model
_PICTURES = 40  # of one model
_AROUND = 16  # rows and columns on each side of a place
_PIXELS = 6  # a weight
_MOST_CELLS = 96  # of a whole matrix on each side
_MOST_READ = 1 << 24  # weights of one
_PLAIN = re.compile(r"([\\`*_{}\[\]()#+!|<>~&-])")
_CALLS = re.compile(
    r"(?:@|://|www\.|#(?=\d)|\bGH-(?=\d))+", re.IGNORECASE
)  # no escape keeps these from being linked: code does


def as_markdown(checked: Sequence[Checked], rules: Sequence[Rule], fail_on: Severity) -> str:
    """A heading and a table of findings for each model."""
    lines = []
    for each in checked:
        lines += [f"## {_plain(each.model)}", "", _plain(each.error) if each.error else f"{_verdict(each, fail_on)}.", ""]
        lines += [f"- {_plain(told)}" for told in each.broken.values()]
        rows = [_cells(found) for found in each.found]
        if rows:
            lines += ["| rule | severity | place | what |", "| --- | --- | --- | --- |"]
            lines += [f"| {' | '.join(map(_plain, row))} |" for row in rows[:_ROWS]]
            lines += [f"\nand {len(rows) - _ROWS:,} more"] if len(rows) > _ROWS else []
            lines.append("")
        if each.accepted:
            lines += ["Accepted:", ""]
            accepted = [(found, reason) for found, reason in each.accepted[:_ROWS]]
            lines += [f"- {_plain(f'{found.code} {found.place}: {found.message}: {reason}')}" for found, reason in accepted]
            lines.append("")
    return "\n".join(lines)


def _verdict(checked: Checked, fail_on: Severity) -> str:
    return f"**{'failed' if checked.fails(fail_on) else 'passed'}**: {_plain(checked.verdict)}"


def _cells(found: Found) -> tuple[str, str, str, str]:
    part = f" (part {found.part})" if found.part else ""
    return f"{found.code} {found.rule}", found.severity, f"{found.place}{part}", found.message


def _plain(text: str) -> str:
    """As Markdown that shows just these characters, and neither calls a person nor links to a page or an issue."""
    shown, place, made = visible(text, _LIMIT), 0, list[str]()
    for found in _CALLS.finditer(shown):
        made += [_PLAIN.sub(r"\\\1", shown[place : found.start()]), f"`{found[0]}`"]
        place = found.end()
    return "".join([*made, _PLAIN.sub(r"\\\1", shown[place:])])


_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>torch2grid check</title>
<style>
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.1rem; overflow-wrap: anywhere; margin-top: 2.5rem; }
table { border-collapse: collapse; width: 100%; }
td, th { border-top: 1px solid #8886; padding: .4rem .6rem; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
.error { color: #b3261e; font-weight: 600; } .warning { color: #8a5a00; font-weight: 600; } .note { opacity: .8; }
@media (prefers-color-scheme: dark) { .error { color: #ff8a80; } .warning { color: #ffc46b; } }
img { image-rendering: pixelated; display: block; margin: .3rem 0; border: 1px solid #8888; max-width: 100%; }
figcaption { font-size: .85rem; opacity: .8; } figure { margin: 0; }
</style>
</head>
<body>
<h1>torch2grid check</h1>
"""


def as_html(checked: Sequence[Checked], rules: Sequence[Rule], fail_on: Severity) -> str:
    """A page that fetches nothing: a table of findings for each model, with a picture of the weights around each place."""
    parts = [_HEAD]
    for each in checked:
        parts.append(f"<h2>{_text(each.model)}</h2>\n")
        if each.error:
            parts.append(f'<p class="error">{_text(each.error)}</p>\n')
            continue
        state = "failed" if each.fails(fail_on) else "passed"
        parts.append(f'<p><span class="{"error" if state == "failed" else ""}">{state}</span>: {_text(each.verdict)}</p>\n')
        parts += [f'<p class="error">{_text(told)}</p>\n' for told in each.broken.values()]
        if each.found:
            parts += [
                "<table>\n<tr><th>rule</th><th>severity</th><th>place</th><th>what</th></tr>\n",
                *_rows(each),
                "</table>\n",
            ]
        if len(each.found) > _ROWS:
            parts.append(f"<p>and {len(each.found) - _ROWS:,} more</p>\n")
        if each.accepted:
            told = [
                f"<li>{_text(f'{found.code} {found.place}: {found.message}: {reason}')}</li>" for found, reason in each.accepted
            ]
            parts.append(f"<p>{counted(len(told), 'accepted finding')}</p>\n<ul>\n" + "\n".join(told[:_ROWS]) + "\n</ul>\n")
    return "".join([*parts, "</body>\n</html>\n"])


def _rows(checked: Checked) -> Iterator[str]:
    pictures = 0
    for found in checked.found[:_ROWS]:
        rule, severity, place, what = map(_text, _cells(found))
        picture = _picture(checked, found) if pictures < _PICTURES else ""
        pictures += bool(picture)
        yield f'<tr><td>{rule}</td><td class="{severity}">{severity}</td><td>{place}</td><td>{what}{picture}</td></tr>\n'


def _text(text: str) -> str:
    return html.escape(visible(text, _LIMIT))


def _picture(checked: Checked, found: Found) -> str:
    """The weights around a place, as a figure, or the whole matrix; nothing where there is none, or it is too large."""
    tensor = None if checked.looked is None else checked.looked.get(found.tensor)
    if tensor is None or tensor.ndim < 2 or tensor.taken is not None:
        return ""
    try:
        if found.index is None:
            weights, cell = _whole(tensor)
            height, width = (math.prod(tensor.shape[:-1]), tensor.shape[-1]) if weights.size else (0, 0)
            place = f"all {height:,} rows and {width:,} columns" + (f", a cell the mean of {cell}" if cell else "")
        elif len(found.index) == tensor.ndim:
            weights, (top, left) = _around(tensor, found.index)
            place = f"rows {top}–{top + weights.shape[0] - 1}, columns {left}–{left + weights.shape[1] - 1}"
        else:
            return ""
    except Torch2GridError:
        return ""
    finite = weights[np.isfinite(weights)]
    if not finite.size:
        return ""
    from PIL import Image

    grid = Grid(weights, np.ones(weights.shape, dtype=np.int64), "mean")
    scale = color_scale([grid])
    pixels = paint(grid, scale, default_map(scale))
    image = Image.fromarray(np.ascontiguousarray(pixels[..., :3])).resize(
        (weights.shape[1] * _PIXELS, weights.shape[0] * _PIXELS), Image.Resampling.NEAREST
    )
    data = io.BytesIO()
    image.save(data, "PNG")
    source = base64.b64encode(data.getvalue()).decode()
    told = f"{place}; from {float(finite.min()):.4g} to {float(finite.max()):.4g}"
    what = "the weights of" if found.index is None else "the weights around"
    shown = f'<img alt="{what} {_text(found.place)}" src="data:image/png;base64,{source}">'
    return f"<figure>{shown}<figcaption>{told}</figcaption></figure>"


def _whole(tensor: LazyTensor) -> tuple[Array, str]:
    """All weights as a matrix of few cells, and what a cell is where it is no single weight; nothing of a large tensor."""
    if not 0 < tensor.size <= _MOST_READ:
        return np.empty((0, 0), np.float32), ""
    grid = reduce_array(tensor.numpy().reshape(-1, tensor.shape[-1]), "mean", _MOST_CELLS)
    return grid.values, "" if grid.cell == (1, 1) else "{}×{} weights".format(*grid.cell)


def _around(tensor: LazyTensor, index: Sequence[int]) -> tuple[Array, tuple[int, int]]:
    """The weights around *index* in the matrix of the last two dimensions, and where the first of them is."""
    (row, column), (height, width) = index[-2:], tensor.shape[-2:]
    top, left = max(min(row - _AROUND, height - 2 * _AROUND), 0), max(min(column - _AROUND, width - 2 * _AROUND), 0)
    place = (*(int(each) for each in index[:-2]), slice(top, top + 2 * _AROUND), slice(left, left + 2 * _AROUND))
    with np.errstate(over="ignore"):  # what float32 cannot hold is drawn as Inf
        return as_float(np.asarray(tensor[place])).astype(np.float32), (top, left)
