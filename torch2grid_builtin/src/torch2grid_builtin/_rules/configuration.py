"""Whether the weights are those of the ``config.json`` beside them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from torch2grid_builtin._rules.copies import equal_tensors
from torch2grid_core import Checkpoint, Finding, LazyTensor, LoadError, Rule, Settings, Severity
from torch2grid_core.sources import is_floating
from torch2grid_core.text import visible

_LAYER = re.compile(r"^(.*?(?:layers?|h|blocks?)\.)(\d+)\.")
_EMBEDDING = re.compile(r"(^|\.)(embed_tokens|wte|word_embeddings|shared|tok_embeddings|embed_in)\.weight$")
_HEAD = re.compile(r"(^|\.)(lm_head|embed_out|output|head)\.weight$|cls\.predictions")
_TIED_HEAD = re.compile(r"(^|\.)(lm_head|embed_out)\.weight$")
_INNER = re.compile(r"\.mlp\.(gate|up)_proj\.weight$")  # not of experts, which are of other sizes
_SHARE = re.compile(r"-\d+-of-\d+\.|adapter|lora", re.IGNORECASE)
_LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
_WIDTHS = ("embedding_size", "word_embed_proj_dim", "hidden_size", "n_embd", "d_model")


class Configuration(Rule):
    """layers, sizes or dtypes that are not those of the config.json beside the weights"""

    name: ClassVar[str] = "config"
    code: ClassVar[str] = "T306"
    severity: ClassVar[Severity] = "error"
    judges: ClassVar[Literal["values"]] = "values"

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Finding]:
        document = _document(checkpoint)
        stated = None if document is None else _stated(document)
        if document is None or stated is None or _SHARE.search(checkpoint.source) or not _is_model(checkpoint):
            return
        names = list(dict.fromkeys([*checkpoint.whole, *checkpoint]))
        yield from _layers(stated, set(_numbers(document, "layer")), names)
        floating = [tensor for tensor in checkpoint.values() if is_floating(tensor.dtype)]  # no codes, which are packed
        embeddings = [tensor for tensor in floating if _EMBEDDING.search(tensor.name) and tensor.ndim == 2]
        for tensor in embeddings[:1]:
            yield from _sizes(stated, tensor)
        for tensor in [each for each in floating if _INNER.search(each.name) and each.ndim == 2][:1]:
            inner = _number(stated, ("intermediate_size",))
            if inner is not None and tensor.shape[0] not in {*_numbers(document, "intermediate"), 2 * inner[1]}:
                yield Finding(f"has {tensor.shape[0]:,} rows, config.json says {inner[0]} {inner[1]:,}", tensor.name)
        if stated.get("tie_word_embeddings") is True:
            yield from _untied(floating, embeddings)
        if _needs_head(stated) and not any(_HEAD.search(name) for name in names):
            yield Finding("config.json says that the head is not tied to the embedding, and there is no head (lm_head.weight)")
        if "quantization_config" not in stated and not checkpoint.composed:
            yield from _dtypes(stated, checkpoint)


def _document(checkpoint: Checkpoint) -> Mapping[str, Any] | None:
    """The ``config.json`` of a model, ``None`` where there is none, or one of another kind."""
    try:
        raw = checkpoint.beside("config.json")
        found = json.loads(raw) if raw is not None else None
    except (LoadError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not ({"model_type", "architectures"} & found.keys()):
        return None  # another program's file of that name
    return found


def _stated(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """What ``config.json`` says of the language model."""
    inner = found.get("text_config")
    if isinstance(inner, dict) and not any(key in found for key in _LAYERS):
        return {**inner, **{key: found[key] for key in ("quantization_config", "architectures") if key in found}}
    return found


def _is_model(checkpoint: Checkpoint) -> bool:
    """True where the whole model is there: embeddings, and layers from the first."""
    names = list(dict.fromkeys([*checkpoint.whole, *checkpoint]))
    layers = _stems(names)
    return any(_EMBEDDING.search(name) for name in names) and any(0 in numbers for numbers in layers.values())


def _stems(names: Sequence[str]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for name in names:
        if each := _LAYER.match(name):
            found.setdefault(each[1], set()).add(int(each[2]))
    return found


def _numbers(value: Any, word: str, depth: int = 4) -> Iterator[int]:
    """All whole numbers that a document states under keys with *word* in them, by themselves or in lists."""
    if isinstance(value, dict) and depth:
        for key, each in value.items():
            if word in key:
                yield from (one for one in (each if isinstance(each, list) else [each]) if type(one) is int)
            yield from _numbers(each, word, depth - 1)


def _number(stated: Mapping[str, Any], keys: Sequence[str]) -> tuple[str, int] | None:
    return next(((key, stated[key]) for key in keys if type(stated.get(key)) is int and stated[key] > 0), None)


def _layers(stated: Mapping[str, Any], known: set[int], names: Sequence[str]) -> Iterator[Finding]:
    """The main stack of layers, that with most of them, has as many as are stated.

    There may be more for other ends: of another build, as those that predict a later token, or as many as another number says.
    """
    found = _number(stated, _LAYERS)
    stems = _stems(names)
    if found is None or not stems:
        return
    stem, numbers = max(stems.items(), key=lambda item: len(item[1]))
    missing = [number for number in range(found[1]) if number not in numbers]
    if missing:
        told = ", ".join(map(str, missing[:5])) + (f" and {len(missing) - 5:,} more" if len(missing) > 5 else "")
        yield Finding(f"config.json says {found[0]} {found[1]:,}; of {visible(stem, 200)} there is no {told}")
    more = sorted(number for number in numbers if number >= found[1])
    if more and not missing and len(numbers) not in known:
        build = _build(names, stem, found[1] - 1)
        alike = [number for number in more if _build(names, stem, number) == build]
        if alike:
            told = f"{visible(stem, 200)}{alike[0]}" + (f" and {len(alike) - 1:,} more" if len(alike) > 1 else "")
            text = f"config.json says {found[0]} {found[1]:,}; there is {told} beyond: what loads the model leaves it out"
            yield Finding(text, severity="warning")


def _build(names: Sequence[str], stem: str, number: int) -> set[str]:
    """What a layer is made of: the names of its tensors in it."""
    start = f"{stem}{number}."
    return {name.removeprefix(start) for name in names if name.startswith(start)}


def _untied(floating: Sequence[LazyTensor], embeddings: Sequence[LazyTensor]) -> Iterator[Finding]:
    """A head with weights of its own, though the embedding is to be used in its place."""
    for head in [each for each in floating if _TIED_HEAD.search(each.name)][:1]:
        if embeddings and not any(equal_tensors(head, each) for each in embeddings):
            text = f"has other weights than {visible(embeddings[0].name, 200)}, and config.json says that they are tied"
            yield Finding(f"{text}: what loads the model may drop the head", head.name)


def _sizes(stated: Mapping[str, Any], tensor: LazyTensor) -> Iterator[Finding]:
    rows, columns = tensor.shape
    vocabulary, width = _number(stated, ("vocab_size",)), _number(stated, _WIDTHS)
    if vocabulary is not None and rows < vocabulary[1]:
        yield Finding(f"has {rows:,} rows, config.json says {vocabulary[0]} {vocabulary[1]:,}", tensor.name)
    if width is not None and columns != width[1]:
        yield Finding(f"has {columns:,} columns, config.json says {width[0]} {width[1]:,}", tensor.name)


def _needs_head(stated: Mapping[str, Any]) -> bool:
    architectures = stated.get("architectures")
    first = architectures[0] if isinstance(architectures, list) and architectures else ""
    return stated.get("tie_word_embeddings") is False and isinstance(first, str) and first.endswith("ForCausalLM")


def _dtypes(stated: Mapping[str, Any], checkpoint: Checkpoint) -> Iterator[Finding]:
    dtype = stated.get("dtype", stated.get("torch_dtype"))
    if dtype not in ("float32", "float16", "bfloat16"):
        return
    sizes: dict[str, int] = {}
    for tensor in checkpoint.values():
        if is_floating(tensor.dtype) and tensor.ndim > 1:
            sizes[tensor.dtype.name] = sizes.get(tensor.dtype.name, 0) + tensor.size
    most = max(sizes, key=lambda name: sizes[name], default=dtype)
    if most != dtype:
        told = f"most weights are {most}, config.json says {dtype}; what loads the model may convert them"
        yield Finding(told, severity="warning")
