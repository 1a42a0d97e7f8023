"""The gradients of a live model: drawn, saved beside the weights for later, or recorded while it trains."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from torch2grid._pages import Pages
from torch2grid._safetensors_file import save
from torch2grid._session import choosing, manager, view_with
from torch2grid_builtin.live import local_shard
from torch2grid_core import Checkpoint, UsageError
from torch2grid_core.measures import Distribution
from torch2grid_core.sources import ObjectSource

if TYPE_CHECKING:
    from typing import Unpack

    import torch

    from torch2grid._keywords import Filters, PageFields, Patterns, Positions


_FORMAT = "torch2grid gradients 1"


def gradients(
    model: Any,
    *,
    vanishing: float | None = None,
    exploding: float | None = None,
    spread: float | None = None,
    each: bool | None = None,
    overview: bool | None = None,
    only: Patterns | None = None,
    skip: Patterns | None = None,
    tensors: Positions | None = None,
    filter: Filters | None = None,
    part: str | None = None,
    slice: Any = None,
    **settings: Unpack[PageFields],
) -> Pages:
    """The gradient flow of *model* and a page for each parameter.

    model: a module after ``backward()``, or a path or ``Checkpoint`` that holds gradients. Nothing of a module is copied, and
    its gradients stay as they are. vanishing to overview: options of the view; the rest: see ``draw``. Raises ``UsageError``
    for a module without gradients.
    """
    from torch2grid._api import draw

    spec = view_with("gradients", vanishing=vanishing, exploding=exploding, spread=spread, each=each, overview=overview)
    chosen = choosing(settings, only=only, skip=skip, tensors=tensors, filter=filter, part=part, slice=slice)
    return draw(as_gradients(model), [spec], **chosen)


def as_gradients(model: Any) -> Any:
    """*model* itself, or the gradients and weights of a live module as a ``Checkpoint``."""
    import sys

    torch = sys.modules.get("torch")
    if torch is None or not isinstance(model, torch.nn.Module):
        return model
    return manager().open(ObjectSource(_tensors(model), type(model).__name__))


def save_gradients(model: torch.nn.Module, path: str | os.PathLike[str], *, weights: bool = True, **facts: Any) -> Path:
    """Write the gradients of *model* after ``backward()`` to a safetensors file, and return its path.

    Each is named ``<parameter>.grad``; the parameters come along under their own names unless *weights* is false. facts:
    kept as text in the file's metadata, such as ``step=1200``. Raises ``UsageError`` where no parameter has a gradient.
    """
    tensors = _tensors(model)
    if not weights:
        tensors = {name: tensor for name, tensor in tensors.items() if name.endswith(".grad")}
    return save(tensors, path, {"format": _FORMAT, **{key: str(value) for key, value in facts.items()}})


def _tensors(model: torch.nn.Module) -> Mapping[str, torch.Tensor]:
    """Parameters by name, each followed by its gradient, as this process holds them; those without a gradient are left out."""
    found: dict[str, torch.Tensor] = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            found[name] = local_shard(parameter.detach())
            found[f"{name}.grad"] = local_shard(parameter.grad.detach())
    if not found:
        raise UsageError(f"{type(model).__name__} has no gradients: call backward() first, and call this before zero_grad()")
    return found


Array = np.ndarray[Any, Any]
_RECORDING = "torch2grid recording 1"
FIGURES = ("mean", "std", "min", "max", "zeros", "nan", "posinf", "neginf", "weight_norm")
_CODES = 65_536
_PIECE = 1 << 20  # gradients counted at a time: what they need beside them stays small
_FEW = 1 << 16  # so many gradients are cheaper to sort than to count in 65,536 buckets


class GradientRecorder:
    """Records a ``Distribution`` of each parameter's gradient, every *every* steps, while it is entered::

        with GradientRecorder(model, every=50) as recorder:
            for batch in batches:
                optimizer.zero_grad()
                loss(model, batch).backward()
                optimizer.step()
        recorder.save("run/gradients.safetensors")

    Gradients are looked at when an optimizer that holds parameters of *model* is about to step: after accumulation, unscaling
    and clipping. Nothing is hooked into the model, and steps in between cost one comparison. They are counted where they are,
    on their device; some kilobytes a parameter come back. Of a ``DTensor`` (FSDP 2), the shard of this process is counted.
    ``record`` does it by hand, for loops without a ``torch.optim`` optimizer.

    steps: of the records so far, counted from 1. Raises ``ValueError`` for *every* below 1, ``UsageError`` for a model
    without parameters.
    """

    def __init__(self, model: torch.nn.Module, every: int = 50) -> None:
        if every < 1:
            raise ValueError("every must be 1 or more")
        self.every = every
        self.steps: list[int] = []
        self._parameters = {name: each for name, each in model.named_parameters() if each.requires_grad}
        if not self._parameters:
            raise UsageError(f"{type(model).__name__} has no parameters that are trained")
        self._mine = {id(each) for each in self._parameters.values()}
        self._taken: dict[str, list[_Record | None]] = {name: [] for name in self._parameters}
        self._counts: dict[int, int] = {}
        self._handle: Any = None

    def __enter__(self) -> GradientRecorder:
        from torch.optim.optimizer import register_optimizer_step_pre_hook

        self._handle = register_optimizer_step_pre_hook(self._before_step)
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def _before_step(self, optimizer: Any, *_: object) -> None:
        count = self._counts.get(id(optimizer), 0) + 1
        if count == 1 and not any(id(each) in self._mine for group in optimizer.param_groups for each in group["params"]):
            return  # another model's
        self._counts[id(optimizer)] = count
        if (count - 1) % self.every == 0:
            held = {id(each) for group in optimizer.param_groups for each in group["params"]}
            self._take(count, held, _scale(optimizer))

    def record(self, step: int | None = None) -> None:
        """Record the gradients as they are now. step: its number, one more than the last unless given."""
        self._take(step if step is not None else (self.steps[-1] + 1 if self.steps else 1), self._mine)

    def _take(self, step: int, held: set[int], scale: float = 1.0) -> None:
        import torch

        if not self.steps or self.steps[-1] != step:  # a second optimizer's step of the same number joins the first's
            self.steps.append(step)
            for records in self._taken.values():
                records.append(None)
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                if id(parameter) in held and parameter.grad is not None:
                    self._taken[name][-1] = _Record.of(local_shard(parameter.grad), local_shard(parameter), scale)

    def distributions(self, name: str) -> list[Distribution | None]:
        """The gradient of parameter *name* at each of ``steps``, ``None`` where it had none."""
        return [None if record is None else record.distribution() for record in self._taken[name]]

    def __repr__(self) -> str:
        return f"<GradientRecorder of {len(self._parameters)} parameters, {len(self.steps)} records>"

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the recording as a safetensors file, which ``torch2grid compare FILE`` draws; the path.

        ``steps``: int64, (S,). For each parameter ``<name>/codes`` (uint16) and ``<name>/counts`` (int64), the buckets of all
        records one after another, ``<name>/ends`` (int64, (S,)), where each ends, and ``<name>/figures`` (float64, (S, 9)).
        Raises ``UsageError`` where nothing was recorded.
        """
        return save(self._arrays(), path, self._metadata)

    def checkpoint(self) -> Checkpoint:
        """The same as a checkpoint in memory, for ``series``. Raises ``UsageError`` where nothing was recorded."""
        found = manager().open(ObjectSource(self._arrays(), "recording"), raw=True)
        return Checkpoint(list(found.values()), source="recording", format="live", metadata=self._metadata)

    @property
    def _metadata(self) -> dict[str, str]:
        return {"format": _RECORDING, "every": str(self.every), "figures": ",".join(FIGURES)}

    def _arrays(self) -> dict[str, Array]:
        if not self.steps:
            raise UsageError("nothing was recorded: no optimizer took a step while the recorder was entered")
        tensors: dict[str, Array] = {"steps": np.array(self.steps, np.int64)}
        for name, records in self._taken.items():
            present = [record for record in records if record is not None]
            if not present:
                continue
            sizes = [0 if record is None else len(record.codes) for record in records]
            nothing = np.full(len(FIGURES), np.nan)
            tensors[f"{name}/codes"] = np.concatenate([record.codes for record in present])
            tensors[f"{name}/counts"] = np.concatenate([record.counts for record in present])
            tensors[f"{name}/ends"] = np.cumsum(sizes, dtype=np.int64)
            tensors[f"{name}/figures"] = np.stack([nothing if record is None else record.figures for record in records])
        return tensors


