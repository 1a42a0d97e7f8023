"""A large file of packed codes is measured in bounded memory, and says what it is."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.support.tools import torch2grid

SIDE = 10_240
WEIGHTS = SIDE * SIDE
BEYOND = 80 << 20  # bytes above what a small file takes; all weights at once would be 419 MB


def write(path: Path, rows: int, columns: int) -> Path:
    """A file of one INT4 weight, written row by row: every code once in sixteen, scales of a half and of two."""
    words = np.full(columns // 8, 0x76543210, np.uint32)
    words[1::2] = 0xFEDCBA98
    shapes = {
        "fc.weight_shape": ("I64", [2], np.array([rows, columns], np.int64).tobytes()),
        "fc.weight_packed": ("I32", [rows, columns // 8], words.tobytes() * rows),
        "fc.weight_scale": ("F16", [rows, columns // 128], np.array([0.5, 2] * (columns // 256), np.float16).tobytes() * rows),
    }
    header, place = {}, 0
    for name, (dtype, shape, data) in shapes.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [place, place + len(data)]}
        place += len(data)
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, data in shapes.values():
            file.write(data)
    return path


PEAK = """
import sys
from torch2grid.__main__ import main
sys.argv = ["torch2grid", *sys.argv[1:]]
try:
    main()
finally:
    with open("/proc/self/status") as status:  # not getrusage, which begins with what the parent had
        print("peak", next(line.split()[1] for line in status if line.startswith("VmHWM")), file=sys.stderr)
"""


def peak(path: Path) -> int:
    words = [path, "--stats", "--jobs", "1"]
    done = subprocess.run([sys.executable, "-c", PEAK, *map(str, words)], capture_output=True, text=True, cwd=path.parent)
    assert "fc.weight" in done.stdout, done.stderr
    return int(done.stderr.rsplit("peak ", 1)[1].split()[0]) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="counts the memory as Linux does")
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    small, large = (
        peak(write(tmp_path / "small.safetensors", 256, 256)),
        peak(write(tmp_path / "large.safetensors", SIDE, SIDE)),
    )
    assert large - small < BEYOND


def test_the_summary_counts_weights_and_not_words(tmp_path: Path) -> None:
    write(tmp_path / "model.safetensors", 256, 512)
    done = torch2grid("model.safetensors", "--stats", "--format", "json", "-o", ".", cwd=tmp_path)
    assert "1 tensor, 131,072 parameters, float32, 1 tensor decoded by compressed_tensors" in done.stderr
    done = torch2grid("tree", "model.safetensors", "--format", "json", cwd=tmp_path)
    (tensor,) = json.loads(done.stdout)["tensors"]
    assert tensor["note"].startswith("compressed-tensors INT4, symmetric, group 128, of fc.weight_packed")
