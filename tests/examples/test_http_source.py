"""``examples/http_source.py`` against a real server: the same pictures and figures as of the local file, by ranges alone."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.support.example import example
from tests.support.sources.server import STALL, Served, serving
from tests.support.tools import PROJECT, torch2grid

from torch2grid_core import LoadError, PluginManager
from torch2grid_core.testing import Bound, conformance

EXAMPLE = PROJECT / "examples" / "http_source.py"
torch.manual_seed(3)
TENSORS = {f"block.{index}.weight": torch.randn(300, 200) for index in range(6)}
NUMBERS = 6 * 300 * 200 * 4  # bytes of them all
KINDS = ["pth", "safetensors"]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    (tmp_path / "www").mkdir()
    with serving(tmp_path / "www") as found:
        yield found


@pytest.fixture
def manager() -> Iterator[PluginManager]:
    found = PluginManager.discover(third_party=False, files=[str(EXAMPLE)])
    yield found
    close(sys.modules[type(found.create("source", "http")).__module__])


def close(module: ModuleType) -> None:
    """Close the connections that the example keeps."""
    for connection in vars(module.here).get("open", {}).values():
        connection.close()


def write(folder: Path, kind: str) -> str:
    if kind == "pth":
        torch.save(TENSORS, folder / "m.pth")
    elif kind == "safetensors":
        save_file(TENSORS, folder / "m.safetensors")
    else:
        shards = {f"model-0000{number}-of-00002.safetensors": list(TENSORS)[number - 1 :: 2] for number in (1, 2)}
        for file, names in shards.items():
            save_file({name: TENSORS[name] for name in names}, folder / file)
        weight_map = {name: file for file, names in shards.items() for name in names}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")
        return "model.safetensors.index.json"
    return f"m.{kind}"


def test_it_is_short() -> None:
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) <= 90


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("kind", [*KINDS, "shards"])
def test_pictures_and_figures_are_those_of_the_local_file(kind: str, jobs: int, served: Served, tmp_path: Path) -> None:
    name = write(served.folder, kind)
    words = ["--load-plugin", EXAMPLE, "--layers", "--format", "png", "-q", "--jobs", jobs]
    stats = ["--load-plugin", EXAMPLE, "--stats", "--format", "csv", "-q", "--jobs", jobs]
    for place, location in (("here", str(served.folder / name)), ("there", f"{served.url}/{name}")):
        for each in (words, stats):
            done = torch2grid(location, *each, "--output", tmp_path / place, cwd=tmp_path)
            assert (done.returncode, done.stderr) == (0, "")
    here, there = (
        {path.relative_to(tmp_path / place): path.read_bytes() for path in (tmp_path / place).rglob("*.*") if path.is_file()}
        for place in ("here", "there")
    )
    assert {path.suffix for path in here} >= {".png", ".csv"}
    assert len(here) > 6
    pictures = [path for path in here if path.suffix in (".png", ".csv")]
    assert [path for path in pictures if here[path] != there.get(path)] == []


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_needed_is_asked_for(kind: str, served: Served, manager: PluginManager) -> None:
    name = write(served.folder, kind)
    found = manager.open(f"{served.url}/{name}")
    assert list(found) == list(TENSORS)
    assert len(served.requests) <= 4, served.requests  # those for neighbours among them
    assert served.sent <= (256 << 10) + (69 << 10) < NUMBERS / 4
    assert served.connections == 1
    served.forget()
    np.testing.assert_array_equal(found["block.5.weight"].numpy(), TENSORS["block.5.weight"].numpy())
    assert len(served.requests) <= 2
    assert served.sent <= 2 * (256 << 10)
    assert served.connections == 0  # that of before
    served.forget()
    for tensor, expected in TENSORS.items():
        np.testing.assert_array_equal(found[tensor].numpy(), expected.numpy())
    assert served.sent <= NUMBERS + 12 * (256 << 10)
    assert served.connections == 0


def test_small_tensors_side_by_side_share_a_request(served: Served, manager: PluginManager) -> None:
    save_file({f"layer.{index:03d}": torch.full((500,), float(index)) for index in range(500)}, served.folder / "m.safetensors")
    found = manager.open(f"{served.url}/m.safetensors")
    assert [float(tensor.numpy()[7]) for tensor in found.values()] == list(range(500))
    assert len(served.requests) <= 10
    assert served.sent <= 2.2 * 500 * 500 * 4


def test_neighbours_are_found_by_their_names_alone(served: Served, manager: PluginManager) -> None:
    write(served.folder, "shards")
    (served.folder / "with space").mkdir()
    write(served.folder / "with space", "safetensors")
    source = manager.source(f"{served.url}/with space/m.safetensors?token=secret")
    assert source.shown == f"{served.url}/with space/m.safetensors"
    assert (source.name, source.folder.name) == ("m.safetensors", "with space")
    assert (source.folder.is_folder, source.folder.entries) == (True, ())
    assert source.folder.child("m.safetensors").head == source.head
    for name in ("../model.safetensors.index.json", "nothing"):
        with pytest.raises(LoadError):
            source.folder.child(name)
    (served.folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(LoadError, match=r"model-00002-of-00002\.safetensors"):
        manager.open(f"{served.url}/model.safetensors.index.json")


def test_credentials_stand_nowhere(served: Served, manager: PluginManager) -> None:
    write(served.folder, "safetensors")
    host = served.url.removeprefix("http://")
    source = manager.source(f"http://me:secret@{host}/m.safetensors")
    assert b"secret" not in pickle.dumps(source)
    assert source.shown == f"{served.url}/m.safetensors"
    with pytest.raises(LoadError) as failure:
        manager.source(f"http://me:secret@{host}/none?secret")
    assert "secret" not in str(failure.value)


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("whole", "the server sends no ranges; check the address, or download the file first"),
        ("404", "the server answers 404 Not Found; check the address"),
        ("short", "the server sends other bytes than "),
        ("other", "the server sends other bytes than "),
        ("changed", "changed while it was being read; run again when it is complete"),
        ("stall", "the server is silent for 0.5 s; check the address, and try again"),
        ("hangs up", "the server cannot be asked: "),
        ("elsewhere", "the server cannot be asked: "),
    ],
)
@pytest.mark.parametrize(("kind", "when"), [("pth", "in the middle"), ("safetensors", "at once")])
def test_each_fault_is_one_line(kind: str, when: str, fault: str, line: str, served: Served, tmp_path: Path) -> None:
    assert STALL > 0.5
    name = write(served.folder, kind)
    served.fault, served.after = fault, 0 if when == "at once" and fault != "changed" else 300 << 10  # a change needs a before
    location = f"{served.url}/{name}"
    done = torch2grid(
        location, "--load-plugin", EXAMPLE, "--stats", cwd=tmp_path, env={"TORCH2GRID_HTTP_TIMEOUT": "0.5"}, timeout=60
    )
    assert done.returncode == 1
    told = [each for each in done.stderr.splitlines() if each.startswith("torch2grid: ")]
    assert len(told) == 1, done.stderr
    assert told[0].startswith(f"torch2grid: {location}: {line}")
    assert "Traceback" not in done.stderr


def test_what_is_no_fault(served: Served, manager: PluginManager) -> None:
    write(served.folder, "safetensors")
    served.fault = "closes"  # a connection that the server closes meanwhile is opened again
    found = manager.open(f"{served.url}/m.safetensors")
    for name, tensor in TENSORS.items():
        np.testing.assert_array_equal(found[name].numpy(), tensor.numpy())
    assert served.connections > 3
    served.fault = ""
    moved = manager.open(f"{served.url}/moved/m.safetensors")
    np.testing.assert_array_equal(moved["block.0.weight"].numpy(), TENSORS["block.0.weight"].numpy())
    (served.folder / "empty").touch()
    with pytest.raises(LoadError, match="/empty: is empty"):
        manager.open(f"{served.url}/empty")
    for location in ("http://127.0.0.1:1/x.pth", f"{served.url.replace('http', 'https')}/x.pth", "http://127.0.0.1:port/x.pth"):
        with pytest.raises(LoadError, match=r"127.0.0.1:\w+/x.pth: the server cannot be asked: "):
            manager.open(location)


def test_a_redirect_to_another_host_is_followed_as_hubs_need_it(served: Served, tmp_path: Path) -> None:
    """What a hub's page redirects to lies on a host for downloads, in an address with a signature."""
    name = write(served.folder, "pth")
    with serving(tmp_path / "hub") as hub:
        hub.fault, hub.elsewhere = "elsewhere", served.url
        (tmp_path / "hub").mkdir(exist_ok=True)
        location = hub.url.replace("://", "://user:secret@") + f"/{name}"
        done = torch2grid(location, "--load-plugin", EXAMPLE, "--stats", cwd=tmp_path, timeout=60)
        assert done.returncode == 0, done.stderr
        assert "secret" not in done.stdout + done.stderr
        assert hub.requests
        assert served.requests
        hub.elsewhere = "ftp://files.invalid/deep/er?key=secret&to="
        done = torch2grid(location, "--load-plugin", EXAMPLE, "--stats", cwd=tmp_path, timeout=60)
        assert done.returncode == 1
        assert "is redirected to ftp://files.invalid/deep/er; give that address, if you trust it" in done.stderr
        assert "secret" not in done.stderr


