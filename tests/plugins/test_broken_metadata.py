"""What an interrupted installer, or a broken disk, leaves of a distribution costs one line, and no run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.tools import DIGITS, distribution, torch2grid

SOURCE = """
    from torch2grid_core import Page, View
    class Left(View):
        "left"
        name = "left"
        def pages(self, checkpoint, results, run):
            yield Page("left", "Left", ())
"""
HEAD = "Metadata-Version: 2.1\n"


def _write(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda info: (info / name).write_bytes(data) and None


def _folder(name: str) -> Callable[[Path], None]:
    def make(info: Path) -> None:
        (info / name).unlink()
        (info / name).mkdir()

    return make


def _loop(name: str) -> Callable[[Path], None]:
    def make(info: Path) -> None:
        (info / name).unlink()
        (info / name).symlink_to(name)

    return make


# What is wrong → how, and what the one line says.
FAILED = {
    "no metadata": (lambda info: (info / "METADATA").unlink(), "the metadata in left-1.0.dist-info are missing"),
    "empty": (_write("METADATA", b""), "the metadata in left-1.0.dist-info are missing"),
    "a folder": (_folder("METADATA"), "the metadata in left-1.0.dist-info are missing"),
    "a loop": (_loop("METADATA"), "the metadata in left-1.0.dist-info cannot be read (OSError"),
    "no name": (_write("METADATA", f"{HEAD}Version: 1.0\n".encode()), "left-1.0.dist-info have no Name"),
    "no version": (_write("METADATA", f"{HEAD}Name: left\n".encode()), "left-1.0.dist-info have no Version"),
    "an empty name": (_write("METADATA", f"{HEAD}Name:\nVersion: 1\n".encode()), "left-1.0.dist-info have no Name"),
    "no text": (_write("METADATA", b"\xff\xfe\x00"), "left-1.0.dist-info cannot be read (UnicodeDecodeError"),
    "entry points that are no text": (
        _write("entry_points.txt", b"[torch2grid]\nx = \xff\n"),
        "left-1.0.dist-info/entry_points.txt cannot be read (UnicodeDecodeError",
    ),
    "an entry point without a value": (
        _write("entry_points.txt", b"[torch2grid]\nx\n"),
        "left-1.0.dist-info/entry_points.txt cannot be read: a line lacks its '='",
    ),
    "an entry point of no module": (
        _write("entry_points.txt", b"[torch2grid]\nx = a module, here\n"),
        "its entry point is 'a module, here', which is neither MODULE nor MODULE:OBJECT",
    ),
}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return distribution(tmp_path / "site", "left", SOURCE)


@pytest.mark.parametrize("case", FAILED)
def test_one_line_and_the_run_goes_on(site: Path, tmp_path: Path, case: str) -> None:
    spoil, told = FAILED[case]
    spoil(site / "left-1.0.dist-info")
    run = torch2grid(DIGITS, "--stats", "-q", cwd=tmp_path, path=[site])
    assert (run.returncode, run.stdout != "") == (0, True), run.stderr
    (line,) = run.stderr.splitlines()
    assert line.startswith("torch2grid: plugin ")
    assert " of left" in line
    assert told in line
    assert "install it again" in line or "entry point is" in line
    listed = torch2grid("plugins", cwd=tmp_path, path=[site])
    assert listed.returncode == 0, listed.stderr
    assert told.split(" (")[0] in " ".join(listed.stdout.split())
    for words in (["--no-plugins"], ["--disable-plugin", "left"]):
        quiet = torch2grid(DIGITS, "--stats", "-q", *words, cwd=tmp_path, path=[site])
        assert (quiet.returncode, quiet.stderr) == (0, ""), words
        assert quiet.stdout == run.stdout


@pytest.mark.parametrize(
    "requires",
    [
        "torch2grid-core >>> 2",
        "torch2grid-core >=" + "9" * 5000,
        'torch2grid-core>=0.1; python_version > "what is this"; and that',
        'torch2grid-core>=0.1; no_such_variable == "1"',
        'torch2grid-core>=0.1; python_version ~= "x"',
        "torch2grid-core @",
        "torch2grid-core[",
    ],
)
def test_a_requirement_that_does_not_parse_is_passed_over(site: Path, tmp_path: Path, requires: str) -> None:
    metadata = f"{HEAD}Name: left\nVersion: 1.0\nRequires-Dist: {requires}\n"
    (site / "left-1.0.dist-info" / "METADATA").write_text(metadata)
    run = torch2grid(DIGITS, "--stats", "-q", cwd=tmp_path, path=[site])
    assert run.returncode == 0, run.stderr
    assert len(run.stderr.splitlines()) <= 1
    assert "passed over" in run.stderr or "cannot" not in run.stderr
    assert "left" in torch2grid("plugins", cwd=tmp_path, path=[site]).stdout
    quiet = torch2grid(DIGITS, "--stats", "-q", "--no-plugins", cwd=tmp_path, path=[site])
    assert (quiet.returncode, quiet.stderr) == (0, "")


@pytest.mark.parametrize("data", [b"[console_scripts]\nx\n", b"nonsense\n[other]\nx\n"])
def test_entry_points_of_what_is_no_plugin_cost_nothing(site: Path, tmp_path: Path, data: bytes) -> None:
    (site / "left-1.0.dist-info" / "entry_points.txt").write_bytes(data)
    other = distribution(tmp_path / "other", "right", SOURCE.replace("left", "right").replace("Left", "Right"))
    run = torch2grid("plugins", cwd=tmp_path, path=[site, other])
    assert (run.returncode, run.stderr) == (0, "")
    assert "right" in run.stdout
    assert "flatten" in run.stdout


def test_the_first_of_a_name_on_the_path_counts_also_beside_broken_ones(site: Path, tmp_path: Path) -> None:
    (site / "left-1.0.dist-info" / "entry_points.txt").write_bytes(b"[torch2grid]\nx\n")
    first = distribution(tmp_path / "a", "right", SOURCE.replace("left", "shown_one"), entry="one")
    second = distribution(tmp_path / "b", "right", SOURCE.replace("left", "shadowed_one"), version="2.0", entry="two")
    shown = torch2grid("plugins", cwd=tmp_path, path=[site, first, second]).stdout
    assert "shown_one" in shown
    assert "shadowed_one" not in shown
