"""The other tools, and what the plain scripts import, each release pinned, in a virtual environment in the cache folder."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

from benchmarks.models import cache

LENS, SFT = "weightlens 0.3.0", "sft-cli 0.2.2"
RELEASES = (LENS.replace(" ", "=="), SFT.replace(" ", "=="), "safetensors==0.8.0", "numpy==2.4.6", "matplotlib==3.11.2")
_TORCH = "torch==2.13.0"  # first, alone: a build for CPUs, where the index or --find-links has one


def peers() -> Path:
    """The ``bin`` folder of the environment; it is made if it is not there."""
    folder = cache() / "peers"
    programs = folder / ("Scripts" if sys.platform == "win32" else "bin")
    done = folder / "installed.txt"
    wanted = "\n".join((_TORCH, *RELEASES))
    if not done.exists() or done.read_text() != wanted:
        venv.create(folder, with_pip=True, clear=True)
        for packages in ((_TORCH,), RELEASES):
            subprocess.run([programs / "python", "-m", "pip", "install", "--quiet", *packages], check=True)
        done.write_text(wanted)
    return programs


def releases() -> str:
    """One line on what is installed there."""
    return ", ".join(each.replace("==", " ") for each in (*RELEASES, _TORCH))
