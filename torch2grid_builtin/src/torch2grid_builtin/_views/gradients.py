"""Where the gradients of a backward pass reach, and where they do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from torch2grid_builtin._views.describing import (
    LOST_FORMATS,
    about,
    columns_for,
    figure_text,
    flags_of,
    formats_of,
    honest,
    norm_of,
    placed_name,
    source_name,
)
from torch2grid_builtin._views.histogram import plain_histogram
from torch2grid_builtin._views.layers import axes_of
from torch2grid_builtin._views.matrices import matrix_of
from torch2grid_core import Checkpoint, LazyTensor, Need, NotDrawable, Page, Settings, View
from torch2grid_core.measures import Distribution, Of, Raster, Summary
from torch2grid_core.pages import Line, Table
from torch2grid_core.sources import JointTensor
from torch2grid_core.text import shape_text, visible

Array = np.ndarray[Any, Any]
GRADIENT, WEIGHT = "gradient", "weight"
SUFFIX = ".grad"
FOLDERS = ("grad", "grads", "gradient", "gradients")
COLUMNS = ("Parameter", "Shape", "Mean |g|", "Max |g|", "‖g‖", "‖w‖", "‖g‖/‖w‖", "Zero%", "Verdict")
FORMATS = {**dict.fromkeys(("Mean |g|", "Max |g|", "‖g‖", "‖w‖", "‖g‖/‖w‖"), ".3e"), "Zero%": ".2f", **LOST_FORMATS}
_CELLS = 512


def gradient_of(arrays: Mapping[str, Array]) -> Array:
    """The gradient itself: what a joint tensor of a gradient and its weight is."""
    return arrays[GRADIENT]


def find_gradients(checkpoint: Checkpoint) -> Checkpoint:
    """A joint tensor for each gradient, with its weight as a member where the file holds that too.

    Gradients are tensors named ``<parameter>.grad``, or those below ``grad``, ``grads``, ``gradient`` or ``gradients``; a file
    without any such name, and without the parts of a training checkpoint, is taken to hold nothing but gradients. Those of
    parameters that are not in *checkpoint*, a part of the file after filters, are left out.
    Raises ``NotDrawable`` where there are none.
    """
    whole = checkpoint.whole
    weights: Mapping[str, LazyTensor] = whole.part(whole.default_part) if whole.default_part else whole
    found: dict[str, LazyTensor] = {}
    for name, tensor in whole.items():
        folder, _, rest = name.partition(".")
        if name.endswith(SUFFIX):
            bare = name[: -len(SUFFIX)]
            inside = bare.partition(".")[2]
            found[inside if whole.default_part and inside in weights else bare] = tensor
        elif folder.lower() in FOLDERS and rest:
            found[rest] = tensor
    notes = []
    if not found:
        if whole.parts:
            raise NotDrawable(f"{whole.source}: holds no gradients: no tensor is named *{SUFFIX} or grads.*")
        found, weights = dict(checkpoint), {}
        notes.append("every tensor is taken for a gradient")
    left = {name for name in weights if name not in checkpoint} if checkpoint is not whole else set()  # not chosen
    if left.issuperset(found):
        raise NotDrawable(f"{whole.source}: holds no gradient of the tensors that were chosen")
    joint = []
    for name, gradient in found.items():
        gradient = gradient.distinct()
        if gradient.size and name not in left:
            members = {GRADIENT: gradient}
            weight = weights.get(name)
            if weight is not None and weight is not found.get(name) and weight.shape == gradient.shape:
                members[WEIGHT] = weight
            joint.append(JointTensor.of(name, members, gradient_of, gradient.dtype, note="gradient"))
    return Checkpoint(joint, source=whole.source, format=whole.format, notes=notes, aliases={}).ordered()


@dataclass(frozen=True)
class GradientsView(View):
    """Gradient flow through the layers, each gradient beside its weight, and verdicts for those that vanish or explode."""

    name = "gradients"

    each: bool = field(default=True, metadata={"help": "draw a page for each parameter"})
    overview: bool = field(default=True, metadata={"help": "draw the flow and print the table"})
    vanishing: float = field(default=1e-7, metadata={"help": "mean |g| below it is vanishing"})
    exploding: float = field(default=100.0, metadata={"help": "|g| above it is exploding"})
    spread: float = field(default=1e4, metadata={"help": "so many times off the median layer's mean |g| is either, too"})

    def __post_init__(self) -> None:
        if not (self.vanishing >= 0 and self.exploding > 0 and self.spread > 1):
            raise ValueError("vanishing must be 0 or more, exploding above 0, and spread above 1")

    def subject(self, checkpoint: Checkpoint, run: Settings) -> Checkpoint:
        """The gradients of the file, wherever it keeps them."""
        return find_gradients(checkpoint)

    def tensor_needs(self, tensor: LazyTensor, run: Settings) -> Mapping[str, Need[Any]]:
        if not self.each:
            return {}
        raster = Raster(matrix_of(tensor.name, tensor.shape, min(run.tensor_cells, _CELLS)), run.reduce)
        return {"g": raster, "w": Of(WEIGHT, raster), "of g": Summary(), "of w": Of(WEIGHT, Summary(brief=True))}

    def tensor_pages(self, tensor: LazyTensor, results: Mapping[str, Any], run: Settings) -> Iterable[Page]:
        g: Distribution = results["of g"]
        w: Distribution | None = results["of w"]
        axes = axes_of(tensor, results["g"])
        panels: list[Any] = []
        if w is not None:
            panels.append(run.heatmap(results["w"], title="weight", **axes))
        gradient = replace(results["g"], quantity="gradient")
        panels += [
            run.heatmap(gradient, title="gradient", **axes),
            plain_histogram(g, tensor.dtype, "gradient", "zero"),
        ]
        facts = [f"mean |g| {figure_text(_mean(g))}", f"max |g| {figure_text(_largest(g))}"]
        ratio = _of_weight(g, w)
        if ratio is not None:
            facts.append(f"‖g‖/‖w‖ {figure_text(ratio, '.2e')}")
        if g.not_finite:
            facts.append(g.not_finite.text)
        title = f"Gradient of {placed_name(tensor)} · {shape_text(tensor.shape)} · {', '.join(facts)}"
        yield Page(f"{tensor.name}_grad", title, tuple(panels), "gradients", columns=2, about=about(tensor))

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Need[Any]]:
        return {"g": Summary(), "w": Of(WEIGHT, Summary(brief=True))} if self.overview else {}

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Page]:
        if not self.overview:
            return
        found: Mapping[str, Distribution] = results["g"]
        weights: Mapping[str, Distribution | None] = results["w"]
        middle = typical(found.values())
        rows, ill = [], 0
        for name, tensor in checkpoint.items():
            g, w = found[name], weights[name]
            zero = 100 * g.zeros / g.count
            figures = (_mean(g), _largest(g), norm_of(g), None if w is None else norm_of(w), _of_weight(g, w), zero)
            verdict = self.verdict(g, middle)
            ill += verdict != ""
            rows.append((visible(name), shape_text(tensor.shape), *figures, verdict, g.not_finite.nan, g.not_finite.inf))
        title = f"Gradients of {source_name(checkpoint)}: {ill} of {len(rows)} parameters look ill. {self.thresholds}"
        if checkpoint.notes:
            title += f" ({'; '.join(checkpoint.notes)})"
        columns = (*COLUMNS, *columns_for([g.not_finite for g in found.values()]))
        table = Table(
            columns,
            tuple(row[: len(columns)] for row in rows),
            formats=formats_of(columns, FORMATS),
        )
        yield Page("gradients", title, (table,), kind="table")
        yield Page("gradient_flow", title, self._flow(checkpoint, found, weights), columns=2)

    @property
    def thresholds(self) -> str:
        """What the verdicts go by, in one sentence."""
        return (
            f"Vanishing: mean |g| < {self.vanishing:g}, or {self.spread:,.6g} times below the median layer's; exploding: "
            f"max |g| > {self.exploding:g}, or mean |g| {self.spread:,.6g} times above it"
        )

    def verdict(self, g: Distribution, middle: float) -> str:
        """What is wrong with a gradient and by which measure; empty where nothing is. middle: the median layer's mean |g|."""
        mean = _mean(g)
        if g.not_finite:
            return f"not finite: {g.count - g.finite:,} of {g.count:,} are NaN or Inf"
        if g.zeros == g.count:
            return "none: every gradient is 0"
        if mean < self.vanishing:
            return f"vanishing: mean |g| {mean:.2g} < {self.vanishing:g}"
        if mean * self.spread < middle:
            return f"vanishing: mean |g| {mean:.2g} is {middle / mean:.2g} times below the median layer's"
        if g.absmax > self.exploding:
            return f"exploding: max |g| {g.absmax:.2g} > {self.exploding:g}"
        if middle and mean > self.spread * middle:
            return f"exploding: mean |g| {mean:.2g} is {mean / middle:.2g} times above the median layer's"
        return ""

    def _flow(
        self,
        checkpoint: Checkpoint,
        found: Mapping[str, Distribution],
        weights: Mapping[str, Distribution | None],
    ) -> tuple[Line, ...]:
        panels = []
        for what, vectors in (("matrices and kernels", False), ("biases and other vectors", True)):
            names = [name for name, tensor in checkpoint.items() if (tensor.ndim < 2) is vectors]
            if not names:
                continue
            ticks, x = tuple(visible(name) for name in names), np.arange(len(names), dtype=np.float64)
            series = {"max |g|": [_largest(found[name]) for name in names], "mean |g|": [_mean(found[name]) for name in names]}
            flags = flags_of(names, found)
            title = f"Gradient flow, first layer to last: {what}"
            y = {key: np.array(values) for key, values in series.items()}
            panels.append(Line(x, y, title, ylabel="|g|", xticks=ticks, log=True, flags=flags))
            panels += _ratio(names, found, weights, ticks, x, what, flags)
        return tuple(panels)


