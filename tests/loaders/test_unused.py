"""A file whose storages are mostly unused says how much of them is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.loaders.opened import opened
from tests.support.tools import torch2grid

BIG = torch.arange(1_000_000, dtype=torch.float32)
REST = "of its storages are used: the rest is saved with it, and no tensor shows it"

USES: dict[str, tuple[Any, str]] = {
    "a small view": ({"w": BIG[:10]}, "40 bytes of 4 MB"),
    "a view with gaps": ({"w": BIG[::100]}, "40 kB of 4 MB"),
    "a third": ({"w": BIG[:400_000]}, "1.6 of 4 MB"),
    "two views of one storage": ({"w": BIG[:100_000], "v": BIG[50_000:200_000]}, "0.8 of 4 MB"),
    "two views with gaps": ({"w": BIG[:1000:2], "v": BIG[1:1000:2]}, "4 kB of 4 MB"),
    "in a list, with others": ({"w": [BIG[5:10]], "v": torch.ones(3)}, "32 bytes of 4 MB"),
    "small": ({"w": torch.arange(1000.0)[:10]}, "40 bytes of 4 kB"),
    "half": ({"w": BIG[:500_000]}, ""),
    "all, in views": ({"w": BIG[:500_000], "v": BIG[500_000:]}, ""),
    "all, twice": ({"w": BIG, "v": BIG.reshape(1000, 1000).T}, ""),
    "a few bytes": ({"w": torch.arange(100.0)[:10]}, ""),
    "an expanded tensor": ({"w": torch.ones(1).expand(1000, 1000)}, ""),
    "nothing but an empty tensor": ({"w": torch.zeros(0), "v": torch.ones(2)}, ""),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kind", USES)
def test_how_much_is_used(kind: str, zipped: bool, tmp_path: Path) -> None:
    value, told = USES[kind]
    torch.save(value, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    notes = opened(tmp_path / "x.pt").notes
    assert notes == ((f"{told} {REST}",) if told else ())


def test_it_is_said_when_drawing_and_when_checking(tmp_path: Path) -> None:
    torch.save({"w": BIG[:300_000].reshape(300, 1000)}, tmp_path / "x.pt")
    assert f"note: 1.2 of 4 MB {REST}" in torch2grid("x.pt", "--stats", cwd=tmp_path).stderr
    done = torch2grid("check", "x.pt", cwd=tmp_path)
    assert f"x.pt: note: 1.2 of 4 MB {REST}" in done.stderr
    assert "note:" not in torch2grid("check", "x.pt", "-q", cwd=tmp_path).stderr
