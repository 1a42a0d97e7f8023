"""Which loader opens a path, and what is said of one that none opens."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.loaders.opened import loaders, opened

from torch2grid_core import Checkpoint, LoadError, PluginError, UsageError
from torch2grid_core._data import packed
from torch2grid_core._data.opening import open_checkpoint
from torch2grid_core.sources import LocalSource, Source


class Fake:
    """A loader that claims everything as strongly as it is told."""

    def __init__(self, name: str, strength: int, failure: Exception | None = None) -> None:
        self.name, self.strength, self.failure = name, strength, failure

    def sniff(self, source: Source) -> int:
        if self.failure is not None:
            raise self.failure
        return self.strength

    def load(self, source: Source) -> Checkpoint:
        return Checkpoint([], source=source.shown, format=self.name)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "x").write_bytes(b"neither this nor that")
    return tmp_path / "x"


def test_the_strongest_claim_opens(path: Path) -> None:
    assert open_checkpoint(path, [Fake("one", 1), Fake("two", 2), Fake("none", 0)]).format == "two"
    assert open_checkpoint(path, [Fake("one", 1), Fake("two", 2)], Fake("forced", 0)).format == "forced"


def test_a_tie_names_both(path: Path) -> None:
    with pytest.raises(UsageError, match="one and two both claim") as raised:
        open_checkpoint(path, [Fake("two", 1), Fake("one", 1)])
    assert raised.value.exit_code == 2


def test_a_broken_loader_is_out_unless_it_is_the_last(path: Path) -> None:
    broken = Fake("broken", 2, PluginError("loader", "broken", "some-plugin", "1", "boom"))
    assert open_checkpoint(path, [broken, Fake("one", 1)]).format == "one"
    with pytest.raises(PluginError, match="boom"):
        open_checkpoint(path, [broken, Fake("none", 0)])


CONTENT: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "short": (b"abc", "only 3 bytes"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 1\n", "Git LFS"),
    "html": (b"\n <!DOCTYPE html><html><body>Not found</body></html>", "web page"),
    "json": (b'{"a": [1, 2, 3]}', "JSON"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + b"\0" * 100, "HDF5"),
    "gguf": (b"GGUF\x03\0\0\0" + b"\0" * 100, "GGUF"),
    "png": (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "PNG"),
    "zeros": (b"\0" * 5000, "zeros"),
    "text": ("These are not the weights, ünïcode or not.\n".encode() * 200, "text"),
    "noise": (bytes(range(256)) * 10, "known format"),
    "truncated zip": (b"PK\x03\x04" + b"\1" * 100, "without its end"),
}


@pytest.mark.parametrize("kind", CONTENT)
def test_what_a_file_is_that_none_opens(kind: str, tmp_path: Path) -> None:
    raw, message = CONTENT[kind]
    (tmp_path / "model.pth").write_bytes(raw)
    with pytest.raises(LoadError, match=message) as raised:
        opened(tmp_path / "model.pth")
    text = str(raised.value)
    assert text.startswith(str(tmp_path / "model.pth"))
    assert "\n" not in text
    assert ";" in text  # what to do


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="no such file"):
        opened(tmp_path / "nothing")
    os.symlink(tmp_path / "nothing", tmp_path / "dangling")
    with pytest.raises(LoadError, match="link"):
        opened(tmp_path / "dangling")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LoadError, match="regular file"):
        opened(tmp_path / "pipe")


def test_a_folder_opens_its_only_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="no checkpoint in it"):
        opened(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    os.mkfifo(tmp_path / "pipe")
    torch.save({"w": torch.ones(2)}, tmp_path / "b.pt")
    assert list(opened(tmp_path)) == ["w"]
    torch.save({"w": torch.ones(2)}, tmp_path / "a.pt")
    with pytest.raises(LoadError, match=r"2 checkpoints: a\.pt, b\.pt"):
        opened(tmp_path)


def test_gzip_is_bounded_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"w": torch.zeros(300_000)}, tmp_path / "x")
    whole = gzip.compress((tmp_path / "x").read_bytes())
    (tmp_path / "x.gz").write_bytes(whole)
    assert opened(tmp_path / "x.gz")["w"].size == 300_000
    for damaged, message in ((whole[:-9], "cut short"), (whole[:-8] + b"\0" * 8, "damaged")):
        (tmp_path / "y.gz").write_bytes(damaged)
        with pytest.raises(LoadError, match=message):
            opened(tmp_path / "y.gz")
    (tmp_path / "z.gz").write_bytes(gzip.compress(whole))
    with pytest.raises(LoadError, match="twice"):
        opened(tmp_path / "z.gz")
    monkeypatch.setattr(packed, "ALWAYS", 100_000)
    with pytest.raises(LoadError, match="unpacks from"):
        opened(tmp_path / "x.gz")


def test_no_two_built_in_loaders_claim_the_same(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2)}, tmp_path / "x")
    torch.save({"w": torch.ones(2)}, tmp_path / "y", _use_new_zipfile_serialization=False)
    claims: dict[str, Any] = {}
    for name in ("x", "y"):
        claims[name] = [loader.name for loader in loaders() if loader.sniff(LocalSource(tmp_path / name))]
    assert claims == {"x": ["torch-zip"], "y": ["torch-legacy"]}
