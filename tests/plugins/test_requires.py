"""A plugin's file for another core is not run: what it imports may not be there."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.tools import DIGITS, torch2grid

from torch2grid_core import __version__

WRONG = [
    'requires_core = ">=7"',
    'requires_core: str = ">=7"',
    'VERSION = requires_core = ">=7"',
    "requires_core = '>=7'  # not yet",
]


@pytest.mark.parametrize("line", WRONG)
def test_the_version_is_told_before_the_file_is_run(tmp_path: Path, line: str) -> None:
    source = f"from torch2grid_core import NotThereYet\n\n{line}\nopen('ran', 'w').close()\n"
    (tmp_path / "later.py").write_text(source, encoding="utf-8")
    done = torch2grid(DIGITS, "--load-plugin", "later.py", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"torch2grid: plugin 'later' of later.py: needs torch2grid-core >=7, and {__version__} is installed"
    ]
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("requires_core = '>=0.1'", "import: ImportError: cannot import name 'NotThereYet'"),
        ("def later():\n    requires_core = '>=7'", "import: ImportError"),
        ("requires_core = str('>=7')", "import: ImportError"),
        ("requires_core = (", "import: SyntaxError"),
        ("requires_core = 7", "requires_core = 7 is not a range of versions"),
        ("requires_core = 'soon'", "requires_core = 'soon' is not a range of versions"),
    ],
)
def test_what_is_no_literal_of_another_range_is_run(tmp_path: Path, line: str, told: str) -> None:
    (tmp_path / "later.py").write_text(f"from torch2grid_core import NotThereYet\n\n{line}\n", encoding="utf-8")
    done = torch2grid(DIGITS, "--load-plugin", "later.py", cwd=tmp_path)
    assert done.returncode == 1
    assert told in done.stderr
