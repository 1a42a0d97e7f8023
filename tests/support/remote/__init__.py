"""torch2grid-remote as the tests run it: installed for one process, and servers on this machine that it asks."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support.tools import PROJECT

SOURCE = PROJECT / "plugins" / "torch2grid_remote" / "src"

if str(SOURCE) not in sys.path:  # for what the tests import themselves
    sys.path.append(str(SOURCE))


def installed(folder: Path) -> list[Path]:
    """Folders for the import path of a process in which torch2grid-remote is installed."""
    site = folder / "remote-site"
    about = site / "torch2grid_remote-0.1.0.dist-info"
    if not about.exists():
        about.mkdir(parents=True)
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: torch2grid-remote\nVersion: 0.1.0\n")
        (about / "entry_points.txt").write_text("[torch2grid]\nremote = torch2grid_remote.plugin\n")
    return [site, SOURCE]
