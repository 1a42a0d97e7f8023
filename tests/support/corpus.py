"""The corpus of real and hostile checkpoints, and the cases that were found in use.

They are at ``$TORCH2GRID_CORPUS`` and ``$TORCH2GRID_CASES``, else at ``../shared/corpus`` and ``../shared/cases``.
"""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]


@functools.cache
def root() -> Path | None:
    """The folder of the corpus, ``None`` where there is none."""
    for candidate in (os.environ.get("TORCH2GRID_CORPUS"), PROJECT.parent / "shared" / "corpus"):
        if candidate and (Path(candidate) / "real" / "manifest.json").is_file():
            return Path(candidate)
    return None


needs_corpus = pytest.mark.skipif(root() is None, reason="no corpus: set TORCH2GRID_CORPUS, or put it at ../shared/corpus")


def _path(kind: str, name: str) -> Path:
    folder = root()
    if folder is None:
        pytest.skip("no corpus: set TORCH2GRID_CORPUS, or put it at ../shared/corpus")
    return folder / kind / name


def real(name: str) -> Path:
    """The path of a real checkpoint of the corpus; skips the test where there is no corpus."""
    return _path("real", name)


def hostile(name: str) -> Path:
    """The path of a hostile file of the corpus; skips the test where there is no corpus."""
    return _path("hostile", name)


@functools.cache
def manifest(kind: str) -> tuple[dict[str, Any], ...]:
    """The cases of ``real`` or ``hostile``; none where there is no corpus, so that parametrised tests collect."""
    folder = root()
    return () if folder is None else tuple(json.loads((folder / kind / "manifest.json").read_text(encoding="utf-8")))


@functools.cache
def cases_root() -> Path | None:
    """The folder of the cases, ``None`` where there is none."""
    for candidate in (os.environ.get("TORCH2GRID_CASES"), PROJECT.parent / "shared" / "cases"):
        if candidate and (Path(candidate) / "found" / "manifest.json").is_file():
            return Path(candidate)
    return None


needs_cases = pytest.mark.skipif(cases_root() is None, reason="no cases: set TORCH2GRID_CASES, or put them at ../shared/cases")


def cases(name: str) -> Path:
    """The path of a case, such as ``found/roots/gan.pt``; skips the test where there are none."""
    folder = cases_root()
    if folder is None:
        pytest.skip("no cases: set TORCH2GRID_CASES, or put them at ../shared/cases")
    return folder / name
