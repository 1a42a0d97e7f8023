"""Which share of a training checkpoint is the model: found by what the shares hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch2grid_builtin.inert.limits import Work
from torch2grid_builtin.inert.values import Bag, NumpyArray, Pairs, StorageRef, Stub, Tensor
from torch2grid_builtin.inert.walk import key_text
from torch2grid_core import LazyTensor, Part

_AVERAGED = ("ema", "avg", "average", "shadow", "swa")
_DESCENTS = 3
_DOTS = 20


@dataclass
class _Share:
    key: str
    value: Any
    names: list[str]
    parameters: int = 0
    optimizer: bool = False


def find_parts(root: Any, tensors: Mapping[str, LazyTensor], work: Work | None = None) -> tuple[list[Part], str | None]:
    """The parts of a training checkpoint and the name of the model among them; ``([], None)`` for a state dict or module.

    The model is the share with most parameters under text keys that is not an optimizer's; it is called ``model``, and
    the optimizer's share ``optimizer``, unless the file has other entries of these names. Raises ``Malformed`` where finding
    them costs more than *work*.
    """
    prefix = ""
    looked = _Looked(work or Work())
    shares = _shares(root, prefix, tensors, looked)
    for _ in range(_DESCENTS):
        if len(shares) != 1 or not isinstance(shares[0].value, Pairs):
            break
        inner = _shares(shares[0].value, f"{prefix}{shares[0].key}.", tensors, looked)
        if not _is_training(shares[0].value, inner, looked) or len(inner) < 2:
            break
        prefix, root, shares = f"{prefix}{shares[0].key}.", shares[0].value, inner
    if not shares or not _is_training(root, shares, looked):
        return [], None
    models = [share for share in shares if not share.optimizer and looked.named_by_text(share.value)]
    if not models:
        return [], None
    best = max(share.parameters for share in models)
    largest = [share for share in models if share.parameters == best]
    model = next((share for share in largest if not any(word in share.key.lower() for word in _AVERAGED)), largest[0])
    keys = {share.key for share in shares}
    parts = []
    used: set[str] = set()
    for share in shares:
        name = share.key
        if share is model and "model" not in keys:
            name = "model"
        elif share.optimizer and "optimizer" not in keys | used:
            name = "optimizer"
        used.add(name)
        parts.append(Part(name, f"{prefix}{share.key}.", tuple(share.names)))
        if share is model:
            default = name
    taken = {name for share in shares for name in share.names}
    rest = tuple(name for name in tensors if name not in taken)
    if rest:
        name = "other"
        while name in used:
            name += "_"
        parts.append(Part(name, "", rest))
    return parts, default


def _shares(root: Any, prefix: str, tensors: Mapping[str, LazyTensor], looked: _Looked) -> list[_Share]:
    """The entries of *root* that are containers with tensors in them."""
    if not isinstance(root, Pairs):
        return []
    shares: dict[str, _Share] = {}
    for index, (key, value) in enumerate(root.entries()):
        if isinstance(value, (Pairs, Stub, list, tuple, Bag)):
            name = key_text(key, index)
            if name not in shares:
                shares[name] = _Share(name, value, [], optimizer="optim" in name.lower() or looked.is_optimizer(value))
    deepest = min(max((key.count(".") for key in shares), default=0), _DOTS)
    for name, tensor in tensors.items():
        if not name.startswith(prefix):
            continue
        pieces = name[len(prefix) :].split(".", deepest + 1)
        # The longest key first, where one key with its dot is the beginning of another.
        candidates = (".".join(pieces[:count]) for count in range(len(pieces) - 1, 0, -1))
        key = next((key for key in candidates if key in shares), "")
        share = shares.get(key)
        if share is not None:
            share.names.append(name)
            share.parameters += tensor.size
    return [share for share in shares.values() if share.names]


def _is_training(root: Any, shares: Sequence[_Share], looked: _Looked) -> bool:
    """True where *root* holds whole models or optimizers, not the modules of one model."""
    if not isinstance(root, Pairs) or not shares:
        return False
    if any(share.optimizer or isinstance(share.value, Stub) or looked.dotted(share.value) for share in shares):
        return True
    return len(shares) == 1 and not any(isinstance(value, (Tensor, NumpyArray, StorageRef)) for _, value in root.pairs)


class _Looked:
    """What objects are, asked once of each however often a file repeats it: all of them live as long as the root does."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.known: dict[tuple[str, int], bool] = {}

    def is_optimizer(self, value: Any) -> bool:
        """True for what ``Optimizer.state_dict()`` returns, a pickled optimizer, and lists and mappings of these."""
        return self._once(_is_optimizer, value)

    def dotted(self, value: Any) -> bool:
        """True for a state dict: tensors right under keys that have dots."""
        return self._once(_dotted, value)

    def named_by_text(self, value: Any) -> bool:
        """True where something stands under a key that is text."""
        return self._once(_named_by_text, value)

    def _once(self, ask: Callable[[Any, Work], bool], value: Any) -> bool:
        asked = (ask.__name__, id(value))
        if asked not in self.known:
            self.known[asked] = ask(value, self.work)
        return self.known[asked]


def _is_optimizer(value: Any, work: Work) -> bool:
    for _ in range(2):
        if isinstance(value, Stub):
            value = Pairs("dict", list(value.attributes(work)))
        if isinstance(value, Pairs):
            work.pairs(len(value.pairs))
            if value.get("param_groups") is not None:
                return True
            value = next((item for _, item in value.pairs if isinstance(item, (Pairs, Stub))), None)
        elif isinstance(value, (list, tuple)):
            value = value[0] if value else None
    return False


def _dotted(value: Any, work: Work) -> bool:
    if not isinstance(value, Pairs):
        return False
    work.pairs(min(len(value.pairs), 1000))
    return any(type(key) is str and "." in key and isinstance(item, (Tensor, NumpyArray)) for key, item in value.pairs[:1000])


def _named_by_text(value: Any, work: Work) -> bool:
    if isinstance(value, Pairs):
        work.pairs(len(value.pairs))
        return any(type(key) in (str, bytes) for key, _ in value.pairs)
    return isinstance(value, Stub)
