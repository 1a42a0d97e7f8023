"""What a writer of another kind, or damage, makes of quantised checkpoints: decoded, left as stored, or one clear error."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.quantised import Quantised
from tests.support.testing.quantised_files import CASES

import torch2grid as t2g
from torch2grid_core import Checkpoint, LoadError

MADE = [(f"{name.removeprefix('decoder-')}-{place}", case) for name, cases in CASES.items() for place, case in enumerate(cases)]


def forms(array: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The tensor with other dtypes and shapes."""
    with np.errstate(all="ignore"):
        for dtype in ("float64", "float16", "int64", "uint8", "int32"):
            if array.dtype != dtype:
                yield f"as {dtype}", array.astype(np.float32).astype(dtype)
    yield "flat", array.reshape(-1)
    yield "with one more dimension", array[None]
    yield "with none", np.zeros((), array.dtype)
    if array.shape and array.shape[0] > 1:
        yield "cut short", array[:-1]
    if array.ndim > 1 and array.shape[-1] > 1:
        yield "narrower", array[..., :-1]
    yield "empty", array[:0] if array.shape else array.reshape(1)[:0]


def branches(config: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values of a configuration."""
    items = config.items() if isinstance(config, Mapping) else enumerate(config) if isinstance(config, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from branches(value, (*path, key))


def changed(config: Mapping[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    made: Any = copy.deepcopy(dict(config))
    here = made
    for key in path[:-1]:
        here = here[key]
    if value is ...:
        del here[path[-1]]
    else:
        here[path[-1]] = value
    return made  # type: ignore[no-any-return]


def variants(case: Quantised) -> Iterator[tuple[str, Quantised]]:
    for name, array in case.stored.items():
        rest = {key: each for key, each in case.stored.items() if key != name}
        yield f"without {name}", case._replace(stored=rest)
        for what, form in forms(array):
            yield f"{name} {what}", case._replace(stored={**rest, name: form})
    for path in branches(case.config):
        for value in (..., None, 0, 3, 5, -1, True, "x", [], {}):
            yield f"config {path}: {value}", case._replace(config=changed(case.config, path, value))
    for key, text in case.metadata.items():
        yield (
            f"no metadata {key}",
            case._replace(metadata={other: each for other, each in case.metadata.items() if other != key}),
        )
        for wrong in ("", "{", "[]", "{}", '{"_type": "Other", "_data": {}}', text.replace("0", "9"), text.replace('"', "")):
            yield f"metadata {key}: {wrong[:20]}", case._replace(metadata={**case.metadata, key: wrong})
    yield "no config", case._replace(config={})
    yield "no metadata", case._replace(metadata={})


def told(path: Path) -> tuple[Checkpoint | None, dict[str, np.ndarray], str]:
    """What is shown of a file, or why nothing is. Anything but a ``LoadError`` is a fault of ours."""
    try:
        checkpoint = t2g.load(path)
        return checkpoint, {key: tensor.numpy() for key, tensor in checkpoint.items()}, ""
    except LoadError as error:
        return None, {}, str(error)


@pytest.mark.parametrize(("name", "make"), MADE, ids=[name for name, _ in MADE])
def test_every_weight_is_shown_or_an_error_says_why(name: str, make: Any) -> None:
    """No form breaks a decoder. What is not decoded is there as it is stored, each number of it."""
    case: Quantised = make()
    for what, other in variants(case):
        with tempfile.TemporaryDirectory() as folder:
            checkpoint, shown, error = told(other.write(Path(folder)))
            if checkpoint is None:
                assert len(error.splitlines()) == 1, what
                continue
            taken = {each for composed in checkpoint.composed.values() for each in composed.of}
            left = set(other.stored) - taken
            assert left <= set(shown), what
            for key in left - set(checkpoint.composed):
                stored = other.stored[key].reshape(-1)
                np.testing.assert_array_equal(shown[key].reshape(-1), stored.astype(shown[key].dtype), what)