def _ratio(
    names: Sequence[str],
    found: Mapping[str, Distribution],
    weights: Mapping[str, Distribution | None],
    ticks: tuple[str, ...],
    x: Array,
    what: str,
    flags: Mapping[int, str],
) -> list[Line]:
    ratios = [_of_weight(found[name], weights[name]) for name in names]
    if all(ratio is None for ratio in ratios):
        return []
    y = np.array([np.nan if ratio is None else ratio for ratio in ratios])
    return [Line(x, {"ratio": y}, f"‖g‖/‖w‖: {what}", ylabel="‖g‖/‖w‖", xticks=ticks, log=True, flags=flags)]


def _mean(g: Distribution) -> float:
    return honest(g.l1 / g.finite if g.finite else np.nan, g.not_finite)


def _largest(g: Distribution) -> float:
    return honest(g.absmax, g.not_finite)


def _of_weight(g: Distribution, w: Distribution | None) -> float | None:
    """‖g‖/‖w‖; ``None`` without a weight, or of one that is 0."""
    return None if w is None or norm_of(w) == 0 else norm_of(g) / norm_of(w)


def typical(found: Iterable[Distribution]) -> float:
    """The median of the layers' mean |g|, of those that have a gradient at all; 0 where none has."""
    means = [g.l1 / g.finite for g in found if g.finite and g.l1 > 0]
    return float(np.median(means)) if means else 0.0
