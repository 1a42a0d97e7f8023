"""What a training checkpoint says of its optimizer: which state belongs to which parameter, and the last update."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from torch2grid_core import Checkpoint, LazyTensor, NotDrawable
from torch2grid_core.sources import ComputedStorage, JointTensor, is_complex, is_floating

Array = np.ndarray[Any, Any]
WEIGHT = "weight"
USUAL = 1e-3  # ‖update‖/‖w‖ of one step, by rule of thumb (Bottou; CS231n): much above trains unstably, much below slowly
PAIRS = " as pairs"  # behind the name of a complex second moment: as it is stored, where the slot's own name has its sums
_BUFFERS = re.compile(r"(^|\.)(running_mean|running_var|num_batches_tracked)$")
SETTINGS = "param_groups"
_WIDE = [np.dtype(name) for name in ("float64", "complex64", "complex128")]  # of a state, and of the update then


def _widest(array: Array) -> Array:
    """A copy in float64, or complex128."""
    with np.errstate(all="ignore"):
        return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _parts(array: Array) -> Array:
    """The real and imaginary parts of complex numbers in turn, float64."""
    return _widest(array).view(np.float64)


@dataclass(frozen=True)
class SumOfParts:
    """Re + Im of the complex second moments in *slot*: the mean of |g|² of complex gradients, of the size of g."""

    slot: str

    def __call__(self, arrays: Mapping[str, Array]) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(_parts(arrays[self.slot]).reshape(-1, 2).sum(axis=1))


@dataclass(frozen=True)
class AdamUpdate:
    """lr·m̂ / (√v̂ + ε), which Adam (Kingma & Ba, 2015) takes off the weights; of amsgrad with the largest v.

    step: steps taken so far, t in m̂ = m/(1−β₁ᵗ) and v̂ = v/(1−β₂ᵗ). decay: lr·λ of AdamW, whose lr·λ·w the update leaves out.
    Computed in float64. PyTorch takes a complex parameter for pairs of real ones, each part with moments of its own.
    """

    lr: float
    beta1: float
    beta2: float
    eps: float
    step: float
    amsgrad: bool = False
    decay: float = 0.0

    def __call__(self, arrays: Mapping[str, Array]) -> Array:
        slot = "max_exp_avg_sq" if self.amsgrad and "max_exp_avg_sq" in arrays else "exp_avg_sq"
        first, second = arrays["exp_avg"], arrays.get(slot + PAIRS, arrays[slot])
        pairs = first.dtype.kind == second.dtype.kind == "c"
        m, v = (_parts(first), _parts(second)) if pairs else (_widest(first), _widest(second))
        with np.errstate(all="ignore"):
            m *= self.lr / (1 - self.beta1**self.step) if self.step else 0.0
            v /= (1 - self.beta2**self.step) if self.step else 1.0
            update = m / (np.sqrt(v) + self.eps)
        return np.asarray(update.view(np.complex128) if pairs else update)

    @property
    def formula(self) -> str:
        """The rule, short."""
        return "lr·m̂/(√v̂+ε)"

    @property
    def text(self) -> str:
        """The rule and its settings, as a title says them."""
        name = "AdamW" if self.decay else "Adam"
        return f"{name}, lr {self.lr:.3g}, betas {self.beta1:g} and {self.beta2:g}, eps {self.eps:g}, step {self.step:,.0f}"


@dataclass(frozen=True)
class MomentumUpdate:
    """lr·b with SGD's momentum buffer b. Nesterov's look ahead needs the gradient, which is not kept: it is left out."""

    lr: float
    nesterov: bool = False
    decay: float = 0.0

    def __call__(self, arrays: Mapping[str, Array]) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(_widest(arrays["momentum_buffer"]) * self.lr)

    @property
    def formula(self) -> str:
        """The rule, short."""
        return "lr·momentum_buffer" + (", without Nesterov's gradient" if self.nesterov else "")

    @property
    def text(self) -> str:
        """The rule and its settings, as a title says them."""
        return f"SGD with momentum, lr {self.lr:.3g}"


@dataclass(frozen=True)
class UnknownUpdate:
    """The update of an optimizer whose rule is not known: NaN."""

    formula = "not known"
    text = "an optimizer whose rule is not known"

    def __call__(self, arrays: Mapping[str, Array]) -> Array:
        return np.full(len(next(iter(arrays.values()))), np.nan, np.float32)


Update = AdamUpdate | MomentumUpdate | UnknownUpdate


def update_of(group: Mapping[str, Any], slots: Mapping[str, object], step: float | None) -> Update:
    """How the parameter whose state holds *slots* was updated, by its *group*'s settings.

    A state dict does not name its optimizer. Adam and AdamW keep ``exp_avg`` and ``exp_avg_sq``; NAdam (``momentum_decay``)
    and RAdam (no ``amsgrad``) do too, and take other steps. SGD keeps ``momentum_buffer``. With
    ``maximize`` the state is that of the negated gradient, so that nothing else changes.
    """
    lr, betas, eps = group.get("lr"), group.get("betas"), group.get("eps")
    if not isinstance(lr, (int, float)):
        return UnknownUpdate()
    betas = [beta for beta in betas if isinstance(beta, (int, float))] if isinstance(betas, list) else []
    if "exp_avg" in slots and "exp_avg_sq" in slots and len(betas) == 2:
        other = "momentum_decay" in group or ("decoupled_weight_decay" in group and "amsgrad" not in group)
        if other or step is None or not isinstance(eps, (int, float)):
            return UnknownUpdate()
        return AdamUpdate(lr, float(betas[0]), float(betas[1]), eps, step, bool(group.get("amsgrad")), _decay(group, lr))
    if "momentum_buffer" in slots and "momentum" in group and "alpha" not in group:
        return MomentumUpdate(lr, bool(group.get("nesterov")))
    return UnknownUpdate()


def _decay(group: Mapping[str, Any], lr: float) -> float:
    """lr·λ of decoupled weight decay; 0 where decay is part of the gradient, or the file does not say (PyTorch before 2.7)."""
    decay = group.get("weight_decay")
    return float(lr * decay) if isinstance(decay, (int, float)) and group.get("decoupled_weight_decay") else 0.0


@dataclass(frozen=True)
class Entry:
    """The state of one parameter. slots: what is kept for it, by name; group: the settings of its parameter group."""

    key: str
    group: Mapping[str, Any]
    slots: Mapping[str, LazyTensor]
    step: float | None
    name: str = ""
    weight: LazyTensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the parameter; there is a slot at least."""
        return next(iter(self.slots.values())).shape

    @property
    def update(self) -> Update:
        """How the last step changed the parameter."""
        return update_of(self.group, self.slots, self.step)


