"""Locations that are no paths: found by their scheme, opened by every loader, in few requests."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.support.memory import REQUESTS, STORE, MemoryOpener, Plugin

from torch2grid_core import LoadError, PluginError, PluginManager, SourceOpener, UsageError, check
from torch2grid_core.sources import LocalSource, SourceBase, share_of
from torch2grid_core.testing import Bound, conformance

random = np.random.default_rng(5)
TENSORS = {f"block.{index}.weight": torch.from_numpy(random.normal(size=(12, 9)).astype(np.float32)) for index in range(4)}


def make(folder: Path) -> list[str]:
    STORE.update({"kit/a": bytes(range(256)) * 600, "kit/sub/b": b"", "kit/sub/c": b"abc"})
    return ["memory://kit", "memory://kit/a"]


@conformance(MemoryOpener, files=make)
def test_the_source_of_these_tests_conforms(check: Bound) -> None:
    check()


@pytest.fixture
def manager() -> Iterator[PluginManager]:
    found = PluginManager.discover(third_party=False)
    found.register(Plugin())
    STORE.clear()
    REQUESTS.clear()
    yield found
    STORE.clear()


def put(folder: Path, under: str) -> None:
    STORE.update({f"{under}/{p.relative_to(folder).as_posix()}": p.read_bytes() for p in folder.rglob("*") if p.is_file()})


def write(folder: Path, kind: str) -> str:
    """A checkpoint of *kind* in *folder*; the name of what is to be opened, empty for the folder itself."""
    path = folder / {"npz": "m.npz", "safetensors": "m.safetensors"}.get(kind, "m.pth")
    if kind == "safetensors":
        save_file(TENSORS, path)
    elif kind == "npz":
        np.savez_compressed(path, **{name: tensor.numpy() for name, tensor in TENSORS.items()})
    elif kind in ("zip", "legacy"):
        torch.save(TENSORS, path, _use_new_zipfile_serialization=kind == "zip")
    elif kind == "unpacked":
        torch.save(TENSORS, path)
        zipfile.ZipFile(path).extractall(folder.parent / "unpacked")
        path.unlink()
        shutil.move(next((folder.parent / "unpacked").iterdir()), folder / "inside")
    else:
        halves = [dict(list(TENSORS.items())[first::2]) for first in range(2)]
        files = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
        for file, half in zip(files, halves, strict=True):
            save_file(half, folder / file)
        if kind != "numbered":
            weight_map = {name: file for file, half in zip(files, halves, strict=True) for name in half}
            (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")
        return "model.safetensors.index.json" if kind == "index" else ""
    return path.name if path.exists() else ""


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "npz", "sharded", "index", "numbered", "unpacked"])
def test_every_loader_reads_what_is_no_path(kind: str, tmp_path: Path, manager: PluginManager) -> None:
    (tmp_path / "w").mkdir()
    name = write(tmp_path / "w", kind)
    put(tmp_path / "w", "bucket/run")
    local = manager.open(str(tmp_path / "w" / name))
    location = f"memory://bucket/run/{name}".rstrip("/")
    found = manager.open(location)
    assert found.source.startswith(location)
    assert list(found) == list(local)
    assert set(found) == set(TENSORS)
    assert found.format == local.format
    for each, tensor in TENSORS.items():
        np.testing.assert_array_equal(found[each].numpy(), tensor.numpy())
        np.testing.assert_array_equal(found[each][3:5, 7], tensor.numpy()[3:5, 7])
    assert check(found, []) == []


def test_opening_a_thousand_records_costs_a_handful_of_requests(tmp_path: Path, manager: PluginManager) -> None:
    torch.save({f"layer.{index}.weight": torch.full((700,), float(index)) for index in range(1000)}, tmp_path / "m.pth")
    put(tmp_path, "b")
    found = manager.open("memory://b/m.pth")
    reads = [what for what, _ in REQUESTS if what != "look"]
    assert len(found) == 1000
    assert 3 <= len(reads) <= 5, reads
    assert len(REQUESTS) <= 8
    assert sum(int(each.partition("+")[2]) for each in reads) < 600_000 < len(STORE["b/m.pth"])
    REQUESTS.clear()
    assert found["layer.700.weight"][5] == 700
    assert len(REQUESTS) <= 3


def test_neighbours_are_seen_where_they_are(tmp_path: Path, manager: PluginManager) -> None:
    write(tmp_path, "numbered")
    put(tmp_path, "b")
    first = "memory://b/model-00001-of-00002.safetensors"
    assert "give the folder to open all of them" in " ".join(manager.open(first).notes)
    del STORE["b/model-00002-of-00002.safetensors"]
    share = share_of(MemoryOpener().open(first))
    assert share is not None
    assert share.missing == ("model-00002-of-00002.safetensors",)
    with pytest.raises(LoadError, match=r"lacks the shard model-00002-of-00002\.safetensors"):
        manager.open("memory://b")


class Other(SourceOpener):
    """opens nothing"""

    name = "other"
    schemes: ClassVar[tuple[str, ...]] = ("memory", "odd")

    def open(self, location: str) -> None:  # type: ignore[override]
        if location == "odd://raises":
            raise KeyError(location)


def test_a_scheme_belongs_to_one_opener(manager: PluginManager) -> None:
    with pytest.raises(LoadError, match=r"^nowhere://host/x: no plugin opens nowhere:// locations"):
        manager.open("nowhere://me:secret@host/x")
    with pytest.raises(LoadError, match="memory://b/none: is not there"):
        manager.open("memory://b/none")
    manager.register(Other)
    with pytest.raises(UsageError, match="memory and other both open memory://"):
        manager.open("memory://b/none")
    with pytest.raises(PluginError, match=r"source 'other'.*: odd://x: open returned None, not a Source"):
        manager.open("odd://me:secret@x")
    with pytest.raises(PluginError, match=r"source 'other'.*: odd://raises: open: KeyError"):
        manager.open("odd://raises")


def test_schemes_of_several_words_are_found_and_others_refused(tmp_path: Path) -> None:
    """RFC 3986: a letter, then letters, digits, ``+``, ``-`` and ``.``."""
    for scheme in ("zip+mem", "a-b", "x.y", "s3"):
        opened: list[str] = []

        class Opener(SourceOpener):
            name = "words"
            schemes = (scheme,)

            def open(self, location: str) -> LocalSource:
                opened.append(location)  # noqa: B023
                return LocalSource(tmp_path / "m.npz")

        np.savez(tmp_path / "m.npz", w=np.ones(3))
        found = PluginManager.discover(third_party=False)
        found.register(Opener)
        assert list(found.open(f"{scheme.upper()}://there")) == ["w"]
        assert opened == [f"{scheme}://there"]
    for wrong in ("S3", "zip_x", "3s", "a b"):

        class Wrong(SourceOpener):
            name = "wrong"
            schemes = (wrong,)

            def open(self, location: str) -> LocalSource:
                raise AssertionError

        found = PluginManager.discover(third_party=False)
        record = found.register(Wrong)
        assert "wrong" not in found.names("source")
        assert f"{wrong!r} is not a scheme" in record.error


class Listing(SourceBase):
    """A folder whose entries are set when it is made."""

    is_folder = True

    def __init__(self) -> None:
        self.name = self.shown = "listing"
        self.size, self.identity, self.entries = 0, 1, ("a", "b")


def test_what_a_source_was_made_with_is_in_its_copy() -> None:
    assert pickle.loads(pickle.dumps(Listing())).entries == ("a", "b")
