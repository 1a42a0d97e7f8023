"""One name for what wrappers, library versions and scripts call differently."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

# What DistributedDataParallel, torch.compile, Lightning and training scripts put before the names of a model.
PREFIXES = ("module.", "_orig_mod.", "model.")
# Components that torch.compile, FSDP and activation checkpointing put anywhere.
INFIXES = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
# torch.nn.utils.parametrizations → what torch.nn.utils.weight_norm and spectral_norm wrote before.
_PARAMETRIZED = re.compile(r"(^|\.)parametrizations\.([^.]+)\.(original0|original1|original|0\._u|0\._v)$")
_OLD = {"original0": "_g", "original1": "_v", "original": "_orig", "0._u": "_u", "0._v": "_v"}
# TensorFlow's words for the weight and bias of a normalisation, which old BERT checkpoints keep.
_NORMALISATION = re.compile(r"norm|(^|[._])(ln|bn)[_\d]*$", re.IGNORECASE)
_GREEK = {"gamma": "weight", "beta": "bias"}

_NEARLY_ALL = 0.9
_DEEPEST = 4  # components of a prefix that one side has and the other has not


def unwrapped(name: str) -> str:
    """*name* without the components that wrappers add: ``module._orig_mod.fc.weight`` → ``fc.weight``."""
    parts = [part for part in name.split(".") if part not in INFIXES]
    name, place = ".".join(parts), 0
    while prefix := next((each for each in PREFIXES if name.startswith(each, place) and len(name) > place + len(each)), ""):
        place += len(prefix)
    return name[place:]


def spelled(name: str) -> str:
    """*name* unwrapped, as the older library spells it: ``fc.parametrizations.weight.original0`` → ``fc.weight_g``.

    ``gamma`` and ``beta`` of a normalisation are its ``weight`` and ``bias``.
    """
    name = unwrapped(name)
    if "parametrizations." in name:
        return _PARAMETRIZED.sub(lambda found: f"{found[1]}{found[2]}{_OLD[found[3]]}", name)
    module, dot, last = name.rpartition(".")
    return f"{module}.{_GREEK[last]}" if dot and last in _GREEK and _NORMALISATION.search(module) else name


def unlike(one: str, two: str) -> tuple[str, str]:
    """What is left of two names without the components that both begin with."""
    first, second = one.split("."), two.split(".")
    same = 0
    while same < min(len(first), len(second)) - 1 and first[same] == second[same]:
        same += 1
    return ".".join(first[same:]), ".".join(second[same:])


def unique(keyed: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Key → name of what has a key of its own."""
    names: dict[str, list[str]] = {}
    for key, name in keyed:
        names.setdefault(key, []).append(name)
    return {key: each[0] for key, each in names.items() if len(each) == 1}


def shared_prefix(own: Mapping[str, str], other: Mapping[str, str]) -> str:
    """The prefix, with its dot, without which names of one side are names of the other; empty where there is none.

    own, other: leftovers of each side by key. Nearly all of one side must agree: nine of ten of *own* have the prefix, or nine
    of ten of *other* are found without it; two of them at least. Two prefixes that do this equally well are none.
    """
    fits: Counter[str] = Counter()
    begun: Counter[str] = Counter()
    for key in own:
        parts = key.split(".", _DEEPEST)
        for count in range(1, len(parts)):
            prefix = ".".join(parts[:count]) + "."
            begun[prefix] += 1
            fits[prefix] += key[len(prefix) :] in other
    best = [(prefix, count) for prefix, count in fits.most_common(2) if count]
    if not best or (len(best) > 1 and best[0][1] == best[1][1]):
        return ""
    prefix, count = best[0]
    shared = begun[prefix] >= 2 and begun[prefix] >= _NEARLY_ALL * len(own)
    return prefix if shared or (count >= 2 and count >= _NEARLY_ALL * len(other)) else ""
