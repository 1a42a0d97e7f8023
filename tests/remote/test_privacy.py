"""Sockets are opened for locations that a person gave, and to their hosts; and what may be a secret is shown nowhere."""

from __future__ import annotations

import json
import pickle
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import torch
from safetensors.torch import save_file
from tests.support import explore
from tests.support.remote import installed
from tests.support.remote.buckets import KEY, SECRET, bucket
from tests.support.remote.hub import TOKEN, FakeHub, hub
from tests.support.remote.models import write
from tests.support.remote.server import Server, serving
from tests.support.tools import torch2grid

from torch2grid_core import LoadError
from torch2grid_remote.web import Web

_AUDIT = """
import os, sys
def hook(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.bind", "socket.sendto"):
        with open(os.environ["AUDIT"], "a") as stream:
            stream.write(f"{event} {arguments[1] if event == 'socket.connect' else arguments}\\n")
sys.addaudithook(hook)
"""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "www").mkdir()
    write(tmp_path / "www", "safetensors")
    with serving(tmp_path / "www") as found:
        yield found


def audited(*words: object, cwd: Path, **environment: str) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """Run a command; where it, or a worker of it, connected to."""
    hooks, log = cwd / "audit", cwd / "audit.txt"
    hooks.mkdir(exist_ok=True)
    (hooks / "sitecustomize.py").write_text(_AUDIT)
    log.write_text("")
    done = torch2grid(*words, cwd=cwd, path=[hooks, *installed(cwd)], env={"AUDIT": str(log), **environment}, new=True)
    return done, set(log.read_text().splitlines())


def test_no_socket_is_opened_for_what_is_here(served: Server, tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(9), "https://127.0.0.1/x": torch.ones(3)}, tmp_path / "m.pth")
    for words in (["m.pth", "--stats"], ["check", "m.pth"], ["tree", "m.pth"], ["--list-plugins"], ["m.pth", "--layers"]):
        done, asked = audited(*words, cwd=tmp_path)
        assert (done.returncode, asked) == (0, set()), done.stderr


def test_only_the_host_of_the_location_is_asked(served: Server, tmp_path: Path) -> None:
    done, asked = audited(f"{served.url}/model.safetensors", "--stats", "--quiet", "--jobs", 2, cwd=tmp_path)
    port = urlsplit(served.url).port
    assert done.returncode == 0
    assert asked
    assert all(f"127.0.0.1', {port}" in line or f"('127.0.0.1', {port}," in line for line in asked), asked


@pytest.mark.parametrize("name", ["{url}/model.safetensors", "//127.0.0.1/x.safetensors", "s3://bucket/x.safetensors", "../x"])
def test_names_in_files_are_no_locations(name: str, served: Server, tmp_path: Path) -> None:
    with serving(tmp_path) as other:
        other.forget()
        file = name.format(url=other.url)
        index = json.dumps({"weight_map": {"w": file}})
        (served.folder / "model.safetensors.index.json").write_text(index)
        (tmp_path / "here.index.json").write_text(index)
        for location in ("here.index.json", f"{served.url}/model.safetensors.index.json"):
            done, asked = audited(location, "--stats", cwd=tmp_path)
            assert done.returncode == 1
            assert done.stderr.count("\n") == 1
            assert other.requests == []
            assert all(str(urlsplit(served.url).port) in line for line in asked)


def test_what_may_be_a_secret_is_shown_nowhere(served: Server, tmp_path: Path) -> None:
    address = f"{served.url.replace('//', '//me:HIDDEN1@')}/model.safetensors"
    location = f"{address};key=HIDDEN3?token=HIDDEN2#token=HIDDEN4"
    for words in (["--stats", "--layers", "--output", tmp_path / "out", "--verbose"], ["--stats", "-o", tmp_path / "r.html"]):
        done = torch2grid(location, *words, cwd=tmp_path, path=installed(tmp_path), timeout=300)
        assert done.returncode == 0, done.stderr
        assert "HIDDEN" not in done.stdout + done.stderr
    for words in (
        ["check", location, "--format", "json"],
        ["tree", location, "--format", "json"],
        ["compare", location, location, "--format", "json"],
        ["explore", location, "--export", tmp_path / "out" / "map"],
        ["explore", location, location, "--export", tmp_path / "out" / "maps"],
    ):
        with_explore = [*installed(tmp_path), *explore.installed(tmp_path)]
        done = torch2grid(*words, cwd=tmp_path, path=with_explore, timeout=300)
        assert done.returncode == 0, done.stderr
        assert "HIDDEN" not in done.stdout + done.stderr, words
    assert (tmp_path / "out" / "map" / "model.json").is_file()
    for each in [*(tmp_path / "out").rglob("*"), tmp_path / "r.html"]:
        assert not each.is_file() or b"HIDDEN" not in each.read_bytes(), each
    assert {each.query for each in served.requests if each.path == "/model.safetensors;key=HIDDEN3"} == {"token=HIDDEN2"}
    served.fault = "403"
    for fault in ("403", "other bytes", "no ranges", "503"):
        served.fault = fault
        done = torch2grid(location, "--stats", cwd=tmp_path, path=installed(tmp_path), env={"TORCH2GRID_REMOTE_TIMEOUT": "1"})
        assert done.returncode == 1
        assert "HIDDEN" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "location",
    [
        "https://me:HID/DEN@127.0.0.1:9/x.pth",
        "https://me:HID#DEN@127.0.0.1:9/x.pth",
        "https://me:HID?DEN@127.0.0.1:9/x.pth",
        "s3://AKIA:HID/DEN@bucket/x.pth",
        "ftp://me:HID/DEN@127.0.0.1:9/x.pth",
        "https://me:HIDDEN/x.pth",
        "https://me:HIDDEN",
        "https://127.0.0.1:0/x.pth#token=HIDDEN",
        "https://127.0.0.1:0/x.pth;key=HIDDEN",
        "ftp://127.0.0.1/x.pth;key=HIDDEN#token=HIDDEN",
        "s3:///x.pth;key=HIDDEN#token=HIDDEN",
    ],
)
def test_a_password_that_is_written_wrong_is_shown_nowhere(location: str, tmp_path: Path) -> None:
    done, asked = audited("tree", location, "--debug", cwd=tmp_path)
    assert (done.returncode, asked) == (1, set())
    assert "HID" not in done.stderr
    assert "DEN" not in done.stderr


