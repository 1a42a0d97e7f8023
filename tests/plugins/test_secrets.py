"""Users, passwords and queries of locations stand nowhere: not in messages, reports, tables, pictures or indexes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.support.tools import torch2grid

from torch2grid_core import Checkpoint, LoadError, PluginError, PluginManager, Torch2GridError
from torch2grid_core.pages import PageOrigin
from torch2grid_core.text import without_secrets

PLUGIN = """
import os
from torch2grid_core import Listener, SourceOpener
from torch2grid_core.sources import LocalSource, SourceBase

class Vaulted(SourceBase):
    def __init__(self, location):
        self.shown = location  # all of it
        self.path = location.partition("://")[2].rpartition("@")[2].partition("?")[0]
        self.name = os.path.basename(self.path)
        self.size = os.path.getsize(self.path)
        self.identity = self.path
    def read(self, offset, length):
        self.inside(offset, length)
        if os.environ.get("FAILS") and self.size - offset < 20_000:
            raise OSError(f"no answer from {self.shown}")
        with open(self.path, "rb") as file:
            file.seek(offset)
            return file.read(length)

class Vault(SourceOpener):
    "vault://USER:PASSWORD@PATH?KEY"
    name, schemes = "vault", ("vault", "vault+local")
    def open(self, location):
        if location.startswith("vault+local"):
            return LocalSource(location.partition("://")[2].rpartition("@")[2].partition("?")[0], shown=location)
        return Vaulted(location)

class Logs(Listener):
    "writes what it hears"
    name = "logs"
    def written(self, page, path, origin, run):
        with open("heard.txt", "a") as file:
            print(page.title, path, origin, run, file=file)
