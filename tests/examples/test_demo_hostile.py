"""``torch2grid demo --hostile``: the bundled file holds a real call, it is drawn, and the call is not made."""

from __future__ import annotations

import pickle
import pickletools
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from tests.support.loaders.opened import opened, same
from tests.support.tools import DIGITS, torch2grid

from torch2grid_builtin._commands.demo import WITNESS, draw_hostile
from torch2grid_core import PluginManager, Settings, Torch2GridError

HOSTILE = DIGITS.with_name("hostile_demo.pth")
NOT_RUN = f"not run: posix.system('touch {WITNESS}')"


def test_it_draws_says_what_was_not_run_and_leaves_nothing(tmp_path: Path) -> None:
    done = torch2grid("demo", "--hostile", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "grids/demo_hostile.png\n"), done.stderr
    with Image.open(tmp_path / "grids" / "demo_hostile.png") as picture:
        assert min(picture.size) > 100
    summary, call, nothing = done.stderr.splitlines()
    assert "hostile_demo.pth: PyTorch zip, 4 tensors, 490 parameters" in summary
    assert call == NOT_RUN
    assert nothing == f"no file {WITNESS} appeared here: nothing in the checkpoint was run"
    assert [path.name for path in tmp_path.iterdir()] == ["grids"]


def test_a_witness_of_before_is_no_witness(tmp_path: Path) -> None:
    (tmp_path / WITNESS).touch()
    done = torch2grid("demo", "--hostile", "--plugin", "spiral", "-o", "one.svg", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "one.svg\n"), done.stderr
    assert NOT_RUN in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"there was a file {WITNESS} here before")


def test_a_witness_that_appears_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    manager = PluginManager.discover(third_party=False)
    open_really = manager.open

    def careless(path: str) -> object:
        Path(WITNESS).touch()
        return open_really(path)

    monkeypatch.setattr(manager, "open", careless)
    with pytest.raises(Torch2GridError, match="something ran the code"):
        draw_hostile(manager, Settings())


def test_the_file_holds_the_call_and_the_weights_of_the_trained_network() -> None:
    with zipfile.ZipFile(HOSTILE) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        opcodes = [(opcode.name, argument) for opcode, argument, _ in pickletools.genops(archive.read(name))]
    assert ("GLOBAL", "posix system") in opcodes
    assert ("BINUNICODE", f"touch {WITNESS}") in opcodes
    assert "REDUCE" in dict(opcodes)
    with pytest.raises(pickle.UnpicklingError, match=r"posix\.system"):
        torch.load(HOSTILE, weights_only=True)
    trained = torch.load(DIGITS, weights_only=True)
    checkpoint = opened(HOSTILE)
    assert list(checkpoint) == ["conv1.weight", "conv1.bias", "fc2.weight", "fc2.bias"]
    assert all(same(checkpoint[name], trained[name]) for name in checkpoint)
