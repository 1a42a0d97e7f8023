"""What a fork of a process that has imported the command says and writes is what a new process says and writes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support import forked
from tests.support.tools import DIGITS, TRACING, distribution, torch2grid

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every command is a new process")
PLUGIN = """
    from torch2grid_core import TensorFilter
    class Odd(TensorFilter):
        "every other tensor"
        name = "odd"
        def keep(self, tensor):
            print("kept", tensor.name)
            return len(tensor.name) % 2 == 1
"""
# Every command, what goes wrong in each way, and what reads its own surroundings.
COMMANDS: dict[str, tuple[str, ...]] = {
    "version": ("--version",),
    "help": ("--help",),
    "help of a command": ("compare", "--help"),
    "draw": ("model.pth", "--layers", "--stats", "--format", "png,svg,json", "-j", "2"),
    "draw to stdout": ("model.pth", "--stats", "-o", "-", "--format", "csv"),
    "check": ("check", "model.pth", "--verbose"),
    "findings": ("check", "ill.npz", "model.pth"),
    "compare": ("compare", "model.pth", "other.pth", "--stats"),
    "tree": ("tree", "model.pth"),
    "config": ("config", "--set", "x:y=1"),
    "plugins": ("plugins", "--json"),
    "demo": ("demo",),
    "menu": ("model.pth", "-i"),
    "a plugin's file": ("check", "model.pth", "--load-plugin", "odd.py", "--filter", "odd"),
    "processes": ("check", "model.pth", "--jobs", "3"),
    "no such file": ("none.pth",),
    "a broken file": ("broken.pth", "model.pth"),
    "no such option": ("model.pth", "--colour"),
    "no such rule": ("check", "model.pth", "--select", "T999"),
    "a traceback": ("broken.pth", "--debug"),
}


def said(run: subprocess.CompletedProcess[str], folder: Path) -> tuple[object, ...]:
    """All but seconds, and the lines of a traceback that are those of what called the entry point."""
    err = re.sub(r'  File "[^"]*(forked\.py|bin/torch2grid|<frozen runpy>)".*\n(    .*\n)+', "", run.stderr or "")
    seconds = r"\d+\.\d+ s\b|(?<=seconds\": )[\d.e-]+|(?<= ) *[\d.]+$"
    out, err = (re.sub(seconds, "", text, flags=re.MULTILINE) for text in (run.stdout, err))
    written = {path.relative_to(folder): path.read_bytes() for path in (folder / "grids").rglob("*") if path.is_file()}
    return run.returncode, out, err, {path: raw for path, raw in written.items() if path.suffix != ".json"}, sorted(written)


@pytest.mark.parametrize("about", COMMANDS)
def test_a_fork_is_as_good_as_a_new_process(about: str, tmp_path: Path) -> None:
    shutil.copy(DIGITS, tmp_path / "model.pth")
    shutil.copy(DIGITS.with_name("digits_untrained.pth"), tmp_path / "other.pth")
    (tmp_path / "broken.pth").write_bytes(DIGITS.read_bytes()[:-100])
    np.savez(tmp_path / "ill.npz", w=np.array([[1, np.nan]], np.float32))
    (tmp_path / "odd.py").write_text(PLUGIN.replace("\n    ", "\n"), encoding="utf-8")
    words = COMMANDS[about]
    new = said(torch2grid(*words, cwd=tmp_path, stdin="stats\nquit\n", new=True), tmp_path)
    shutil.rmtree(tmp_path / "grids", ignore_errors=True)
    fork = forks(tmp_path, *words)
    assert said(fork, tmp_path) == new


PROGRAMS = {
    "names": "import sys, torch2grid as t2g\nprint(__name__, sys.argv, globals().get('__file__'), t2g.load('model.pth'))",
    "a folder's module": "import beside\nprint(beside.__file__)",
    "torch": "import torch\nprint(torch.load('model.pth', weights_only=True).keys())",
    "an exit": "import sys\nprint('out', file=sys.stderr)\nsys.exit('no more')",
    "a failure": "print(1)\n1 / 0",
}


@pytest.mark.parametrize("given", ["-c", "a script"])
@pytest.mark.parametrize("about", PROGRAMS)
def test_a_fork_runs_a_program_as_a_new_process_does(about: str, given: str, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    shutil.copy(DIGITS, tmp_path / "model.pth")
    (tmp_path / "beside.py").touch()
    (tmp_path / "script.py").write_text(PROGRAMS[about], encoding="utf-8")
    command = [sys.executable, *(("-c", PROGRAMS[about]) if given == "-c" else ("script.py",)), "a word"]
    environment = {**os.environ, "PYTHONPATH": ""}
    new = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    asked: dict[str, Any] = {"cwd": tmp_path, "environment": environment, "stdin": "", "timeout": 60}
    fork = forked.run(command, **asked) or forked.run(command, **asked)
    assert fork is not None
    assert said(fork, tmp_path) == said(new, tmp_path)


def test_what_both_streams_say_stands_in_one_where_it_was_said(tmp_path: Path) -> None:
    np.savez(tmp_path / "ill.npz", w=np.array([[1, np.nan]], np.float32))
    (tmp_path / "m.npy").write_bytes(b"no array")
    words, unbuffered = ("check", "ill.npz", "m.npy", "ill.npz"), {"PYTHONUNBUFFERED": "1"}
    new = torch2grid(*words, cwd=tmp_path, new=True, merged=True, env=unbuffered)
    fork = forks(tmp_path, *words, merged=True, **unbuffered)
    assert said(fork, tmp_path) == said(new, tmp_path)
    assert not fork.stderr
    assert "T101" in new.stdout
    assert "torch2grid: " in new.stdout


def forks(folder: Path, *words: object, merged: bool = False, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": "", **variables}
    for _ in range(2):  # the first of its kind starts no server
        command = [str(Path(sys.executable).parent / "torch2grid"), *map(str, words)]
        run = forked.run(command, cwd=folder, environment=environment, stdin="stats\nquit\n", timeout=60, merged=merged)
        if run is not None:
            return run
    pytest.fail("it was not forked")


def test_a_fork_has_its_variables_and_plugins_of_its_path(tmp_path: Path) -> None:
    told = forks(tmp_path, "config", TORCH2GRID_ONLY="fc*").stdout
    assert re.search(r"^only +fc\* +environment, TORCH2GRID_ONLY$", told, flags=re.MULTILINE), told
    assert "TORCH2GRID_ONLY" not in forks(tmp_path, "config").stdout
    folder = distribution(tmp_path / "site", "t2g-odd", PLUGIN + "    torch2grid_filters = None\n")
    assert "t2g-odd" in forks(tmp_path, "plugins", PYTHONPATH=str(folder)).stdout
    assert "t2g-odd" not in forks(tmp_path, "plugins").stdout


def test_what_a_fork_could_not_show_is_a_new_process(tmp_path: Path) -> None:
    begun = dict(os.environ)
    assert forked.fits({**begun, "TORCH2GRID_ONLY": "x", "PYTHONPATH": str(tmp_path)}, begun)
    for name in ("TORCHINDUCTOR_CACHE_DIR", "KMP_INIT_AT_FORK"):  # torch.export and joblib leave them in the tests' own process
        assert forked.fits({**begun, name: "x"}, begun)
    for name in ("HOME", "LC_ALL", "PYTHONUTF8", "OMP_NUM_THREADS"):
        assert not forked.fits({**begun, name: "x"}, begun)
    assert not forked.fits({}, begun)
    (tmp_path / "numpy.py").write_text("")
    assert not forked.fits({**begun, "PYTHONPATH": str(tmp_path)}, begun)
    (tmp_path / "numpy.py").rename(tmp_path / "sitecustomize.py")
    assert not forked.fits({**begun, "PYTHONPATH": str(tmp_path)}, begun)
    environment = {**begun, "PYTHONPATH": "", TRACING: begun.get(TRACING, ""), forked.NEVER: "0"}
    assert forked.run(["torch2grid"], cwd=tmp_path, environment=environment, stdin="", timeout=9) is None


def test_one_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(60)\n")
    command = [str(Path(sys.executable).parent / "torch2grid"), "plugins", "--load-plugin", "slow.py"]
    forks(tmp_path, "--version")
    with pytest.raises(subprocess.TimeoutExpired):
        forked.run(command, cwd=tmp_path, environment={**os.environ, "PYTHONPATH": ""}, stdin="", timeout=1)
    assert forks(tmp_path, "--version").returncode == 0
