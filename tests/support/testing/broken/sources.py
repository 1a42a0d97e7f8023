"""Openers of locations: one that keeps every promise of its kind, and for each check one that breaks that promise."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from tests.support.testing.broken.registry import breaks

from torch2grid_core import SourceOpener
from torch2grid_core.sources import LocalSource, SourceBase


def locate_toy(folder: Path) -> list[str]:
    (folder / "x").write_bytes(bytes(range(250)) * 400)
    (folder / "inner").mkdir(exist_ok=True)
    (folder / "inner" / "y").write_bytes(b"other")
    return [f"toy://{folder}", f"toy://{folder}/x"]


class GoodSource(SourceOpener):
    """toy://PATH: a local file"""

    name = "toy"
    schemes: ClassVar[Any] = ("toy",)
    source: ClassVar[type[LocalSource | _HasNoByte]] = LocalSource

    def open(self, location: str) -> LocalSource | _HasNoByte:
        return self.source(location.removeprefix("toy://"))


class _Shifts(LocalSource):
    def read_into(self, offset: int, buffer: memoryview) -> None:
        super().read_into(max(offset - 1, 0), buffer)


class _CutsShort(LocalSource):
    def read(self, offset: int, length: int) -> bytes:
        return super().read(min(max(offset, 0), self.size), max(min(length, self.size - max(offset, 0)), 0))


class _CarriesItsHead(LocalSource):
    def __getstate__(self) -> dict[str, Any]:
        return dict(vars(self))


@breaks("source", "schemes")
class OfAnotherScheme(GoodSource):
    schemes: ClassVar[Any] = ("other",)


@breaks("source", "source_reads_agree")
class Shifts(GoodSource):
    source = _Shifts


@breaks("source", "what_is_not_there")
class CutsShort(GoodSource):
    source = _CutsShort


@breaks("source", "source_pickles")
class CarriesItsHead(GoodSource):
    source = _CarriesItsHead


class _ShowsItsKey(LocalSource):
    def __init__(self, path: str, shown: str | None = None) -> None:
        super().__init__(str(path).partition("?")[0], shown)
        if shown is None:
            self.shown = f"toy://{path}"


@breaks("source", "shown_holds_no_secrets")
class ShowsItsKey(GoodSource):
    source = _ShowsItsKey


class _ShowsItsUser(LocalSource):
    def __init__(self, path: str, shown: str | None = None) -> None:
        super().__init__(str(path).rpartition("@")[2], shown)
        if shown is None:
            self.shown = f"toy://{path}"


class ShowsItsUser(GoodSource):
    source = _ShowsItsUser


class _Unsorted(LocalSource):
    @property
    def entries(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(sorted(super().entries, reverse=True))


@breaks("source", "folders_hold_what_they_list")
class Unsorted(GoodSource):
    source = _Unsorted


class _GivesAnything(LocalSource):
    def child(self, name: str) -> LocalSource:
        return super().child(name if name in self.entries or "/" in name else self.entries[0])


class GivesAnything(GoodSource):
    source = _GivesAnything


class _Nameless(LocalSource):
    def child(self, name: str) -> LocalSource:
        found = super().child(name)
        found.path = found.path / "."  # which is the same place
        return found

    @property
    def name(self) -> str:  # type: ignore[override]
        return "file"


class Nameless(GoodSource):
    source = _Nameless


class _Flat(LocalSource):
    def child(self, name: str) -> LocalSource:
        return super().child(name.rpartition("/")[2])


class Flat(GoodSource):
    source = _Flat


class _IsItsOwnFolder(LocalSource):
    @property
    def folder(self) -> LocalSource:  # type: ignore[override]
        return self


@breaks("source", "files_lie_in_their_folder")
class IsItsOwnFolder(GoodSource):
    source = _IsItsOwnFolder


class _Elsewhere(LocalSource):
    @property
    def folder(self) -> LocalSource:  # type: ignore[override]
        return LocalSource(self.path.parent.parent)


class Elsewhere(GoodSource):
    source = _Elsewhere


class _ForgetsThatItIsAFolder(LocalSource):
    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "is_folder": False}


class ForgetsThatItIsAFolder(GoodSource):
    source = _ForgetsThatItIsAFolder


class _HoldsItself(LocalSource):
    def child(self, name: str) -> Any:
        return self


class HoldsItself(GoodSource):
    source = _HoldsItself


class _HasNoByte(SourceBase):
    is_folder, size = True, 0

    def __init__(self, path: str) -> None:
        self.shown = self.identity = path
        self.name = Path(path).name


class HasNoByte(GoodSource):
    source = _HasNoByte


BROKEN_FOLDERS = {
    HoldsItself: "source_pickles",
    HasNoByte: "source_reads_agree",
    ShowsItsUser: "shown_holds_no_secrets",
    GivesAnything: "folders_hold_what_they_list",
    Nameless: "folders_hold_what_they_list",
    Flat: "folders_hold_what_they_list",
    Elsewhere: "files_lie_in_their_folder",
    ForgetsThatItIsAFolder: "source_pickles",
}