@dataclass(frozen=True)
class OptimizerState:
    """One optimizer's entries, in the order of its parameter groups. notes: what was assumed, and what is missing."""

    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = field(default=())


def optimizer_state(checkpoint: Checkpoint) -> OptimizerState:
    """The state of the first optimizer of *checkpoint.whole* that has any, with the parameters of *checkpoint*.

    Raises ``NotDrawable`` where there is none.
    """
    whole = checkpoint.whole
    for key, value in whole.metadata.items():
        if key == SETTINGS or key.endswith(f".{SETTINGS}"):
            entries = _entries(whole, key[: -len(SETTINGS)], _groups(value))
            if entries:
                return _named(entries, checkpoint)
    reason = "holds none"
    if any(key.endswith(SETTINGS) for key in whole.metadata):
        reason = "has parameter groups and no state yet"
    elif any(part.kind == "optimizer" for part in whole.parts):
        reason = "has one whose parameter groups are not there; --part optimizer shows what is stored"
    raise NotDrawable(
        f"{whole.source}: --optimizer draws the state of an optimizer in a training checkpoint, and this {reason}"
    )


def _groups(text: str) -> list[dict[str, Any]]:
    """The parameter groups in a metadata value; none where it is other text, as any file may have under that name."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return []
    return [group for group in found if isinstance(group, dict)] if isinstance(found, list) else []


def _entries(whole: Checkpoint, prefix: str, groups: Sequence[Mapping[str, Any]]) -> list[Entry]:
    by_key: dict[str, dict[str, LazyTensor]] = {}
    start = f"{prefix}state."
    for name, tensor in whole.items():
        if name.startswith(start):
            key, _, slot = name[len(start) :].rpartition(".")
            by_key.setdefault(key, {})[slot] = tensor
    entries = []
    for number, group in enumerate(groups):
        settings = {**group, **_tensor_settings(whole, f"{prefix}{SETTINGS}.{number}.")}
        names, keys, steps = (group.get(key) for key in ("param_names", "params", "steps"))
        names, keys = (list(map(str, each)) if isinstance(each, list) else [] for each in (names, keys))
        for index, key in enumerate(keys):
            found = by_key.get(key, {})
            number_of_steps = steps.get(key) if isinstance(steps, dict) else None
            step = _step(found.get("step"), number_of_steps if isinstance(number_of_steps, (int, float)) else None)
            slots = {slot: tensor for slot, tensor in found.items() if slot != "step" and tensor.ndim + tensor.size != 1}
            slots = {slot: tensor for slot, tensor in slots.items() if tensor.shape == _common(slots) and tensor.size}
            name = names[index] if index < len(names) else key if "." in key else ""
            entries.append(Entry(key, settings, slots, step, name))
    return entries if any(entry.slots for entry in entries) else []


def _common(slots: Mapping[str, LazyTensor]) -> tuple[int, ...]:
    """The shape of the parameter: that of the largest state."""
    return max(slots.values(), key=lambda tensor: tensor.size).shape


def _tensor_settings(whole: Checkpoint, prefix: str) -> dict[str, float]:
    """Settings that are tensors of one number, as a capturable learning rate is."""
    return {
        name[len(prefix) :]: float(tensor.numpy().reshape(-1)[0])
        for name, tensor in whole.items()
        if name.startswith(prefix) and tensor.size == 1 and "." not in name[len(prefix) :]
    }


def _step(tensor: LazyTensor | None, number: float | None) -> float | None:
    return float(tensor.numpy().reshape(-1)[0]) if tensor is not None and tensor.size == 1 else number


def _named(entries: Sequence[Entry], checkpoint: Checkpoint) -> OptimizerState:
    """Entries with the names and the weights of their parameters: by name where the file has them, else in order."""
    whole = checkpoint.whole
    model = whole.part(whole.default_part) if whole.default_part else Checkpoint({}) if whole is checkpoint else checkpoint
    parameters = {
        name: tensor
        for name, tensor in model.items()
        if name not in model.aliases and (is_floating(tensor.dtype) or is_complex(tensor.dtype)) and not _BUFFERS.search(name)
    }
    notes = []
    if all(entry.name in parameters for entry in entries):
        places: dict[str, str] = {entry.key: entry.name for entry in entries}
    else:
        places, note = _in_order(entries, parameters)
        notes += [note] if note else []
    named = []
    for entry in entries:
        name = places.get(entry.key, "")
        if not entry.slots or (name and whole.default_part and checkpoint is not whole and name not in checkpoint):
            continue  # without state so far, or filtered out
        weight = parameters.get(name)
        if weight is not None and weight.shape != entry.shape:
            weight = None
        named.append(Entry(entry.key, entry.group, entry.slots, entry.step, name or f"parameter {entry.key}", weight))
    if not named:
        raise NotDrawable(f"{whole.source}: no optimizer state is left to draw")
    return OptimizerState(tuple(named), tuple(notes))


def _in_order(entries: Sequence[Entry], parameters: Mapping[str, LazyTensor]) -> tuple[dict[str, str], str]:
    """Key → name, and what to say of it: by the order of the parameters where all have their place and shape.

    Where an optimizer holds only some of them, or groups split them, those of one shape are matched in order if there are as
    many entries as parameters of that shape, of all of them or of the modules that have a matched parameter already.
    """
    names = list(parameters)
    one_group = len(entries) == len(names) and len({id(entry.group) for entry in entries}) == 1
    pairs = list(zip(entries, names, strict=False))
    if one_group and all(not entry.slots or entry.shape == parameters[name].shape for entry, name in pairs):
        return {entry.key: name for entry, name in pairs}, ""
    waiting: dict[tuple[int, ...], list[Entry]] = {}
    for entry in entries:
        if entry.slots:
            waiting.setdefault(entry.shape, []).append(entry)
    places: dict[str, str] = {}
    for known_modules in (False, True):
        modules = {_module(name) for name in places.values()}
        for shape, left in list(waiting.items()):
            alike = [
                name for name in names if parameters[name].shape == shape and (not known_modules or _module(name) in modules)
            ]
            if len(alike) == len(left) and len({id(entry.group) for entry in left}) == 1:
                places.update((entry.key, name) for entry, name in zip(left, alike, strict=True))
                del waiting[shape]
    if not names:
        return places, ""
    unsure = sum(map(len, waiting.values()))
    note = f"matched by order and shape; {len(names) - len(places)} parameters have no state"
    return places, f"{note}, {unsure} entries could be several parameters" if unsure else note


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def joint_state(entry: Entry) -> JointTensor:
    """The last update of one parameter (NaN where its rule is not known), with its weight and state as members.

    Of a complex parameter the second moments of its two parts are one member, their sum, and another as they are stored, whose
    name ends with ``PAIRS``.
    Raises ``NotDrawable`` for members that are all expanded, each in a way of its own.
    """
    members = {WEIGHT: entry.weight} if entry.weight is not None else {}
    for slot, tensor in entry.slots.items():
        if is_complex(tensor.dtype) and slot.endswith("exp_avg_sq") and not tensor.repeats:
            members[slot] = _sum_of_parts(slot, tensor)
            members[slot + PAIRS] = tensor
        else:
            members[slot] = tensor
    kinds = [np.dtype(np.float32), *(each.dtype for each in entry.slots.values() if each.dtype in _WIDE)]
    try:
        note = f"last update {entry.update.formula}"
        return JointTensor.of(entry.name, members, entry.update, np.result_type(*kinds), note)
    except ValueError as error:
        raise NotDrawable(f"the state of {error}") from error


def _sum_of_parts(slot: str, tensor: LazyTensor) -> LazyTensor:
    dtype = np.dtype(np.float64 if tensor.dtype.itemsize > 8 else np.float32)
    return LazyTensor(tensor.name, tensor.shape, dtype, ComputedStorage([(slot, tensor)], SumOfParts(slot), dtype))
