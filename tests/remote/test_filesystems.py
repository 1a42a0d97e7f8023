"""What gs and az share, over fsspec's file system in memory: their own servers are asked by no test."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import fsspec
import numpy as np
import pytest
from safetensors.numpy import save
from tests.support.remote import SOURCE

from torch2grid_core import LoadError, PluginManager
from torch2grid_remote import filesystems, limits
from torch2grid_remote.buckets import Az, AzStore, Gs, GsStore, opened
from torch2grid_remote.filesystems import FilesystemStore

ARRAYS = {"a": np.arange(60_000, dtype=np.float32).reshape(200, 300), "b": np.ones(7, np.float32)}


class MemoryStore(FilesystemStore):
    """A bucket in memory."""

    scheme: ClassVar[str] = "memory"
    module: ClassVar[str] = "fsspec"
    extra: ClassVar[str] = "s3"

    def at(self, path: str) -> str:
        return f"/{super().at(path)}"


@pytest.fixture
def stored() -> Iterator[Any]:
    found = fsspec.filesystem("memory")
    found.pipe("/bucket/run/m.safetensors", save(ARRAYS))
    found.pipe("/bucket/run/config.json", b"{}")
    found.pipe("/bucket/run/empty", b"")
    yield found
    found.rm("/bucket", recursive=True)
    filesystems._made.clear()


@pytest.mark.usefixtures("stored")
def test_a_file_and_its_folder() -> None:
    source = opened(MemoryStore("bucket"), "run/m.safetensors")
    assert (source.name, source.shown, source.size) == ("m.safetensors", "memory://bucket/run/m.safetensors", len(save(ARRAYS)))
    checkpoint = PluginManager.discover(third_party=False).open(source)
    assert (np.asarray(checkpoint["a"]) == ARRAYS["a"]).all()
    assert source.folder is not None
    assert source.folder.entries == ("config.json", "empty", "m.safetensors")
    assert source.folder.child("config.json").read(0, 2) == b"{}"
    assert opened(MemoryStore("bucket"), "run/empty").size == 0
    assert pickle.loads(pickle.dumps(source)).read(8, 100) == source.read(8, 100)


@pytest.mark.usefixtures("stored")
def test_a_prefix_is_a_folder() -> None:
    for path in ("run", "run/"):
        folder = opened(MemoryStore("bucket"), path)
        assert folder.is_folder
        assert folder.entries == ("config.json", "empty", "m.safetensors")
    assert opened(MemoryStore("bucket"), "").entries == ("run",)
    assert opened(MemoryStore("bucket"), "").child("run/config.json").size == 2
    for path in ("none", "run/none"):
        with pytest.raises(LoadError, match="is not there"):
            opened(MemoryStore("bucket"), path)


def test_a_replaced_object_is_noticed(stored: Any) -> None:
    source = opened(MemoryStore("bucket"), "run/m.safetensors")
    stored.pipe("/bucket/run/m.safetensors", save(ARRAYS)[:-4])
    with pytest.raises(LoadError, match="changed while it was being read"):
        source.read(100_000, 10)


def test_failures_of_a_file_system_are_one_line(stored: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BACKOFF", 0.001)
    source = opened(MemoryStore("bucket"), "run/m.safetensors")
    system = source.store.filesystem()  # type: ignore[attr-defined]
    real, count, lock = system.cat_file, 0, threading.Lock()

    def failing(*words: Any, **named: Any) -> Any:
        nonlocal count
        assert set(named) == {"start", "end"}  # by name: the second word of s3fs is a version
        with lock:
            count += 1
        if count < 3:
            raise ConnectionResetError("secret://token")
        return real(*words, **named)

    monkeypatch.setattr(system, "cat_file", failing)
    assert source.read(200_000, 8) == save(ARRAYS)[200_000:200_008]
    for error, told in (
        (PermissionError("secret"), "the store refuses it"),
        (ValueError("secret"), "cannot be read: ValueError"),
        (TimeoutError("secret"), "is silent"),
        (ConnectionError("secret"), "breaks off the connection"),
    ):
        monkeypatch.setattr(system, "cat_file", lambda *words, error=error, **named: (_ for _ in ()).throw(error))
        with pytest.raises(LoadError, match=told) as caught:
            source.read(120_000, 8)
        assert "secret" not in str(caught.value)
        assert str(caught.value).startswith("memory://bucket/run/m.safetensors: ")


@pytest.mark.parametrize(("opener", "store"), [(Gs, GsStore), (Az, AzStore)])
def test_locations_of_buckets(opener: Any, store: Any) -> None:
    assert SOURCE.is_dir()
    scheme = opener.schemes[0]
    assert store("b").shown("k/x.pth") == f"{scheme}://b/k/x.pth"
    for location in (f"{scheme}:///x", f"{scheme}://"):
        with pytest.raises(LoadError, match="does not name a bucket"):
            opener().open(location)
    with pytest.raises(LoadError, match="is not a key"):
        opener().open(f"{scheme}://b/../x")
