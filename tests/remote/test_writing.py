"""``--output s3://…``: the files of a local folder, each whole or not there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.support.elsewhere import Elsewhere
from tests.support.remote import installed
from tests.support.remote.buckets import Bucket, bucket
from tests.support.tools import torch2grid

from torch2grid_core import PluginManager, Settings
from torch2grid_core._cli.drawing import Drawing
from torch2grid_core.measures import executor_of
from torch2grid_remote import filesystems, plugin

ARRAYS = {
    f"layer{number}.weight": np.random.default_rng(number).normal(size=(30, 20)).astype(np.float32) for number in range(3)
}


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[Bucket]:
    save_file(ARRAYS, tmp_path / "a.safetensors")
    save_file({name: array * 2 for name, array in ARRAYS.items()}, tmp_path / "b.safetensors")
    with bucket("results") as found:
        yield found


def objects(stored: Bucket) -> dict[str, bytes]:
    listed = stored.client.list_objects_v2(Bucket="results").get("Contents", [])
    return {each["Key"]: stored.client.get_object(Bucket="results", Key=each["Key"])["Body"].read() for each in listed}


def files(folder: Path, below: str) -> dict[str, bytes]:
    return {f"{below}{path.relative_to(folder)}": path.read_bytes() for path in folder.rglob("*") if path.is_file()}


WORDS = {
    "folder": (["a.safetensors", "--layers", "--grid", "--format", "png,json"], ""),
    "models": (["a.safetensors", "b.safetensors", "--layers", "--format", "png"], ""),
    "one file": (["a.safetensors", "--layers"], "report.html"),
    "compare": (["compare", "a.safetensors", "b.safetensors", "--layers", "--format", "png,json"], ""),
}


@pytest.mark.parametrize("about", WORDS)
def test_a_location_gets_what_a_folder_gets(about: str, stored: Bucket, tmp_path: Path) -> None:
    words, name = WORDS[about]
    (tmp_path / "tmp").mkdir()
    run = {"cwd": tmp_path, "path": installed(tmp_path), "env": {**stored.environment, "TMPDIR": str(tmp_path / "tmp")}}
    local = torch2grid(*words, "-o", f"out/{name}", **run)
    done = torch2grid(*words, "-o", f"s3://results/a/b/{name}", **run)
    assert done.returncode == local.returncode, done.stderr
    assert objects(stored) == files(tmp_path / "out", "a/b/")
    assert done.stdout == local.stdout.replace("out/", "s3://results/a/b/")
    assert list((tmp_path / "tmp").iterdir()) == []
    assert not (tmp_path / "s3:").exists()


def test_the_index_keeps_what_is_still_there(stored: Bucket, tmp_path: Path) -> None:
    run = {"cwd": tmp_path, "path": installed(tmp_path), "env": stored.environment}
    torch2grid("a.safetensors", "--grid", "--format", "png", "-o", "s3://results/x", **run)
    torch2grid("a.safetensors", "--layers", "--format", "png", "-o", "s3://results/x", **run)
    entries = json.loads(objects(stored)["x/index.json"])["files"]
    assert sorted(f"x/{name}" for name in entries) == sorted(name for name in objects(stored) if name != "x/index.json")
    stored.client.put_object(Bucket="results", Key="y/index.json", Body=b"[]")
    torch2grid("a.safetensors", "--grid", "--format", "png", "-o", "s3://results/y", **run)
    assert objects(stored)["y/index.json"] == b"[]"
    assert "y/torch2grid.index.json" in objects(stored)


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("s3://nobody/x", "s3://nobody/x"),
        ("s3://results/../x", "is not a key"),
        ("s3:///x", "does not name a bucket"),
        ("https://127.0.0.1:9/x?token=HIDDEN", "https://127.0.0.1:9/x: cannot be written to"),
        ("hf://owner/name", "hf://owner/name: cannot be written to"),
        ("ftp://me:HIDDEN@127.0.0.1/x", "ftp://127.0.0.1/x: no plugin opens ftp:// locations"),
    ],
)
def test_where_nothing_can_be_written_it_is_one_line(location: str, told: str, stored: Bucket, tmp_path: Path) -> None:
    words = ("a.safetensors", "--grid", "-q", "-o", location)
    done = torch2grid(*words, cwd=tmp_path, path=installed(tmp_path), env=stored.environment, timeout=100)
    assert done.returncode in (1, 2)
    assert done.stderr.count("\n") == 1, done.stderr
    assert told in done.stderr
    assert "HIDDEN" not in done.stderr
    assert objects(stored) == {}


def test_workers_write_to_it_themselves(stored: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystems, "_made", {})  # that of an earlier test in this process asks another server
    for name, value in stored.environment.items():
        monkeypatch.setenv(name, value)
    manager = PluginManager.discover(third_party=False)
    manager.register(plugin)
    model = str(tmp_path / "a.safetensors")
    settings = Settings(view=("layers",), format=("png",), quiet=True, output=str(tmp_path / "here"))
    Drawing(manager, settings).one(model, settings.output)
    with Elsewhere(apart=False) as executor:
        drawing = Drawing(manager, replace(settings, output="s3://results/there"))
        drawing.executor = executor_of(manager, executor)
        drawing.one(model, "s3://results/there")
    expected = files(tmp_path / "here", "there/")
    assert objects(stored) == expected
    assert executor.largest < min(len(data) for name, data in expected.items() if name.endswith(".png"))


def test_reports_and_manifests_go_to_locations_whole(stored: Bucket, tmp_path: Path) -> None:
    run = {"cwd": tmp_path, "path": installed(tmp_path), "env": stored.environment}
    formats = "json={0}/a.json,html={0}/a.html"
    words = ("check", "a.safetensors", "-q", "--select", "T1")
    done = torch2grid(*words, "--format", formats.format("s3://results/x"), "--write-manifest", "s3://results/x/m.json", **run)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    torch2grid(*words, "--format", formats.format("here"), "--write-manifest", "here/m.json", **run)
    assert objects(stored) == files(tmp_path / "here", "x/")
    assert not (tmp_path / "s3:").exists()


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("s3://nobody/x.json", "s3://nobody"),
        ("s3://results", "names no file"),
        ("s3://results/x/", "names no file"),
        ("https://127.0.0.1:9/x?token=HIDDEN", "https://127.0.0.1:9/x: cannot be written to"),
        ("ftp://me:HIDDEN@127.0.0.1/x", "ftp://127.0.0.1/x: no plugin opens ftp:// locations"),
    ],
)
@pytest.mark.parametrize("option", ["--write-manifest", "--format"])
def test_where_no_report_can_be_written_it_is_one_line(
    option: str, location: str, told: str, stored: Bucket, tmp_path: Path
) -> None:
    words = ("check", "a.safetensors", "-q", option, location if option == "--write-manifest" else f"json={location}")
    done = torch2grid(*words, cwd=tmp_path, path=installed(tmp_path), env=stored.environment, timeout=100)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert told in done.stderr
    assert "HIDDEN" not in done.stderr
    assert objects(stored) == {}
    assert not [path for path in tmp_path.iterdir() if ":" in path.name]
