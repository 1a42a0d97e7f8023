"""Strict JSON (RFC 8259, valid UTF-8) of whatever pages, tensors' names and weights hold."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

_DOUBTFUL = re.compile(r"[^\x00-\x7e]")  # json escapes the controls below


def json_text(value: Any, indent: int | None = None) -> str:
    """Return strict JSON of plain data, arrays, NumPy's numbers and mappings; anything else as its ``str``.

    Numbers that JSON has no word for are the texts ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``. Control characters, those
    that hide or reorder text, and lone surrogates are ``\\u`` escapes: the text can always be encoded as UTF-8.
    """
    text = json.dumps(plain(value), ensure_ascii=False, allow_nan=False, indent=indent)
    return text if text.isascii() and "\x7f" not in text else _DOUBTFUL.sub(_escaped, text)


def plain(value: Any) -> Any:
    """*value* as what strict JSON can hold: dicts, lists, texts, finite numbers, truth values and ``None``."""
    kind = type(value)
    if value is None or kind is str or kind is int or kind is bool:  # nearly all of it, and these are found out at once
        return value
    if kind is list or kind is tuple:
        return [plain(each) for each in value]
    if isinstance(value, np.ndarray):
        value = value.tolist()
    elif isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (str, int)):
        return value
    if isinstance(value, Iterable):
        return [plain(each) for each in value]
    return str(value)


def _number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _escaped(found: re.Match[str]) -> str:
    char = found[0]
    return json.dumps(char)[1:-1] if unicodedata.category(char)[0] in "CZ" else char
