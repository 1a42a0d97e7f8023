"""The corpus of real and hostile checkpoints: at ``$TORCH2GRID_CORPUS``, else at ``../shared/corpus`` beside the project."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parent.parent


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


def cases(path: str) -> Path:
    """A path below the folder of cases, ``$TORCH2GRID_CASES`` or ``../shared/cases``; skips the test where there is none."""
    for candidate in (os.environ.get("TORCH2GRID_CASES"), PROJECT.parent / "shared" / "cases"):
        if candidate and Path(candidate).is_dir():
            return Path(candidate) / path
    pytest.skip("no cases: set TORCH2GRID_CASES, or put them at ../shared/cases")
