"""Writes the file that ``torch2grid demo --hostile`` opens: good tensors beside a call that unpickling would make.

    python examples/make_hostile_demo.py

The call is harmless on purpose: it would create an empty file in the working folder. Needs torch.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch

DATA = Path(__file__).resolve().parent.parent / "torch2grid_builtin" / "src" / "torch2grid_builtin" / "data"
HOSTILE = DATA / "hostile_demo.pth"
COMMAND = "touch torch2grid-was-here"
TENSORS = ("conv1.weight", "conv1.bias", "fc2.weight", "fc2.bias")


class Call:
    """Pickled as the call ``os.system(COMMAND)``, which ``torch.load(…, weights_only=False)`` makes."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (COMMAND,)


if __name__ == "__main__":
    trained = torch.load(DATA / "digits_trained.pth", weights_only=True)
    torch.save({"gadget": Call(), **{name: trained[name].clone() for name in TENSORS}}, HOSTILE)
    print(f"{HOSTILE.name}: {HOSTILE.stat().st_size:,} bytes")
