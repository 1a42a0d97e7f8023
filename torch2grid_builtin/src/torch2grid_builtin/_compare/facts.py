"""What a configuration says of a model's heads: how a fused tensor is cut, and which rows rotate together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch2grid_core import Checkpoint, Torch2GridError

_FILES = ("config.json", "params.json")
_HEADS = ("num_attention_heads", "n_heads", "n_head", "num_heads")
_KV_HEADS = ("num_key_value_heads", "n_kv_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num")
_WIDTH = ("hidden_size", "dim", "n_embd", "d_model", "n_embed")
_INSIDE = ("text_config", "language_config", "llm_config")
_HEAD = ("head_dim", "d_kv", "kv_channels")
_MOST = 1 << 20


@dataclass(frozen=True)
class Facts:
    """heads, kv_heads: of queries, and of keys and values; head: rows of one; kind: of the model; said: where it is stated."""

    heads: int
    kv_heads: int
    head: int
    kind: str = ""
    said: str = ""
    one_kv: bool = False  # of a model whose heads share one key and value, which come last

    @property
    def rows(self) -> int:
        """Rows of q, k and v together."""
        return (self.heads + 2 * self.kv_heads) * self.head


def facts_of(checkpoint: Checkpoint) -> Facts | None:
    """What stands beside *checkpoint*, or in it; ``None`` where nothing says how many heads there are."""
    for name in _FILES:
        try:
            raw = checkpoint.beside(name)
            found = json.loads(raw) if raw else None
        except (ValueError, RecursionError, Torch2GridError):
            found = None
        facts = _of_config(found, name) if isinstance(found, dict) else None
        if facts is not None:
            return facts
    return _of_gguf(checkpoint.metadata)


def kind_of(checkpoint: Checkpoint) -> str:
    """``model_type`` of the configuration beside *checkpoint*; empty where there is none."""
    facts = facts_of(checkpoint)
    return facts.kind if facts else ""


def _of_config(config: Mapping[str, Any], name: str) -> Facts | None:
    for inside in _INSIDE:
        inner = config.get(inside)
        if isinstance(inner, dict) and _number(inner, _HEADS):
            config = {"model_type": config.get("model_type"), **inner}
            break
    heads, width = _number(config, _HEADS), _number(config, _WIDTH)
    head = _number(config, _HEAD) or (width // heads if heads and width and width % heads == 0 else 0)
    if not heads or not head:
        return None
    kind = config.get("model_type")
    one_kv = bool(config.get("multi_query")) and not config.get("new_decoder_architecture")
    kv_heads = 1 if one_kv else _number(config, _KV_HEADS) or heads
    return Facts(heads, kv_heads, head, kind if isinstance(kind, str) else "", name, one_kv)


@dataclass(frozen=True)
class StatedHeads:
    """How many heads one part of a model has. head, width: rows of one, and of the model; 0 where they are not stated.

    part: of the model, as ``vision_config`` or ``decoder``; empty where it is not said. kind: of the model.
    """

    heads: int
    head: int
    width: int
    kind: str
    part: str
    said: str


def heads_stated(checkpoint: Checkpoint) -> list[StatedHeads]:
    """What stands beside *checkpoint*, or in it, of the heads of each of its parts."""
    found = []
    for name in _FILES:
        try:
            raw = checkpoint.beside(name)
            config = json.loads(raw) if raw else None
        except (ValueError, RecursionError, Torch2GridError):
            config = None
        if isinstance(config, dict):
            kind = config.get("model_type")
            found += _of_part(config, "", kind if isinstance(kind, str) else "", name)
            for part, inner in config.items():
                if isinstance(inner, dict) and isinstance(part, str):
                    found += _of_part(inner, part, inner.get("model_type") or kind or "", name)
    gguf = _of_gguf(checkpoint.metadata)
    if gguf is not None:
        found.append(StatedHeads(gguf.heads, gguf.head, 0, gguf.kind, "", gguf.said))
    return found


def _of_part(config: Mapping[str, Any], part: str, kind: Any, name: str) -> list[StatedHeads]:
    head, width = _number(config, _HEAD), _number(config, _WIDTH)
    kind = kind if isinstance(kind, str) else ""
    found = []
    for inside, keys in (("", _HEADS), ("encoder", ("encoder_attention_heads",)), ("decoder", ("decoder_attention_heads",))):
        heads = _number(config, keys)
        if heads:
            found.append(StatedHeads(heads, head, width, kind, inside or part, name))
    return found


def _of_gguf(metadata: Mapping[str, Any]) -> Facts | None:
    kind = metadata.get("general.architecture")
    if not isinstance(kind, str):
        return None
    plain = {
        key: int(value)
        for key, value in metadata.items()
        if key.startswith(f"{kind}.") and isinstance(value, str) and value.isdecimal() and len(value) < 8
    }
    heads, width = plain.get(f"{kind}.attention.head_count", 0), plain.get(f"{kind}.embedding_length", 0)
    head = plain.get(f"{kind}.attention.key_length") or (width // heads if heads and width % heads == 0 else 0)
    if not heads or not head:
        return None
    return Facts(heads, plain.get(f"{kind}.attention.head_count_kv", heads), head, kind, "the metadata")


def _number(config: Mapping[str, Any], keys: tuple[str, ...]) -> int:
    for key in keys:
        found = config.get(key)
        if isinstance(found, int) and not isinstance(found, bool) and 0 < found < _MOST:
            return found
    return 0
