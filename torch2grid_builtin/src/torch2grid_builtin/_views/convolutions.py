"""Which tensors are the kernels of convolutions: by the class of their module, else by shape and name."""

from __future__ import annotations

import re

import numpy as np

from torch2grid_core import LazyTensor
from torch2grid_core.sources import is_complex, is_floating, kept_places, whole_shape

_LONGEST_1D, _LONGEST = 512, 128  # taps, and a side of a kernel; what is larger is a table, a plane or a stack of matrices
_LONGEST_NAMED = 16_384  # taps where the name says convolution: Fourier transforms are written as such
_DEEPEST = 16  # planes of a 3-D kernel; more are the input channels of (1, out, in, height, width)
_NAME = 500  # characters of a name that count, from its end
_CHANNELS = 1 << 16  # no convolution has more, but a cloud of points has
_FEW_TAPS = 7  # what is named as a projection or an attention is a convolution where it has no more: heads are wider
_SMALL_STACK = 32  # a stack of matrices has two dimensions that are longer than that

# Classes: convolutions of any library, and those of torch that are something else. Containers say nothing.
_IS_CONVOLUTION = re.compile(r"(?:(?!conv).)*conv\w*[123]d", re.IGNORECASE | re.DOTALL)  # from the first "conv" on
_OTHER_DOMAIN = re.compile(r"spectral|fourier|graph|fno|gcn", re.IGNORECASE)
_OF_TORCH = re.compile(r"torch\.(nn\.modules|ao\.nn)\.(?!container\.|module\.)")

# Last components of names. A word is what stands between underscores.
_NO_WEIGHT = re.compile(
    r"bias|mask|running_|num_batches|zero_?point|buffer|spline"
    r"|(^|_)(scale|scales|scaler|scaling|mean|var|std|g|u|gamma|beta|alpha|shift|temperature)\d*(_|$)"
)
_NO_KERNEL = re.compile(
    r"emb|token|table|pos_?enc|position|rel_?pos|codebook|codevector|anchor|^[a-jl-vx-z]$"
    r"|(^|_)(pe|pos|query|queries|latents?|caches?|states?|coefs?|coeffs?|grid|planes?|volume|voxels?|const|noise|codes|prototypes?"
    r"|mem|memory|null|prompts?|registers?|cent(er|re|roid)s?|points|coords|freqs|cos|sin|params)\d*(_|$)"
    r"|time_(maa|mix|decay|first|faaaa)"
)
_SAYS_WEIGHT = re.compile(r"weight|kernel|filter|conv")
_WEIGHT = re.compile(r"_?weight(_v|_orig|_bar|_raw)?$")
_NOT_ITS_OWN = re.compile(r"proj|gate|recurrent|qkv|(^|_)(ih|hh)(_|$)")  # in_proj_weight, weight_ih

# Modules.
_SAYS_CONVOLUTION = re.compile(r"conv|cnn|tcn")
_OF_A_FILTER = re.compile(r"filter|stft|basis|sinc")
_NORM = re.compile(r"norm|(^|[_.])(ln|bn|gn|grn|rms)\d*(_|$)")
_POSITIONS = re.compile(r"rel_?pos|position")
_STACKED = re.compile(r"expert|moe(_|\.|$)|bilinear|biaffine|einsum|ensemble")
_NUMBERED_EXPERT = re.compile(r"experts?\.\d+(\.|$)")
_PROJECTION = re.compile(
    r"att|query|key|value|proj|head|emb|linear|dense|rnn|lstm|gru|mlp|ffn|router|gate|qkv|out"
    r"|(^|_)([qkvor]|kv|w_?[qkvo]|fc|lin|w[123])\d*(_|$)"
)
_REPARAMETRISED = re.compile(r"(?:(?P<module>.*)\.)?parametrizations\.(?P<leaf>\w+)\.original(?P<number>\d?)")


def is_convolution(tensor: LazyTensor) -> bool:
    """True for the kernels of a convolution: floating (or int8 codes) of three to five dimensions.

    The class of the module decides where the file states it. Otherwise everything is a kernel that is not recognised as
    something else by its name or shape; ``docs/gallery.md`` has the rule.
    """
    whole = whole_shape(tensor.shape)
    if not 3 <= len(whole) <= 5 or not tensor.size or max(whole[:2]) > _CHANNELS:
        return False
    if not (is_floating(tensor.dtype) or is_complex(tensor.dtype) or tensor.dtype == np.int8):
        return False
    module, leaf = _module_and_leaf(tensor.name[-_NAME:].lower())
    if _NO_WEIGHT.search(leaf) or (is_complex(tensor.dtype) and leaf != "weight"):
        return False
    if tensor.dtype == np.int8 and not _SAYS_WEIGHT.search(leaf):
        return False
    by_class = _by_class(tensor.module_class)
    if by_class is not None:
        return by_class and (bool(_SAYS_WEIGHT.search(leaf)) or not _is_broadcast(whole))
    return _by_name(module, leaf, tensor.module_class.rpartition(".")[2].lower(), _of_kernels(whole, tensor.module_class))


