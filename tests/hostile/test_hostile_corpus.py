"""Every hostile file through the command line, each in a process of its own with limits of time and address space."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.support.corpus import hostile, manifest
from tests.support.hostile.running import GIB, SECONDS, Result, Runs
from tests.support.tools import DIGITS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of address space, pidfd and /proc are Linux's")

CASES = manifest("hostile")
KINDS = {case["kind"]: case for case in CASES if not case["lenient"]}  # one of each kind
EVERY_NAME = ("--view", "grid", "--layers", "--stats")  # each draws names or makes files of them


def words(case: dict[str, Any]) -> list[object]:
    return ["--no-plugins", hostile(case["file"]), *(EVERY_NAME if case["kind"] == "name" else ())]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    made = Runs(tmp_path_factory.mktemp("runs"))
    yield made
    made.close()


def allowed(run: Callable[..., Result]) -> int:
    """The address space of a good file's run, and 1 GiB more."""
    good = run(["--no-plugins", DIGITS])
    assert good.code == 0, good.err
    assert good.peak > 0
    return good.peak + GIB


@pytest.fixture(scope="module")
def results(runs: Runs) -> dict[str, Result]:
    """What became of every case; two run at a time."""
    limit = allowed(runs.forked)
    with ThreadPoolExecutor(2) as pool:
        return dict(
            zip([case["file"] for case in CASES], pool.map(lambda case: runs.forked(words(case), limit), CASES), strict=True)
        )


def check(case: dict[str, Any], result: Result) -> None:
    assert result.code is not None, f"still running after {SECONDS} s"
    if case["lenient"]:
        assert result.is_clean_error() or result.is_drawn(), result
    elif case["expect"] == "error":
        assert result.is_clean_error(), result
    else:
        assert result.is_drawn(), result
        assert result.tensors == case["tensors"]
    assert result.left == []
    if case["canary"]:
        assert list(result.folder.glob(case["canary"])) == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["file"])
def test_a_hostile_file(case: dict[str, Any], results: dict[str, Result]) -> None:
    check(case, results[case["file"]])


@pytest.fixture(scope="module")
def limit_fresh(runs: Runs) -> int:
    return allowed(runs.fresh)


@pytest.mark.parametrize("kind", KINDS)
def test_one_of_each_kind_in_a_process_that_imports_everything(kind: str, runs: Runs, limit_fresh: int) -> None:
    check(KINDS[kind], runs.fresh(words(KINDS[kind]), limit_fresh))


def folder(path: Path) -> None:
    path.mkdir()


def dangling(path: Path) -> None:
    path.symlink_to(path.parent / "nothing")


@pytest.mark.parametrize("make", [folder, dangling, os.mkfifo])
def test_what_is_no_file(make: Callable[[Path], None], runs: Runs, tmp_path: Path) -> None:
    make(tmp_path / "x.pth")
    result = runs.forked(["--no-plugins", tmp_path / "x.pth"], allowed(runs.forked))
    assert result.is_clean_error(), result
    assert str(tmp_path / "x.pth") in result.err


def test_the_limit_of_address_space_is_real(runs: Runs) -> None:
    assert not runs.forked(["--no-plugins", DIGITS], 64 << 20).is_drawn()
