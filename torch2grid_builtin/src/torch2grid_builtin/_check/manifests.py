"""Manifests: a digest and a summary of every tensor, written once and compared with later."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from torch2grid_builtin._check.digests import ALGORITHM, Digest
from torch2grid_core import (
    Checkpoint,
    Finding,
    LazyTensor,
    PluginManager,
    Rule,
    Settings,
    Torch2GridError,
    UsageError,
)
from torch2grid_core.measures import Distribution, Summary
from torch2grid_core.pages import write_file
from torch2grid_core.sources import CheckedStorage, Range, beneath
from torch2grid_core.text import visible

FORMAT = "torch2grid manifest 1"
_MOST_BYTES = 256 << 20
_HEX = frozenset("0123456789abcdef")
_DIGITS = 9  # of a float32


@dataclass(frozen=True)
class Entry:
    """One tensor as a manifest has it. figures: count, zeros, nan, inf, and of the finite weights min, max, mean and std."""

    dtype: str
    shape: tuple[int, ...]
    digest: str
    figures: Mapping[str, float | None]
    alias: str = ""

    def as_json(self) -> dict[str, Any]:
        told: dict[str, Any] = {"dtype": self.dtype, "shape": list(self.shape), "digest": self.digest, **self.figures}
        return {**told, "alias": self.alias} if self.alias else told


@dataclass(frozen=True)
class Manifest(Rule):
    """a tensor that is not what a manifest says (--manifest)

    against: the tensors of the manifest by name; ``None`` compares with nothing. seen: takes the entry of each tensor.
    chosen: filters leave tensors out, so that what is not seen is not missing.
    """

    name: ClassVar[str] = "manifest"
    code: ClassVar[str] = "T401"
    judges: ClassVar[Any] = "values"
    together: ClassVar[Mapping[str, str]] = {
        "^is not in": "are not in the manifest",
        "is in the manifest, and not here": "are in the manifest, and not here; the first: {first}",
        "^was converted": "were converted; the first {first}",
        "^has the weights": "have weights that others have in the manifest; the first {first}",
        "^has other weights": "have other weights than the manifest says; the first {first}",
    }

    against: Mapping[str, Entry] | None = None
    seen: dict[str, Entry] = field(default_factory=dict, compare=False)
    chosen: bool = False

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Any]:
        return {"digest": Digest(), "summary": Summary(brief=True)}

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Finding]:
        for name, tensor in checkpoint.items():
            first = checkpoint.aliases.get(name, name)
            if name in results["digest"]:
                self.seen[name] = _entry(tensor, results["digest"][name], results["summary"][name], "")
            elif first in results["digest"]:
                self.seen[name] = _entry(tensor, results["digest"][first], results["summary"][first], first)
        if self.against is not None:
            yield from _differences(self.against, self.seen, checkpoint, self.chosen)


def _entry(tensor: LazyTensor, digest: str, summary: Distribution, alias: str) -> Entry:
    shape = tuple(int(side) for side in tensor.shape)
    figures: dict[str, float | None] = {"count": summary.count, "zeros": summary.zeros, "nan": summary.nan}
    figures["inf"] = summary.posinf + summary.neginf
    for name in ("min", "max", "mean", "std"):
        value = float(getattr(summary, name)) if summary.finite else math.nan
        figures[name] = float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    return Entry(tensor.dtype.name, shape, digest, figures, alias)


def _differences(
    known: Mapping[str, Entry], seen: Mapping[str, Entry], checkpoint: Checkpoint, chosen: bool
) -> Iterator[Finding]:
    """What is not as the manifest has it, in the order of the checkpoint; what is gone comes last, unless some are *chosen*."""
    places: dict[str, list[str]] = {}
    for name, entry in known.items():
        places.setdefault(entry.digest, []).append(name)
    gone = [name for name in known if name not in seen]
    for name, entry in seen.items():
        before = known.get(name)
        of = _of_file(checkpoint[name], checkpoint)
        if before is None:
            same = [other for other in places.get(entry.digest, ()) if other in gone and known[other].shape == entry.shape]
            told = f"; it has the weights that {visible(same[0])} has there" if same else ""
            yield Finding(f"is not in the manifest{told}{of}", name)
        elif (before.dtype, before.shape, before.digest) != (entry.dtype, entry.shape, entry.digest):
            yield Finding(f"{_change(before, entry, places)}{of}", name)
    for name in () if chosen else gone:
        new = [other for other, entry in seen.items() if other not in known and entry.digest == known[name].digest]
        told = f"; {visible(new[0])} has its weights" if new else ""
        yield Finding(f"{visible(name)} is in the manifest, and not here{told}")


def _change(before: Entry, entry: Entry, places: Mapping[str, list[str]]) -> str:
    if before.shape != entry.shape:
        return f"has shape {list(entry.shape)}, {list(before.shape)} in the manifest"
    if before.dtype != entry.dtype:
        close = all(_close(before.figures.get(key), entry.figures.get(key)) for key in ("min", "max", "mean", "std"))
        told = "its statistics agree" if close else "its statistics differ as well"
        return f"was converted from {before.dtype} to {entry.dtype}; {told}"
    if others := places.get(entry.digest):
        return f"has the weights that {visible(others[0])} has in the manifest"
    return f"has other weights than the manifest says: {_told(before, entry)}"


def _close(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= 0.02 * max(abs(one), abs(other)) + 1e-6


def _told(before: Entry, entry: Entry) -> str:
    """The figures that differ, most telling first."""
    for key, word in (("nan", "NaN"), ("inf", "Inf"), ("zeros", "zeros")):
        was, now = before.figures.get(key), entry.figures[key]
        if was is not None and was != now:
            return f"{now:,.0f} {word}, {was:,.0f} before"
    changed = [key for key in ("max", "min", "std", "mean") if before.figures.get(key) != entry.figures.get(key)]
    if not changed:
        return "all figures are as they were"
    return "; ".join(f"{key} {_brief(entry.figures[key])}, {_brief(before.figures.get(key))} before" for key in changed[:2])


def _brief(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"


def _of_file(tensor: LazyTensor, checkpoint: Checkpoint) -> str:
    """``, in model-2-of-4.safetensors`` where the weights are in another file than the checkpoint's own."""
    for storage in beneath(tensor.storage):
        place = storage.inner if isinstance(storage, CheckedStorage) else storage
        if isinstance(place, Range) and place.source.name and place.source.name != Path(checkpoint.source).name:
            return f", in {visible(place.source.name)}"
    return ""