def _scale(optimizer: Any) -> float:
    """What gradients were multiplied with: a ``GradScaler`` leaves it to a fused optimizer's step to divide by it."""
    scale = getattr(optimizer, "grad_scale", None)
    return 1.0 if scale is None else float(scale)


class _Record:
    """One gradient, counted. codes: uint16, ascending; counts: int64; figures: float64, in the order of ``FIGURES``."""

    __slots__ = ("codes", "counts", "figures")

    def __init__(self, codes: Array, counts: Array, figures: Array) -> None:
        self.codes, self.counts, self.figures = codes, counts, figures

    @classmethod
    def of(cls, gradient: torch.Tensor, parameter: torch.Tensor, scale: float = 1.0) -> _Record:
        """Count *gradient* on its device. scale: what it was multiplied with, and is to be divided by."""
        import torch

        if gradient.layout is not torch.strided:
            gradient = gradient.coalesce().values() if gradient.layout is torch.sparse_coo else gradient.values()
        values = gradient.reshape(-1)
        values = (values.abs() if values.is_complex() else values).float()
        if scale != 1.0:
            values = values / scale
        code, count = _counted(values)
        finite = (code & 0x7F80) != 0x7F80
        bad: tuple[int, ...] = (0, 0, 0)
        if not finite.all():
            bad = tuple(int(each(values).sum()) for each in (torch.isnan, torch.isposinf, torch.isneginf))
            values = values[torch.isfinite(values)]
            code, count = code[finite], count[finite]
        if values.numel():
            std, mean = torch.std_mean(values, correction=0)
            low, high = torch.aminmax(values)
        else:
            std = mean = low = high = values.new_zeros(())
        figures = torch.stack([mean, std, low, high, _norm(parameter).to(values.device)]).cpu().numpy().astype(np.float64)
        smallest = code.size and (code[0] == 0 or (code == 0x8000).any())  # their buckets hold the zeros, and the subnormal
        zeros = int((values == 0).sum()) if smallest else 0
        return cls(code, count, np.array([*figures[:4], zeros, *bad, figures[4]]))

    def distribution(self) -> Distribution:
        from torch2grid_builtin.compare import recorded_distribution

        figures = dict(zip(FIGURES, self.figures.tolist(), strict=True))
        return recorded_distribution(self.codes, self.counts, figures)


