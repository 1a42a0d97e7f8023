"""What a container of a pickle is, by what it holds: a module, an optimizer's state, a schedule, a random generator."""

from __future__ import annotations

from typing import Any

from torch2grid_builtin._inert.limits import Work
from torch2grid_builtin._inert.values import Pairs, Stub, text
from torch2grid_core.sources import ContainerKind

ARCHIVE = "archive"  # the kind of mapping that a loader makes of a TorchScript archive: its module, and its constants
_KEYS = 256  # entries of a mapping that is looked at: optimizers and schedules have some ten
_MODULE = frozenset(("_parameters", "_modules"))
# Each of these sets of keys is an optimizer's: torch's, fastai's, DeepSpeed's.
_OPTIMIZER = (frozenset(("param_groups",)), frozenset(("state", "hypers")), frozenset(("base_optimizer_state",)))
_SCHEDULE = (frozenset(("last_epoch", "_step_count")), frozenset(("last_epoch", "base_lrs")))


def container_kind(value: Any, work: Work) -> ContainerKind:
    """What *value* is known to be; ``""`` for any other mapping, list or object. Takes what looking costs off *work*."""
    if isinstance(value, Pairs):
        return "module" if value.kind == ARCHIVE else _by_keys(value, work)
    if isinstance(value, Stub):
        if value.path.startswith(("numpy.random.", "torch.Generator", "torch._C.Generator")):
            return "random"
        keys = {key for key, _ in value.attributes(work) if type(key) is str}
        return "module" if keys >= _MODULE else _of(keys)
    if type(value) is tuple and value and text(value[0]) == "MT19937":
        return "random"
    return ""


def _by_keys(mapping: Pairs, work: Work) -> ContainerKind:
    if len(mapping.pairs) > _KEYS:
        return ""
    work.pairs(len(mapping.pairs))
    return _of({key for key, _ in mapping.pairs if type(key) is str})


def _of(keys: set[str]) -> ContainerKind:
    if any(keys >= wanted for wanted in _OPTIMIZER):
        return "optimizer"
    return "schedule" if any(keys >= wanted for wanted in _SCHEDULE) else ""
