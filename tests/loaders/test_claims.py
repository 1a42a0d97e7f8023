"""Which loader takes a file whose first bytes could be another format's."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from torch2grid import load


@pytest.mark.parametrize("length", [0x80, 0x280, 0x580, 0xBD80, 0x2980, 0x7D0280])
def test_a_safetensors_header_whose_length_begins_like_a_pickle(tmp_path: Path, length: int) -> None:
    header = json.dumps({"weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    path = tmp_path / "model.safetensors"
    weights = np.array([1.5, -2.5], np.float32)
    path.write_bytes(length.to_bytes(8, "little") + header.ljust(length) + weights.tobytes())
    checkpoint = load(path)
    assert checkpoint.format == "safetensors"
    np.testing.assert_array_equal(checkpoint["weight"].numpy(), weights)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_under_the_name_of_another_format(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "model.safetensors"
    weights = np.arange(6, dtype=np.float32).reshape(2, 3)
    path.write_bytes(pickle.dumps({"weight": weights}, protocol))
    checkpoint = load(path)
    assert checkpoint.format == "pickle"
    np.testing.assert_array_equal(checkpoint["weight"].numpy(), weights)