def test_a_source_pickles_without_secrets_and_says_so(served: Server) -> None:
    source = Web().open(f"{served.url.replace('//', '//me:HIDDEN1@')}/model.safetensors;key=HIDDEN3?token=HIDDEN2#HIDDEN4")
    assert b"HIDDEN" not in pickle.dumps(source)
    assert not source.shippable  # type: ignore[attr-defined]
    assert "HIDDEN" not in repr(source) + repr(source.store)  # type: ignore[attr-defined]
    assert Web().open(f"{served.url}/model.safetensors").shippable  # type: ignore[attr-defined]


@pytest.fixture
def private(tmp_path: Path) -> Iterator[FakeHub]:
    folder = tmp_path / "repositories" / "private" / "model"
    folder.mkdir(parents=True)
    save_file({"w": torch.randn(300, 300)}, folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "x"}')
    with hub(tmp_path / "repositories") as found:
        yield found


@pytest.mark.parametrize("how", ["HF_TOKEN", "HF_HOME", "HF_TOKEN_PATH"])
def test_the_token_goes_to_the_hub_alone(how: str, private: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "token").write_text(f"{TOKEN}\n")
    value = {"HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN_PATH": str(tmp_path / "home" / "token")}[how]
    environment = {**private.environment, how: value}
    done = torch2grid(
        "hf://private/model", "--stats", "--layers", "--output", "out", cwd=tmp_path, path=installed(tmp_path), env=environment
    )
    assert done.returncode == 0, done.stderr
    assert private.store.requests
    assert all("authorization" not in each.headers for each in private.store.requests)
    assert TOKEN not in done.stdout + done.stderr
    assert all(TOKEN.encode() not in each.read_bytes() for each in (tmp_path / "out").rglob("*") if each.is_file())


def test_without_a_token_it_is_one_line(private: FakeHub, tmp_path: Path) -> None:
    done = torch2grid("hf://private/model", "--stats", cwd=tmp_path, path=installed(tmp_path), env=private.environment)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "hf auth login" in done.stderr


def test_keys_of_s3_are_shown_nowhere(tmp_path: Path) -> None:
    write(tmp_path, "safetensors")
    with bucket() as stored:
        stored.put(tmp_path / "model.safetensors", "m.safetensors")
        done = torch2grid(
            "s3://models/m.safetensors",
            *("--stats", "--jobs", 2, "--verbose", "--output", tmp_path / "out"),
            cwd=tmp_path,
            path=installed(tmp_path),
            env=stored.environment,
        )
        assert done.returncode == 0, done.stderr
        told = done.stdout + done.stderr
        assert KEY not in told
        assert SECRET not in told


@pytest.mark.parametrize(
    "location",
    [
        "https://a.invalid/x::https://b.invalid/y",
        "s3://a/b::https://b.invalid/y",
        "hf://a/b::s3://c/d",
        "gs://a::/b",
        "az://a/b::c",
    ],
)
def test_chains_are_refused(location: str, tmp_path: Path) -> None:
    done, asked = audited("tree", location, cwd=tmp_path)
    assert done.returncode == 1
    assert "chain of locations" in done.stderr
    assert done.stderr.count("\n") == 1
    assert asked == set()


def test_an_address_of_ipv6_is_no_chain() -> None:
    with pytest.raises(LoadError) as caught:
        Web().open("http://[::1]:9/x.pth")
    assert "chain" not in str(caught.value)


@pytest.mark.parametrize(("scheme", "extra", "package"), [("gs", "gs", "gcsfs"), ("az", "az", "adlfs")])
def test_a_missing_package_is_the_line_that_installs_it(scheme: str, extra: str, package: str, tmp_path: Path) -> None:
    done, asked = audited("tree", f"{scheme}://bucket/key.pth", cwd=tmp_path)
    if package in done.stderr:
        assert done.stderr.count("\n") == 1
        assert f"pip install 'torch2grid-remote[{extra}]'" in done.stderr
    assert asked == set()


@pytest.mark.parametrize(
    ("location", "line"),
    [
        ("https://a.invalid/x.pth", "pip install 'torch2grid-remote'"),
        ("s3://a/x.pth", "pip install 'torch2grid-remote[s3]'"),
        ("hf://a/b", "pip install 'torch2grid-remote[hf]'"),
    ],
)
def test_without_the_distribution_it_is_the_line_that_installs_it(location: str, line: str, tmp_path: Path) -> None:
    done = torch2grid("tree", location, "--no-plugins", cwd=tmp_path)
    assert done.returncode == 1
    assert line in done.stderr
    assert done.stderr.count("\n") == 1