def kernels_shape(tensor: LazyTensor) -> tuple[int, ...]:
    """(out, in, …) of the kernels: the shape, without the 1 that networks put before it whose kernels depend on a style.

    Of a part, a dimension of which one index was taken has length 1.
    """
    shape, whole = tuple(map(len, kept_places(tensor.shape))), whole_shape(tensor.shape)
    return shape[len(whole) - len(_of_kernels(whole, tensor.module_class)) :]


def _of_kernels(shape: tuple[int, ...], module_class: str) -> tuple[int, ...]:
    styled = len(shape) == 5 and shape[0] == 1 and shape[2] > _DEEPEST and not module_class
    return shape[1:] if styled else shape


def is_transposed(tensor: LazyTensor) -> bool:
    """True where the class of the module says that dimension 0 counts input channels."""
    return "transpose" in tensor.module_class.rpartition(".")[2].lower()


def channel_names(tensor: LazyTensor) -> tuple[str, str]:
    """What dimensions 0 and 1 of a kernel count."""
    return ("input channel", "output channel") if is_transposed(tensor) else ("output channel", "input channel")


def _module_and_leaf(name: str) -> tuple[str, str]:
    """The path of the module and the name in it, of what parametrisations keep too: the direction of a weight is its weight."""
    found = _REPARAMETRISED.fullmatch(name)
    if found:
        return found["module"] or "", found["leaf"] + {"0": "_g", "1": "_v"}.get(found["number"], "")
    module, _, leaf = name.rpartition(".")
    return module, leaf


def _by_class(path: str) -> bool | None:
    """Whether the class at *path* is a convolution; ``None`` where that is not known."""
    name = path.rpartition(".")[2]
    if _IS_CONVOLUTION.match(name):
        return not _OTHER_DOMAIN.search(name)
    return False if _OF_TORCH.match(path) else None


def _is_broadcast(shape: tuple[int, ...]) -> bool:
    """True for a vector, or one entry for a whole batch: gates and scales of channels, tokens, embeddings of positions."""
    return shape[0] == 1 or sum(length > 1 for length in shape) <= 1


def _by_name(module: str, leaf: str, of_class: str, shape: tuple[int, ...]) -> bool:
    own = module.rpartition(".")[2]
    says_weight = bool(_SAYS_WEIGHT.search(leaf))
    says_convolution = bool(_SAYS_CONVOLUTION.search(f"{module}.{leaf}") or _OF_A_FILTER.search(f"{own}.{leaf}"))
    if not says_weight and (_is_broadcast(shape) or _NO_KERNEL.search(leaf)):
        return False
    if not _SAYS_CONVOLUTION.search(own) and (_NORM.search(own) or _NORM.search(of_class)):
        return False
    kernel = shape[2:]
    positions = ("pos" in own and "emb" in own) or _POSITIONS.search(own)
    if positions and not says_convolution:  # some models encode positions by a convolution of each channel
        return shape[0] > 1 == shape[1] and max(kernel) <= _FEW_TAPS
    longest = _LONGEST
    if min((*kernel, 1)) == 1 and sum(length > 1 for length in kernel) <= 1:
        longest = _LONGEST_NAMED if says_convolution and says_weight else _LONGEST_1D
    if max(kernel) > longest:
        return False
    if _SAYS_CONVOLUTION.search(f"{own}.{leaf}"):
        return True
    if _STACKED.search(f"{module}.{leaf}") or _STACKED.search(of_class):
        alone = _NUMBERED_EXPERT.search(module) and says_weight  # an expert of a list has modules of its own
        return bool(alone) and max(kernel) <= _FEW_TAPS
    if says_convolution:
        return True
    if len(kernel) == 1 and "lora" in f"{module}.{leaf}":
        return False
    if _PROJECTION.search(f"{own}_{of_class}") or _PROJECTION.search(_WEIGHT.sub("", leaf)):
        own_weight = says_weight and leaf != "kernel" and not _NOT_ITS_OWN.search(leaf)  # JAX calls matrices kernels, too
        return own_weight and max(kernel) <= (_FEW_TAPS if len(kernel) == 1 else _SMALL_STACK)
    return len(kernel) > 1 or min(shape[1], kernel[0]) <= _SMALL_STACK
