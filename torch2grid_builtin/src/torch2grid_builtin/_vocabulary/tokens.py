"""The tokens that rows stand for, by the ``tokenizer.json`` beside the weights: text of a stranger, shown, never followed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch2grid_core import Checkpoint, LoadError
from torch2grid_core.text import visible

_BYTES = 48 << 20  # of a tokenizer.json: those of a quarter of a million tokens have 34 million
_MOST = 1 << 22  # ids
_SHOWN = 40  # characters of a token
# Names that tokenizers give to rows that are kept free: <unused12>, [unused3], <|reserved_special_token_7|>, <extra_id_5>.
_FREE = re.compile(r"[<\[]\|?_?(unused|reserved|dummy|placeholder|extra_token)[\w-]*\|?[>\]]", re.IGNORECASE)


@dataclass(frozen=True)
class Tokens:
    """texts: id → text, as the tokenizer has it. why: why there are none; empty where there are."""

    texts: Mapping[int, str] = field(default_factory=dict)
    why: str = ""

    def shown(self, row: int) -> str:
        """The token of a row, made harmless; empty where the row has none."""
        text = self.texts.get(row)
        return "" if text is None else visible(text, _SHOWN)

    def free(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """The places in *tokens*, a table's rows, of those that no text becomes: without a token, or kept free by name."""
        if not self.texts:
            return ()
        known = map(self.texts.get, tokens)
        return tuple(place for place, text in enumerate(known) if text is None or _FREE.fullmatch(text))


def tokens_of(checkpoint: Checkpoint) -> Tokens:
    """What ``tokenizer.json`` and ``tokenizer_config.json`` beside *checkpoint* say."""
    texts: dict[int, str] = {}
    why = ""
    for name, read in (("tokenizer.json", _of_tokenizer), ("tokenizer_config.json", _of_config)):
        try:
            raw = checkpoint.beside(name, _BYTES)
            found = None if raw is None else json.loads(raw)
        except LoadError as error:
            why = why or error.reason
            continue
        except (ValueError, RecursionError):
            why = why or f"{name} is not JSON"
            continue
        if isinstance(found, dict):
            read(found, texts)
        why = why or ("" if texts or found is None else f"{name} has none of the forms that are known here")
    return Tokens(texts, "" if texts else why or "there is no tokenizer.json beside it")


def _of_tokenizer(found: Mapping[str, Any], texts: dict[int, str]) -> None:
    model = found.get("model")
    words = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(words, dict):
        for text, number in words.items():
            _take(texts, number, text)
    elif isinstance(words, list):  # of a Unigram model: [text, score]
        for number, entry in enumerate(words[:_MOST]):
            _take(texts, number, entry[0] if isinstance(entry, list) and entry else None)
    added = found.get("added_tokens")
    for entry in added if isinstance(added, list) else ():
        if isinstance(entry, dict):
            _take(texts, entry.get("id"), entry.get("content"))


def _of_config(found: Mapping[str, Any], texts: dict[int, str]) -> None:
    added = found.get("added_tokens_decoder")
    for number, entry in added.items() if isinstance(added, dict) else ():
        if isinstance(entry, dict) and number.isdecimal() and len(number) < 9:
            _take(texts, int(number), entry.get("content"))


def _take(texts: dict[int, str], number: Any, text: Any) -> None:
    if type(number) is int and 0 <= number < _MOST and isinstance(text, str):
        texts[number] = text