@pytest.mark.parametrize("address", ["http://[::1/x", "http:///x", "https://", "https://me:secret@h:x/x?token=secret"])
def test_what_is_no_address_is_one_line_with_it(address: str, tmp_path: Path) -> None:
    done = torch2grid("tree", address, "--load-plugin", EXAMPLE, cwd=tmp_path, timeout=60)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert address.replace("me:secret@", "").partition("?")[0] in done.stderr
    assert "secret" not in done.stderr
    assert "NoneType" not in done.stderr


@pytest.mark.parametrize("goal", ["http://[::bad", "https:///x"])
def test_a_redirect_to_no_address_names_what_was_asked_for(goal: str, served: Served, tmp_path: Path) -> None:
    served.fault, served.elsewhere = "elsewhere", goal
    done = torch2grid("tree", f"{served.url}/m.pth", "--load-plugin", EXAMPLE, cwd=tmp_path, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith(f"torch2grid: {served.url}/m.pth: the server cannot be asked: ")
    assert done.stderr.count("\n") == 1


@pytest.fixture(autouse=True, scope="module")
def kit_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with serving(tmp_path_factory.mktemp("kit")) as found:
        KIT.append(found)
        yield
    KIT.clear()
    close(example("http_source"))


KIT: list[Served] = []


def locations(folder: Path) -> list[str]:
    (served,) = KIT
    (served.folder / "x").write_bytes(bytes(range(251)) * 3000)
    (served.folder / "empty").touch()
    return [f"{served.url}/x", f"{served.url}/empty"]


@conformance(example("http_source").HttpOpener, files=locations)
def test_it_conforms(check: Bound) -> None:
    check()
