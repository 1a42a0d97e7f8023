"""The last update of a parameter, from what the optimizer keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
WEIGHT = "weight"
USUAL = 1e-3  # ‖update‖/‖w‖ of one step, by rule of thumb (Bottou; CS231n): much above trains unstably, much below slowly


PAIRS = " as pairs"  # behind the name of a complex second moment: as it is stored, where the slot's own name has its sums


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
