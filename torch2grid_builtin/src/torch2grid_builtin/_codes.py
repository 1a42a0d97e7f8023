"""Which tensors of a checkpoint are codes, scales and zero points of quantised weights: nobody judges these as weights."""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterator

from torch2grid_builtin._undecoded import OTHERS
from torch2grid_core import Checkpoint, LazyTensor
from torch2grid_core.sources import is_floating

# Last components of names that only the modules of quantised weights have.
_MARK = re.compile(
    r"weight_packed|\w*_scale_inv|q?scale_weight|weight_scale(_2)?|\w+_blocks|qweight|qzeros|W_q|SCB|_?\w*qdata|_data|quant_map"
    r"|int_data|float8_data|packed_weight|absmax|bitsandbytes__\w+|_packed_params|packed_weights"
)
# Of ONNX Runtime: codes, and what stands beside them, after the name of the weight or that of the codes.
_BESIDE = {
    re.compile(r"(?P<weight>.+)_quantized"): ("_scale", "_zero_point"),
    re.compile(r"(?P<weight>.+)_Q(?P<bits>[248])(?:G\d+)?"): ("_scales", "_zero_points"),
}
_LEARNED = ("bias", "weight")

_last: tuple[weakref.ref[Checkpoint], frozenset[str]] | None = None


def codes(checkpoint: Checkpoint) -> frozenset[str]:
    """The names of tensors that are stored for a quantised weight and that no decoder has composed."""
    global _last
    if _last is None or _last[0]() is not checkpoint:
        _last = (weakref.ref(checkpoint), _codes(checkpoint))
    return _last[1]


def others(checkpoint: Checkpoint) -> Iterator[tuple[str, str]]:
    """(scheme, name of the module with its dot) of each weight in one of ``OTHERS``."""
    for scheme, (first, *more) in OTHERS.items():
        for name in checkpoint:
            module = name.removesuffix(more[-1])
            if not name.endswith(more[-1]) or not (module == "" or module.endswith(".")):
                continue
            codes = checkpoint.get(f"{module}{first}")
            if codes is not None and _is_coded(codes) and all(f"{module}{end}" in checkpoint for end in more):
                yield scheme, module


def of_onnx_runtime(checkpoint: Checkpoint) -> Iterator[tuple[str, re.Match[str], tuple[str, ...]]]:
    """(name of the codes, what it is read as, names of scale and zero point) of each weight that ONNX Runtime quantised."""
    for pattern, ends in _BESIDE.items():
        for name, tensor in checkpoint.items():
            match = pattern.fullmatch(name)
            if match is None or not _is_coded(tensor):
                continue
            for front in (match["weight"], name):
                if f"{front}{ends[0]}" in checkpoint:
                    yield name, match, tuple(each for end in ends if (each := f"{front}{end}") in checkpoint)
                    break


def _is_coded(tensor: LazyTensor) -> bool:
    """True for what is no number of two bytes and more that weights may be."""
    return not is_floating(tensor.dtype) or tensor.dtype.itemsize == 1


def _codes(checkpoint: Checkpoint) -> frozenset[str]:
    marks = {last for last in {name.rpartition(".")[2] for name in checkpoint} if _MARK.fullmatch(last)}
    streams = any(tensor.dtype.name == "uint32" and name.endswith("weight") for name, tensor in checkpoint.items())
    undecoded = {module.removesuffix(".") for _, module in others(checkpoint)}
    found = {each for name, _, more in of_onnx_runtime(checkpoint) for each in (name, *more)}
    if not marks and not streams and not undecoded:
        return frozenset(found - checkpoint.composed.keys())
    modules: dict[str, list[str]] = {}
    for name in checkpoint:
        modules.setdefault(name.rpartition(".")[0], []).append(name)
    for module, names in modules.items():
        last = [name.rpartition(".")[2] for name in names]
        is_marked = not marks.isdisjoint(last) or module in undecoded
        if is_marked or ("scales" in last and _is_stream(checkpoint, f"{module}.weight")):
            found.update(name for name in names if not _is_learned(checkpoint, name))
            if module in checkpoint:  # statistics beside the codes that they are of
                found.add(module)
    return frozenset(found - checkpoint.composed.keys())


def _is_stream(checkpoint: Checkpoint, name: str) -> bool:
    return name in checkpoint and checkpoint[name].dtype.name == "uint32"


def _is_learned(checkpoint: Checkpoint, name: str) -> bool:
    """True for the bias of a quantised module, and for what may stand beside its codes and is a floating weight."""
    tensor = checkpoint[name]
    return name.rpartition(".")[2].endswith(_LEARNED) and is_floating(tensor.dtype) and tensor.dtype.itemsize > 1
