"""hf:// locations."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.support.remote import installed
from tests.support.remote.hub import COMMIT, FakeHub, hub
from tests.support.remote.models import shards
from tests.support.tools import torch2grid

from torch2grid_core import LoadError
from torch2grid_core.sources import Source
from torch2grid_remote.hub import Hub, parsed, token


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    folder = tmp_path / "owner" / "name"
    (folder / "sub").mkdir(parents=True)
    shards(folder, {f"w{number}": torch.randn(30, 40) for number in range(8)}, 4)
    save_file({"other": torch.randn(20, 30)}, folder / "sub" / "other.safetensors")
    (folder / "config.json").write_text('{"model_type": "x"}')
    with hub(tmp_path) as made:
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.mark.parametrize(
    ("location", "wanted"),
    [
        ("hf://a/b", ("models", "a/b", "", "")),
        ("hf://a/b/c/d.pth", ("models", "a/b", "", "c/d.pth")),
        ("hf://a/b@v1.0/c.pth", ("models", "a/b", "v1.0", "c.pth")),
        ("hf://a/b@refs/pr/1/c.pth", ("models", "a/b", "refs/pr/1", "c.pth")),
        ("hf://a/b@feature%2Fx/c.pth", ("models", "a/b", "feature/x", "c.pth")),
        ("hf://a/b/c@2x.pth", ("models", "a/b", "", "c@2x.pth")),
        ("hf://datasets/a/b@main", ("datasets", "a/b", "main", "")),
        ("hf://spaces/a/b/x", ("spaces", "a/b", "", "x")),
    ],
)
def test_locations(location: str, wanted: tuple[str, ...]) -> None:
    assert parsed(location) == wanted


@pytest.mark.parametrize("location", ["hf://", "hf://a", "hf:///b", "hf://a/", "hf://a/b@/x", "hf://a/b/../c", "hf://a b/c"])
def test_what_is_no_repository(location: str) -> None:
    with pytest.raises(LoadError, match="names no repository"):
        parsed(location)


def names(source: Source) -> list[str]:
    return list(source.entries)


def test_a_repository_is_a_folder_of_one_commit(found: FakeHub) -> None:
    opened = Hub().open("hf://owner/name")
    assert opened.is_folder
    shard = [f"model-{number:05d}-of-00004.safetensors" for number in range(1, 5)]
    assert names(opened) == ["config.json", *shard, "model.safetensors.index.json", "sub"]
    assert opened.child("config.json").read(0, 19) == b'{"model_type": "x"}'
    assert opened.child("sub").is_folder
    assert names(opened.child("sub")) == ["other.safetensors"]
    assert opened.child("sub/other.safetensors").size == (found.folder / "owner/name/sub/other.safetensors").stat().st_size
    assert found.revisions == ["main"]
    assert all(f"/{COMMIT}" in each.path for each in found.web.requests if "resolve" in each.path or "tree" in each.path)
    for name in ("nothing", "sub/nothing", "config.json/x", "../x", "a//b", ""):
        with pytest.raises(LoadError):
            opened.child(name)


def test_revisions_are_asked_for_once_and_commits_never(found: FakeHub) -> None:
    Hub().open("hf://owner/name@refs/pr/7/config.json")
    assert found.revisions == ["refs/pr/7"]
    Hub().open(f"hf://owner/name@{COMMIT}/config.json")
    assert len(found.revisions) == 1


def test_a_folder_in_a_repository(found: FakeHub) -> None:
    assert names(Hub().open("hf://owner/name/sub")) == ["other.safetensors"]
    with pytest.raises(LoadError, match="is not there"):
        Hub().open("hf://owner/name/none")
    with pytest.raises(LoadError, match="no such repository"):
        Hub().open("hf://owner/none")


def test_the_redirected_address_is_kept(found: FakeHub) -> None:
    source = Hub().open("hf://owner/name/model-00001-of-00004.safetensors")
    for offset in range(0, source.size - 100, 500):
        source.read(offset, 100)
    assert sum("resolve" in each.path for each in found.web.requests) == 1


def test_the_index_and_the_configuration_are_read(found: FakeHub, tmp_path: Path) -> None:
    done = torch2grid("tree", "hf://owner/name", "--format", "json", cwd=tmp_path, path=installed(tmp_path))
    assert json.loads(done.stdout)["file_format"] == "4 shards of safetensors", done.stderr
    assert "hf://owner/name" in done.stdout


def test_a_wrong_answer_is_one_line(found: FakeHub) -> None:
    def wrong(handler: object, request: object) -> bool:
        handler.say(request, 200, b"<html>")  # type: ignore[attr-defined]
        return True

    found.web.answer = wrong
    with pytest.raises(LoadError, match="not JSON"):
        Hub().open("hf://owner/name")


def test_names_of_a_listing_cannot_leave_the_repository(found: FakeHub) -> None:
    def wrong(handler: object, request: object) -> bool:
        if "/tree/" not in request.path:  # type: ignore[attr-defined]
            return found.at_hub(handler, request)  # type: ignore[arg-type]
        listed = [
            *({"type": "file", "path": path, "size": 3} for path in ("../x", "/etc/passwd", "a/../b", "ok", "", "a//b")),
            {"type": "file", "path": 7, "size": 3},
            "nonsense",
            {"type": "file", "path": "odd", "size": -5},
        ]
        more = {"Link": '<https://elsewhere.invalid/api?page=2>; rel="next"'}
        handler.say(request, 200, json.dumps(listed).encode(), **more)  # type: ignore[attr-defined]
        return True

    found.web.answer = wrong
    assert names(Hub().open("hf://owner/name")) == ["odd", "ok"]


@pytest.mark.parametrize("way", ["variable", "file", "path", "none", "disabled"])
def test_the_token_is_that_of_the_hubs_library(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_DISABLE_IMPLICIT_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    (tmp_path / "elsewhere").write_text(" b\n")
    if way in ("file", "disabled"):
        (tmp_path / "token").write_text("a\n")
    if way == "variable":
        monkeypatch.setenv("HF_TOKEN", "c\n")
    if way == "path":
        monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "elsewhere"))
    if way == "disabled":
        monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    assert token() == {"file": "a", "variable": "c", "path": "b"}.get(way, "")
    if way == "variable":  # the other places are read when the library is imported
        assert token() == pytest.importorskip("huggingface_hub").get_token()


@pytest.mark.parametrize("piece", [b"[],", b'{"":0},', b"1,", b'"",', b"[[[[]]]],"])
def test_a_listing_of_very_many_values_takes_little_memory(piece: bytes, found: FakeHub) -> None:
    def wrong(handler: object, request: object) -> bool:
        if "/tree/" not in request.path:  # type: ignore[attr-defined]
            return found.at_hub(handler, request)  # type: ignore[arg-type]
        handler.say(request, 200, b"[" + piece * (8_000_000 // len(piece)) + b"1]")  # type: ignore[attr-defined]
        return True

    found.web.answer = wrong
    tracemalloc.start()
    try:
        with pytest.raises(LoadError, match="holds more than 400,000 values"):
            Hub().open("hf://owner/name")
        assert tracemalloc.get_traced_memory()[1] < 60e6  # with what the server holds here, too
    finally:
        tracemalloc.stop()
