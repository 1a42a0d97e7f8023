"""What ``adapter_config.json`` of PEFT or MLX says of an adapter: ranks, scales, and which kind of adapter it is."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch2grid_core import Checkpoint
from torch2grid_core.text import visible

NAME = "adapter_config.json"
# PEFT takes the keys of its patterns for regular expressions, and one that comes from a file may take forever: these are names,
# or ends of names, and nothing else is followed.
_PLAIN = re.compile(r"(?P<start>\^|\.\*\\?\.|\.\*)?(?P<name>(?:[\w-]|\\?\.)+)\$?")
_ENDS = 100
_BASE = ".base_layer"  # of a parameter beside others of its module, whose pairs are nested


class NotUnderstood(Exception):
    """Why pairs stay as they are stored."""


class Patterns:
    """Names of modules, or their ends, each with a number: what ``rank_pattern`` and ``alpha_pattern`` are."""

    def __init__(self, given: Any, what: str) -> None:
        self.refused = ""
        self._names: dict[str, tuple[int, float]] = {}
        self._wholes: dict[str, tuple[int, float]] = {}
        self._ends: list[tuple[str, tuple[int, float]]] = []
        for place, (pattern, value) in enumerate(given.items() if isinstance(given, dict) else ()):
            found, number = _PLAIN.fullmatch(pattern), _number(value)
            if found is None or number is None or len(self._ends) >= _ENDS:
                self.refused = f"{what} of {NAME} is not understood: {visible(pattern, 60)}"
                return
            name, entry = found["name"].replace("\\.", "."), (place, number)
            if found["start"] == ".*":
                self._ends.append((name, entry))
            elif found["start"] == "^":
                self._wholes.setdefault(name, entry)
            else:
                self._names.setdefault(name, entry)

    def of(self, module: str) -> float | None:
        """The number of the first pattern that is for *module*; ``None`` where there is none. Raises ``NotUnderstood``."""
        if self.refused:
            raise NotUnderstood(self.refused)
        found = [self._wholes[module]] if module in self._wholes else []
        parts = module.split(".")[-64:]
        for count in range(1, len(parts) + 1) if self._names else ():
            name = ".".join(parts[-count:])
            if name in self._names:
                found.append(self._names[name])
        found += [entry for name, entry in self._ends if module.endswith(name)]
        return min(found)[1] if found else None


@dataclass(frozen=True)
class Config:
    """The settings, as PEFT reads them. known: there is such a file; nothing is said of scales where there is none.

    scale: α/r where it is stated itself, as MLX does. parameters: ends of the names of what is adapted and is
    no module itself (``target_parameters``).
    """

    known: bool = False
    rank: int | None = None
    alpha: float | None = None
    scale: float | None = None
    ranks: Patterns | None = None
    alphas: Patterns | None = None
    root: bool = False
    dora: bool = False
    turned: bool = False
    refused: str = ""
    remarks: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()

    def is_parameter(self, module: str, rank: int) -> bool:
        """True where the pair called *module* is of a parameter of a module: of the experts of a layer, which are one tensor.

        Its matrices hold those of all experts. Pairs of a second parameter of the module are nested (``base_layer``).
        """
        if not self.parameters:
            return False
        bare = module
        while bare.endswith(_BASE):
            bare = bare.removesuffix(_BASE)
        owners = {each.rpartition(".")[0] for each in self.parameters} - {""}
        return bare != module or rank != self.rank_of(module) or any(f".{bare}".endswith(f".{each}") for each in owners)

    def rank_of(self, module: str) -> float | None:
        """The rank of *module*; ``None`` where nothing says it. Raises ``NotUnderstood``."""
        found = self.ranks.of(module) if self.ranks else None
        return self.rank if found is None else found

    def alpha_of(self, module: str) -> float | None:
        """alpha of *module*; ``None`` where nothing says it. Raises ``NotUnderstood``."""
        found = self.alphas.of(module) if self.alphas else None
        return self.alpha if found is None else found


def read_config(checkpoint: Checkpoint) -> Config:
    """The settings beside *checkpoint*; those of a missing file are not known, and one that cannot be read is refused."""
    raw = checkpoint.beside(NAME)
    if raw is None:
        return Config()
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        return Config(True, refused=f"{NAME} is not a JSON object")
    return _read(found)


def described_configs(checkpoint: Checkpoint) -> dict[str, Config]:
    """The settings that diffusers writes into the file itself, by component (``unet``, ``text_encoder``); empty without."""
    text = checkpoint.metadata.get("lora_adapter_metadata")
    if not isinstance(text, str):
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        return {"": Config(True, refused="its lora_adapter_metadata is not a JSON object")}
    parts: dict[str, dict[str, Any]] = {}
    for key, value in found.items():
        component, dot, name = key.partition(".")
        if dot:
            parts.setdefault(component, {})[name] = value
    return {component: _read(each) for component, each in parts.items()}


def _read(found: Mapping[str, Any]) -> Config:
    mlx = found.get("lora_parameters")
    if isinstance(mlx, dict) and "peft_type" not in found:
        return _read_mlx(found, mlx)
    kind = found.get("peft_type", "LORA")
    refused = "" if kind == "LORA" else f"{NAME} says {visible(str(kind), 40)}, not LoRA"
    for key, what in (
        ("use_qalora", "QA-LoRA, whose inputs are grouped"),
        ("use_bdlora", "BD-LoRA, whose matrices are block-diagonal"),
        ("layer_replication", "layers that stand several times in the model"),
        ("megatron_config", "matrices that are shared out by Megatron"),
    ):
        if found.get(key) and not refused:
            refused = f"{NAME} asks for {what} ({key})"
    rank, alpha = _number(found.get("r", found.get("rank"))), _number(found.get("lora_alpha", found.get("alpha")))
    if not refused and rank is not None and (rank < 1 or rank != int(rank)):
        refused = f"{NAME} gives the rank {rank:g}"
    start = found.get("init_lora_weights")
    changed = isinstance(start, str) and start.lower().startswith(("pissa", "olora", "corda", "loftq", "milora"))
    stated = found.get("target_parameters")
    named = [each for each in stated if isinstance(each, str)] if isinstance(stated, list) else []
    parameters = tuple(each for each in named[:_ENDS] if not each.endswith(".weight"))  # which is that of a module
    remarks = (f"it starts from {visible(str(start), 40)}: its base is the one that this changed, not the published",)
    return Config(
        True,
        None if rank is None else int(rank),
        alpha,
        None,
        Patterns(found.get("rank_pattern"), "rank_pattern"),
        Patterns(found.get("alpha_pattern"), "alpha_pattern"),
        found.get("use_rslora") is True,
        found.get("use_dora") is True,
        found.get("fan_in_fan_out") is True,
        refused,
        remarks if changed else (),
        parameters,
    )


def _read_mlx(found: Mapping[str, Any], stated: Mapping[str, Any]) -> Config:
    """Of ``mlx_lm``, whose factor is ``scale``; earlier ones give alpha beside it, which it does not use."""
    rank, scale = _number(stated.get("rank")), _number(stated.get("scale"))
    refused = f"{NAME} gives the rank {rank:g}" if rank is not None and (rank < 1 or rank != int(rank)) else ""
    return Config(
        True, None if rank is None else int(rank), scale=scale, dora=found.get("fine_tune_type") == "dora", refused=refused
    )


def _number(value: Any) -> float | None:
    """A finite number; ``None`` for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None