def _counted(values: torch.Tensor) -> tuple[Array, Array]:
    """The distinct upper 16 bits of float32 *values*, ascending (uint16), and how many have each (int64)."""
    import torch

    if values.device.type == "cpu" and len(values) < _FEW:
        codes = (values.view(torch.int32) >> 16).to(torch.int16)
        found, counts = np.unique(codes.numpy().view(np.uint16), return_counts=True)  # a radix sort, in the cache
        return found, counts.astype(np.int64)
    dense = torch.zeros(_CODES, dtype=torch.int64, device=values.device)
    for piece in torch.split(values, _PIECE):
        dense += torch.bincount((piece.view(torch.int32) >> 16) & 0xFFFF, minlength=_CODES)
    present = dense.nonzero().reshape(-1)
    return present.cpu().numpy().astype(np.uint16), dense[present].cpu().numpy().astype(np.int64)


def _norm(parameter: torch.Tensor) -> torch.Tensor:
    """The Euclidean norm, float32, added up in float32 at least and without a copy of *parameter* where torch can."""
    import torch

    if parameter.dtype in (torch.float16, torch.bfloat16):
        norm: torch.Tensor = torch.linalg.vector_norm(parameter, dtype=torch.float32)
    else:
        norm = torch.linalg.vector_norm(parameter if parameter.dtype.itemsize > 2 else parameter.float())  # float8 has no sums
    return norm.float()
