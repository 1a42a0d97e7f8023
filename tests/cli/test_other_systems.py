"""What other systems lack is taken away here: pictures, tables and verdicts are the same, byte for byte.

macOS starts its workers anew (spawn). Windows does too, and has neither ``preadv`` nor ``fork``, nor a signal for a closed
terminal. How Windows locks a folder's index cannot be simulated here.
"""

from __future__ import annotations

import hashlib
import json
import textwrap
from pathlib import Path

import pytest
from tests.support.tools import DIGITS, torch2grid

LACKING = {
    "macOS": """
        import sys
        sys.platform = "darwin"
    """,
    "Windows": """
        import os, signal, sys
        sys.platform = "darwin"  # as Windows does, it starts workers anew; the standard library of "win32" is not here
        for name in ("preadv", "pread", "register_at_fork", "fork"):
            delattr(os, name)
        del signal.SIGHUP
        sys.modules["resource"] = None
    """,
}
RUNS = (
    ("--stats", "-j", "2"),
    ("--layers", "-j", "2", "-o", "out"),
    ("--plugin", "spiral", "-o", "grid.png"),
    ("check", "--format", "json"),
    ("compare", "--format", "json"),
)


def seen(folder: Path, path: tuple[Path, ...]) -> dict[str, str]:
    """What the commands print, and the digest of each file that they write."""
    folder.mkdir()
    found = {}
    for words in RUNS:
        given = (
            (words[0], DIGITS, *([DIGITS] if words[0] == "compare" else []), *words[1:])
            if words[0] in ("check", "compare")
            else (DIGITS, *words)
        )
        done = torch2grid(*given, cwd=folder, path=path, new=bool(path))
        assert done.returncode == 0, done.stderr
        found[" ".join(words)] = done.stdout
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            found[file.relative_to(folder).as_posix()] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return seen(tmp_path_factory.mktemp("here") / "run", ())


@pytest.mark.parametrize("system", LACKING)
def test_it_works_the_same_without_what_another_system_lacks(system: str, here: dict[str, str], tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(textwrap.dedent(LACKING[system]), encoding="utf-8")
    there = seen(tmp_path / "run", (site,))
    timed = [name for name in here if name.endswith("index.json")]  # holds seconds
    assert timed
    assert {name: each for name, each in there.items() if name not in timed} == {
        name: each for name, each in here.items() if name not in timed
    }
    assert json.loads((tmp_path / "run" / timed[0]).read_text(encoding="utf-8"))