"""
PASSWORD, KEY = "hunter2", "sig=0123456789"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "vault.py").write_text(PLUGIN, encoding="utf-8")
    for number in range(3):
        weight = torch.full((30, 20), 0.5 + number)
        weight[1, 1] = float("nan")
        save_file({"fc.weight": weight}, tmp_path / f"m{number}.safetensors")
        torch.save({"fc.weight": torch.randn(200, 100)}, tmp_path / f"p{number}.pth")
    return tmp_path


def at(name: str, scheme: str = "vault") -> str:
    return f"{scheme}://me:{PASSWORD}@{name}?token=x&{KEY}"


COMMANDS: list[list[str]] = [
    [at("m0.safetensors")],
    [at("p0.pth"), "--layers", "--jobs", "2", "--format", "html,png", "-v"],
    [at("m0.safetensors", "vault+local"), "--stats", "--format", "json"],
    [at("m0.safetensors"), at("m1.safetensors"), "p2.pth", at("none.pth"), "--stats"],
    [at("m0.safetensors"), at("none.pth"), "--limits", "shared"],
    [at("p0.pth", "nobody")],
    [at("p0.pth", "nobody"), at("p0.pth", "nobody")],
    [at("none.pth")],
    [at("p0.pth"), "--loader", "safetensors"],
    [at("p0.pth"), "--filter", "only:pattern=nothing"],
    [at("p0.pth"), "--part", "nothing"],
    ["check", at("m0.safetensors"), at("none.pth"), at("p0.pth", "nobody")],
    ["check", at("m0.safetensors"), at("none.pth"), "--format", "json"],
    ["check", at("m0.safetensors"), at("none.pth"), at("p0.pth", "nobody"), "--format", "junit"],
    ["check", at("p0.pth"), "--verbose"],
    ["compare", at("p0.pth"), at("p1.pth"), "--layers"],
    ["compare", at("p0.pth"), at("p1.pth"), "--format", "json"],
    ["compare", at("p0.pth"), at("p1.pth"), at("p2.pth"), "--format", "json"],
    ["compare", at("p0.pth"), at("p1.pth"), at("p2.pth")],
    ["compare", at("p0.pth")],
    ["tree", at("p0.pth")],
    ["tree", at("p0.pth"), "--format", "json"],
    ["tree", at("p0.pth"), "--format", "csv"],
]


@pytest.mark.parametrize("fails", ["", "1"])
@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words)[:40])
def test_no_command_shows_them(words: list[str], fails: str, folder: Path) -> None:
    environment = {"FAILS": fails}
    output = [] if words[0] in ("check", "tree") else ["--output", "out", "--listener", "logs"]
    run = torch2grid(*words, *output, "--load-plugin", "vault.py", "--debug", cwd=folder, env=environment)
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pth", ".safetensors")]
    shown = {"stdout": run.stdout, "stderr": run.stderr, "names": "\n".join(map(str, files))}
    shown |= {path.name: path.read_bytes().decode("latin-1") for path in files}
    assert any(name in text for text in shown.values() for name in ("://m0.", "://p0.", "none.pth")), run.stderr
    for where, text in shown.items():
        for secret in (PASSWORD, KEY, "token=x"):
            assert secret not in text, f"{secret} in {where}: {text[max(0, text.index(secret) - 200) :][:400]}"


def test_what_plugins_say_loses_them() -> None:
    location = at("host/a b/m.pt")
    assert without_secrets(location) == "vault://host/a b/m.pt"
    weight = PluginManager.discover(third_party=False).open({"w": np.ones((2, 2), np.float32)})
    made = Checkpoint(list(weight.values()), source=location)
    assert made.source == PageOrigin.of(made).source == without_secrets(location)
    assert PageOrigin.of(made).model == "m"
    for error in (
        LoadError(location, f"no answer from {at('host/m.pt')}: try again"),
        PluginError("source", "vault", "", "", f"open: OSError('{at('host/m.pt')}', 5)"),
    ):
        for text in (str(error), repr(error), str(error.args)):
            assert "host/m.pt" in text
            assert PASSWORD not in text
            assert KEY not in text
    assert str(LoadError("m.pt", f"see {at('host/m.pt')}: try again")) == "m.pt: see vault://host/m.pt: try again"


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://host/models@1.0/m.pt", "https://host/models@1.0/m.pt"),
        ("https://me@host:80/m.pt?a=b#c", "https://host:80/m.pt"),
        ("https://host/m.pt#token=x?y", "https://host/m.pt"),
        ("https://host/a;key=x/m;v=1;w.pt;key=y?b", "https://host/a/m;w.pt"),
        ("https://host/a;b/m.pt", "https://host/a;b/m.pt"),
        ("here;a=b/m.pt#1", "here;a=b/m.pt#1"),
        ("https://host?a=b@c", "https://host"),
        ("zip://https://me:x@host/m.zip", "zip://https://host/m.zip"),
        ("simplecache::s3://key:x@bucket/m.pt?versionId=3 4", "simplecache::s3://bucket/m.pt"),
        ("s3://AKIA:se/cr@t@bucket/m.pt", "s3://bucket/m.pt"),
        ("https://me:a#b@host/m.pt", "https://host/m.pt"),
        ("https://me:a?b@host/m.pt?c=d", "https://host/m.pt"),
        ("ftp://me:a b\nc@host/m.pt", "ftp://host/m.pt"),
        ("https://host:80/m@1.pt", "https://host:80/m@1.pt"),
        ("https://[::1]:80/m@1.pt", "https://[::1]:80/m@1.pt"),
        ("hf://owner/name@v:1/m.pt", "hf://owner/name@v:1/m.pt"),
        ("here/what?.pt", "here/what?.pt"),
        ("me@host/m.pt", "me@host/m.pt"),
    ],
)
def test_what_is_left_tells_locations_apart_by_their_path(location: str, shown: str) -> None:
    assert without_secrets(location) == shown


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("see https://host/m.pt#token=x: try again; a=b", "see https://host/m.pt: try again; a=b"),
        ("see (https://host/m.pt;key=x), or 'https://host/n.pt;key=y'", "see (https://host/m.pt), or 'https://host/n.pt'"),
        ("https://host/a;key=x/m.pt;key=y. It is #1", "https://host/a/m.pt. It is #1"),
        ("m.pt: no # and ; a=b", "m.pt: no # and ; a=b"),
    ],
)
def test_a_line_loses_what_its_locations_lose(line: str, shown: str) -> None:
    assert str(Torch2GridError(line)) == shown
