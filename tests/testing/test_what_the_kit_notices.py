"""The kit notices what a run does not: options that are none, words that nobody fills in, a hole in what was read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from torch2grid_core import (
    Checkpoint,
    Decoder,
    Finding,
    LazyTensor,
    Loader,
    Need,
    Page,
    Renderer,
    Rule,
    SourceOpener,
    TensorFilter,
    View,
)
from torch2grid_core.measures import Collector
from torch2grid_core.pages import Table
from torch2grid_core.sources import Range, SourceBase
from torch2grid_core.testing import NotConforming, bound_checks


def told(target: type, name: str, files: Any = None) -> str:
    """What the check *name* says of a class; empty where it passes."""
    (bound,) = [each for each in bound_checks(target, files, declines=True) if each.check.name == name]
    try:
        bound()
    except NotConforming as error:
        return str(error)
    return ""


class Matrices(TensorFilter):
    """matrices"""

    name = "matrices"
    fewest: int = 2

    def keep(self, tensor: LazyTensor) -> bool:
        return tensor.ndim >= self.fewest


class Flagged(TensorFilter):
    """matrices; nothing that it annotates is meant for an option"""

    name: ClassVar[str] = "flagged"
    flag: str = ""  # type: ignore[misc]
    fewest: ClassVar[int] = 2
    _seen: int = 0

    def keep(self, tensor: LazyTensor) -> bool:
        return tensor.ndim >= self.fewest


@dataclass(frozen=True)
class Mapped(TensorFilter):
    """matrices"""

    name = "mapped"
    least: Mapping[str, int] = field(default_factory=dict, metadata={"help": "of each"})

    def keep(self, tensor: LazyTensor) -> bool:
        return not self.least


@dataclass(frozen=True)
class Compared(TensorFilter):
    """tensors of another checkpoint"""

    name = "compared"
    other: Checkpoint | None = field(default=None, metadata={"help": "where it is"})

    def keep(self, tensor: LazyTensor) -> bool:
        return self.other is None or tensor.name in self.other


ABOVE = "put @dataclass(frozen=True) above it"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (Matrices, f"Matrices is not a dataclass, so fewest is ignored; {ABOVE}, or say ClassVar in the annotation"),
        (Mapped, "option 'least' takes Mapping, which no option can give: take it out, or give it another type"),
        (Compared, ""),
        (Flagged, ""),
    ],
)
def test_an_option_that_nobody_can_give_fails(target: type, said: str) -> None:
    assert told(target, "options") == said


def test_a_name_with_an_annotation_is_told_as_that() -> None:
    @dataclass(frozen=True)
    class Named(TensorFilter):
        """named"""

        name: str = "named"  # type: ignore[misc]

        def keep(self, tensor: LazyTensor) -> bool:
            return True

    assert told(Named, "options") == "name is an option: write it without an annotation, or as ClassVar[str]"


def rule(code_: str = "X101", together_: Mapping[str, str] | None = None) -> type[Rule]:
    class Bad(Rule):
        """bad"""

        name = "bad"
        code = code_
        severity = "warning"
        together = together_ or {}

        def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Any) -> Iterable[Finding]:
            return [Finding("is bad", name) for name in checkpoint]

    return Bad


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (rule("T901"), "code is T901: T belongs to torch2grid-builtin, take other letters"),
        (rule("TX901"), ""),
        (rule(together_={"bad": "are bad; the first: {frist}"}), "only {first} is filled in, behind a semicolon"),
        (rule(together_={"bad": "are bad, {first}"}), "'are bad, {first}' has {first}; only {first} is filled in"),
        (rule(together_={"bad": "are bad; the first: {first}"}), ""),
    ],
)
def test_a_code_that_is_taken_and_words_that_nobody_fills_in_fail(target: type, said: str) -> None:
    assert said in told(target, "code_and_severity")
    assert bool(said) == bool(told(target, "code_and_severity"))


class Counting(Collector):
    def __init__(self) -> None:
        self.count = 0
        self.how = lambda: self.count

    def update(self, chunk: Any) -> None:
        self.count += len(chunk.values)

    def merge(self, other: Any) -> None:
        self.count += other.count

    def result(self) -> int:
        return self.count


@dataclass(frozen=True)
class Counts(Need[int]):
    def merges(self, tensor: LazyTensor) -> bool:
        return True

    def collector(self, tensors: Any) -> Collector:
        return Counting()


class Counter(View):
    """counts"""

    name = "counter"
    default_format = "tekst"

    def needs(self, checkpoint: Checkpoint, run: Any) -> Mapping[str, Need[Any]]:
        return {"counts": Counts()}

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Any) -> Iterable[Page]:
        yield Page("counts", "Counts", (Table(("tensor", "n"), tuple(results["counts"].items())),))


def test_a_collector_that_merges_and_cannot_travel_fails() -> None:
    said = told(Counter, "needs_merge")
    assert said.startswith("a Counting cannot be pickled (")
    assert said.endswith("and travels between processes where it merges")


def test_a_default_format_that_no_renderer_writes_fails() -> None:
    said = told(Counter, "pages_have_their_own_names")
    assert said == "default_format 'tekst' is written by no renderer; did you mean 'text'?"


class Whole(Renderer):
    """pages at once"""

    name = "whole"
    formats = ("whole", "shelf")
    combines = ("whole",)
    folders = ("shelf",)

    def render(self, page: Page, target: Any, style: Any, format: str) -> None:
        target.write(b"x")

    def render_all(self, pages: Any, target: Any, style: Any, format: str) -> None:
        target.write(b"x" * len(pages))

    def render_folder(self, pages: Any, folder: Path, style: Any, format: str) -> None:
        (folder / "index.json").write_text("{}")


class First(Whole):
    name = "first"

    def render_all(self, pages: Any, target: Any, style: Any, format: str) -> None:
        target.write(pages[0].name.encode())


def test_pages_are_handed_over_as_a_run_does_it() -> None:
    assert told(Whole, "combined_pages") == ""
    with pytest.raises(TypeError, match="not subscriptable"):
        told(First, "combined_pages")


def test_a_folder_with_the_index_of_the_run_in_it_fails() -> None:
    assert told(Whole, "folders_are_written") == "shelf: render_folder writes index.json, and so does the run"


@dataclass(frozen=True)
class Holed:
    """A storage that leaves *gap* bytes in the middle of what it is asked for."""

    inner: Range
    gap: int
    shippable: ClassVar[bool] = True

    @property
    def size(self) -> int:
        return self.inner.size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        half = len(buffer) // 2 + 7 if self.gap else len(buffer)
        self.inner.read_into(offset, buffer[:half])
        self.inner.read_into(offset + half + self.gap, buffer[half + self.gap :])


def holed(gap_: int) -> type[Loader]:
    class Holes(Loader):
        """files with a hole"""

        name = "holes"

        def sniff(self, source: Any) -> int:
            return 2 if source.head.startswith(b"HOLE") else 0

        def load(self, source: Any) -> Checkpoint:
            storage = Holed(Range(source, 4, 4000), gap_)
            return Checkpoint([LazyTensor("a", (1000,), np.dtype("<f4"), storage)], source=source.shown, format="holes")

    return Holes


def write(folder: Path) -> list[Path]:
    path = folder / "x.hole"
    path.write_bytes(b"HOLE" + np.arange(1000, dtype="<f4").tobytes())
    return [path]


@pytest.mark.parametrize("gap", [1, 4, 100])
def test_a_hole_of_any_size_and_place_is_found(gap: int) -> None:
    said = told(holed(gap), "reads_agree", write)
    where = "that it was asked for as they were, byte 2,007 the first"
    assert said == f"read_into of Holed leaves {gap} of the 4,000 bytes {where}"


def test_what_has_no_hole_passes() -> None:
    assert told(holed(0), "reads_agree", write) == ""


class Halved(SourceBase):
    def __init__(self, path: str) -> None:
        self.name, self.shown, self.identity = "x", path, path

    def read(self, offset: int, length: int) -> bytes:
        return b""


class Halves(SourceOpener):
    """what lacks its size"""

    name = "halves"
    schemes = ("halves",)

    def open(self, location: str) -> Any:
        return Halved(location)


def test_a_source_without_a_size_is_told_of_that_and_not_of_what_follows_from_it() -> None:
    said = told(Halves, "source_reads_agree", lambda folder: ["halves://x"])
    assert said == "open returned a Halved, not a Source: it lacks size"


class Eights(Decoder):
    """numbers named .eight become weights"""

    name = "eights"

    def claims(self, checkpoint: Checkpoint) -> dict[str, list[str]]:
        return {name.removesuffix(".eight"): [name] for name in checkpoint if name.endswith(".eight")}

    def decode(self, checkpoint: Checkpoint) -> Checkpoint:
        claims = self.claims(checkpoint)
        made = [checkpoint[stored[0]] for stored in claims.values()]
        tensors = [LazyTensor(new, one.shape, one.dtype, one.storage) for new, one in zip(claims, made, strict=True)]
        return checkpoint.compose(tensors, claims, self.name)


def test_a_decoder_is_checked_on_paths_of_checkpoints_too() -> None:
    def stored(folder: Path) -> list[Path]:
        np.savez(folder / "stored.npz", **{"a.eight": np.ones((3, 3), np.float32)})
        return [folder / "stored.npz"]

    assert told(Eights, "claims_are_stored", stored) == ""
    assert told(Eights, "composed_reads_agree", stored) == ""
    said = told(Eights, "claims_are_stored", lambda folder: [3])
    assert said == "files= returned 3, not a Checkpoint, nor the path of one"
