"""The other tools, and what the plain scripts import, in a virtual environment in the cache folder."""

from __future__ import annotations

import platform
import subprocess
import venv
from pathlib import Path

from benchmarks.machine import versions_of
from benchmarks.models import cache

LENS, SFT = "weightlens 0.3.0", "sft-cli 0.2.2"
COMPRESSED, BITS = "compressed-tensors 0.20.1", "bitsandbytes 0.50.2"
_TOOLS = tuple(each.replace(" ", "==") for each in (LENS, SFT, COMPRESSED, BITS))
_LIBRARIES = ("torch", "safetensors", "numpy", "matplotlib")  # the releases that torch2grid is tested with
_CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints.txt"


def peers() -> Path:
    """The ``bin`` folder of the environment; it is made if it is not there."""
    folder = cache() / "peers"
    done = folder / "installed.txt"
    wanted = "\n".join((platform.python_version(), *_TOOLS, _CONSTRAINTS.read_text()))
    if not done.exists() or done.read_text() != wanted:
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--constraint", str(_CONSTRAINTS)]
        # torch comes first and alone, as in the Makefile: among others, a build with CUDA may be chosen.
        for packages in (_LIBRARIES[:1], (*_TOOLS, *_LIBRARIES)):
            subprocess.run([*pip, *packages], check=True)
        done.write_text(wanted)
    return folder / "bin"


def releases() -> str:
    """One line on what is installed there."""
    return versions_of(peers() / "python", [each.partition("==")[0] for each in _TOOLS] + list(_LIBRARIES))
