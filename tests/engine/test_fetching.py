"""A source that fetches ahead is told what a pass will read, before it is read, and no more than that."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from torch2grid_core import Checkpoint, LazyTensor, LoadError, PluginManager, measure
from torch2grid_core._data.source import Window
from torch2grid_core._data.storage import reads
from torch2grid_core.measures import Summary
from torch2grid_core.sources import (
    BytesStorage,
    ByteSwapped,
    CheckedStorage,
    Joined,
    LocalSource,
    Range,
    SourceBase,
    ahead_of,
    prepare,
)

MANAGER = PluginManager.discover(third_party=False)


class Remote(SourceBase):
    """A local file, as if reading it cost requests. log: what was told and asked, in its order."""

    ahead = 1 << 20
    shippable = False

    def __init__(self, path: Path) -> None:
        self.inner = LocalSource(path)
        self.name, self.shown, self.size, self.identity = path.name, str(path), self.inner.size, self.inner.identity
        self.log: list[tuple[str, int, int]] = []

    def read(self, offset: int, length: int) -> bytes:
        self.inside(offset, length)
        self.log.append(("read", offset, length))
        return self.inner.read(offset, length)

    def prefetch(self, ranges: Iterable[tuple[int, int]]) -> None:
        self.log += [("told", offset, size) for offset, size in ranges]

    def spans(self, kind: str) -> list[tuple[int, int]]:
        return sorted((offset, offset + size) for what, offset, size in self.log if what == kind and size)


def joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans that touch or overlap as one."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if found and first <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], last)
        else:
            found.append((first, last))
    return found


def opened(path: Path) -> tuple[Remote, Checkpoint]:
    source = Remote(path)
    checkpoint = MANAGER.open(source)
    return source, checkpoint


@pytest.mark.parametrize("form", ["safetensors", "pth"])
def test_a_pass_tells_what_it_reads_before_it_reads(form: str, tmp_path: Path) -> None:
    made = {f"layers.{number}.weight": torch.randn(200, 150) for number in range(30)} | {"b": torch.randn(5)}
    path = tmp_path / f"m.{form}"
    save_file(made, path) if form == "safetensors" else torch.save(made, path)
    source, checkpoint = opened(path)
    _ = checkpoint.not_run
    source.log.clear()
    assert len(list(measure(checkpoint, {"all": Summary()}))) == 31
    told, read = source.spans("told"), source.spans("read")
    assert read
    told = joined(told)
    assert all(any(first <= a and b <= last for first, last in told) for a, b in read)
    assert sum(last - first for first, last in told) <= 1.02 * sum(tensor.nbytes for tensor in checkpoint.values())
    place = {("told", offset, size): at for at, (what, offset, size) in enumerate(source.log) if what == "told"}
    for at, (what, offset, length) in enumerate(source.log):
        if what == "read":
            assert any(each < at and o <= offset and offset + length <= o + s for (_, o, s), each in place.items())


def test_the_next_share_is_told_before_this_one_is_read(tmp_path: Path) -> None:
    save_file({f"w{number}": torch.randn(1 << 18) for number in range(20)}, tmp_path / "m.safetensors")  # 1 MiB each
    source, checkpoint = opened(tmp_path / "m.safetensors")
    source.log.clear()
    list(measure(checkpoint, {"all": Summary()}))
    ahead = most = 0
    for what, _, size in source.log:
        ahead += size if what == "told" else -size
        most = max(most, ahead)
    told = sum(size for what, _, size in source.log if what == "told")
    assert most > 5 << 20
    assert told >= 20 << 20


def test_only_what_is_chosen_is_told(tmp_path: Path) -> None:
    save_file({"a": torch.randn(1000), "b": torch.randn(2000), "c": torch.randn(3000)}, tmp_path / "m.safetensors")
    source, checkpoint = opened(tmp_path / "m.safetensors")
    _ = checkpoint.not_run  # for which loaders look at both ends of the file
    source.log.clear()
    list(measure(checkpoint.select(["b"]), {"all": Summary()}))
    assert joined(source.spans("told")) == joined(source.spans("read"))
    assert sum(last - first for first, last in joined(source.spans("told"))) == 8000
    rows = checkpoint["c"].view(slice(100, 200))
    source.log.clear()
    list(measure(checkpoint.with_tensors([rows]), {"all": Summary()}))
    assert sum(last - first for first, last in joined(source.spans("told"))) == 400


def test_storages_say_what_they_read_beneath(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(1000))
    source = Remote(tmp_path / "x")
    swapped = ByteSwapped(Range(source, 100, 200), 4)
    checked = CheckedStorage(Range(source, 500, 100), 0, "x", "x")
    whole = LazyTensor("w", (85,), np.dtype("f4"), Joined([swapped, BytesStorage(bytes(40)), checked.unchecked]))
    list(measure(Checkpoint([whole]), {"a": Summary()}))
    assert joined(source.spans("told")) == [(100, 300), (500, 600)]
    assert [span[1:] for span in reads(checked, 10, 20)] == [(510, 20)]
    assert [span[1:] for span in reads(Joined([swapped, checked]), 190, 30)] == [(290, 10), (500, 20)]


def test_a_window_hands_on_what_it_is_of(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(1000))
    source = Remote(tmp_path / "x")
    window = source.window(100, 500)
    assert isinstance(window, Window)
    assert (ahead_of(window), window.shippable) == (1 << 20, False)
    window.prefetch([(10, 20)])
    assert source.log == [("told", 110, 20)]
    assert ahead_of(LocalSource(tmp_path / "x").window(0, 5)) == 0


def test_local_files_are_told_nothing(tmp_path: Path) -> None:
    save_file({"a": torch.randn(1000)}, tmp_path / "m.safetensors")
    prepare(LocalSource(tmp_path), ["m.safetensors"])
    source, _ = opened(tmp_path / "m.safetensors")
    source.ahead = 0
    checkpoint = MANAGER.open(source)
    source.log.clear()
    list(measure(checkpoint, {"all": Summary()}))
    assert source.spans("told") == []


def test_what_prefetch_raises_is_one_line_with_the_location(tmp_path: Path) -> None:
    save_file({"a": torch.randn(1000)}, tmp_path / "m.safetensors")
    source, checkpoint = opened(tmp_path / "m.safetensors")
    source.prefetch = lambda ranges: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    with pytest.raises(LoadError, match=r"m\.safetensors.*ZeroDivisionError"):
        list(measure(checkpoint, {"all": Summary()}))