def read_manifest(path: str) -> Mapping[str, Entry]:
    """The tensors of a manifest by name. Raises ``UsageError`` for a file that is none."""
    option = f"--manifest {path}"
    try:
        if os.path.getsize(path) > _MOST_BYTES:
            raise UsageError(f"{option}: larger than {_MOST_BYTES >> 20} MiB; is this the file that you mean?")
        document = json.loads(Path(path).read_text(encoding="utf-8"), object_pairs_hook=_once, parse_constant=_no_number)
    except OSError as error:
        raise UsageError(f"{option}: {error.strerror or error}") from error
    except _Malformed as error:
        raise UsageError(f"{option}: {error}; --write-manifest FILE writes one") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{option}: not JSON; --write-manifest FILE writes one") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT or not isinstance(document.get("tensors"), dict):
        raise UsageError(f"{option}: not a manifest of torch2grid; --write-manifest FILE writes one")
    if (digest := document.get("digest", ALGORITHM)) != ALGORITHM:
        raise UsageError(f"{option}: its digests are {visible(str(digest), 200)}, not {ALGORITHM}")
    return {name: _read(option, name, entry) for name, entry in document["tensors"].items()}


class _Malformed(ValueError):
    """JSON that says two things at once, or nothing."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):  # of two entries, one would be believed without a word
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise _Malformed(f"{visible(twice, 200)} is there twice")
    return made


def _no_number(word: str) -> Any:
    raise _Malformed(f"{word} is not a number of JSON")


def _read(option: str, name: str, entry: Any) -> Entry:
    fields = {"dtype": str, "shape": list, "digest": str}
    given = entry if isinstance(entry, dict) else {}
    if not all(isinstance(given.get(key), kind) for key, kind in fields.items()):
        raise UsageError(f"{option}: {visible(name, 200)}: an entry has dtype, shape and digest")
    if not all(type(side) is int and side >= 0 for side in given["shape"]):
        raise UsageError(f"{option}: {visible(name, 200)}: its shape is not a list of lengths")
    if len(given["digest"]) != 64 or not set(given["digest"]) <= _HEX:
        raise UsageError(f"{option}: {visible(name, 200)}: its digest does not have 64 hexadecimal digits")
    figures = {key: _figure(value) for key, value in given.items() if key not in (*fields, "alias")}
    alias = given.get("alias", "")
    return Entry(given["dtype"], tuple(given["shape"]), given["digest"], figures, alias if isinstance(alias, str) else "")


def _figure(value: Any) -> float | None:
    try:
        figure = float(value) if type(value) in (int, float) else math.nan
    except OverflowError:
        figure = math.nan
    return figure if math.isfinite(figure) else None


def write_manifest(manager: PluginManager, path: str, seen: Mapping[str, Entry], checkpoint: Checkpoint) -> None:
    """Write what was *seen*, by name, a line a tensor. Raises ``UsageError`` where it cannot be written."""
    lines = [f"  {json.dumps(name)}: {json.dumps(seen[name].as_json())}" for name in sorted(seen)]
    about = {
        "format": FORMAT,
        "digest": ALGORITHM,
        "model": {"format": checkpoint.format, "tensors": len(seen), "parameters": checkpoint.parameters},
    }
    head = json.dumps(about, indent=1)[:-2]
    text = f'{head},\n "tensors": {{\n' + ",\n".join(lines) + "\n }\n}\n"
    try:
        write_file(manager, path, text.encode(), "--write-manifest")
    except Torch2GridError as error:
        raise UsageError(f"--write-manifest {error}") from error
