"""SIGTERM, as schedulers send it: nothing half-written stays, and no temporary file."""

from __future__ import annotations

import gzip
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.tools import COMMAND, DIGITS, interruptible

SLOW = """
import pathlib
import time
import numpy as np
from torch2grid_core import GridTransformer

class Slow(GridTransformer):
    "waits"
    name = "slow"

    def transform(self, tensors):
        pathlib.Path("began").touch()
        time.sleep(60)
        return np.ones((2, 2))
"""


@pytest.mark.parametrize(("number", "code", "said"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")])
def test_a_signal_while_it_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int, said: str
) -> None:
    (tmp_path / "slow.py").write_text(SLOW, encoding="utf-8")
    (tmp_path / "model.pth.gz").write_bytes(gzip.compress(DIGITS.read_bytes()))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    words = [str(COMMAND), "model.pth.gz", "--load-plugin", "slow.py", "--plugin", "slow", "-o", "out"]
    monkeypatch.setenv("TMPDIR", str(temporary))
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True, preexec_fn=interruptible)
    for _ in range(600):
        if (tmp_path / "began").exists():
            break
        time.sleep(0.05)
    assert list(temporary.iterdir())  # the unpacked checkpoint
    process.send_signal(number)
    _, told = process.communicate(timeout=30)
    assert process.returncode == code
    assert told.splitlines()[-1] == f"torch2grid: {said}"
    assert not list(temporary.iterdir())
    assert not list(tmp_path.glob("out/**/*"))
