"""Large files of zeros that take no room on the disk, for what reads no weights."""

from __future__ import annotations

import json
from pathlib import Path


def sparse(path: Path, tensors: int, rows: int, columns: int = 4096, prefix: str = "layers") -> list[str]:
    """Write a safetensors file of float32; the names in it."""
    header, place = {}, 0
    for number in range(tensors):
        size = 4 * rows * columns
        header[f"{prefix}.{number}.weight"] = {
            "dtype": "F32",
            "shape": [rows, columns],
            "data_offsets": [place, place + size],
        }
        place += size
    raw = json.dumps(header).encode()
    with path.open("wb") as stream:
        stream.write(len(raw).to_bytes(8, "little") + raw)
        stream.truncate(8 + len(raw) + place)
    return list(header)


def sparse_shards(folder: Path, count: int, tensors: int, rows: int, columns: int = 4096) -> None:
    """Write *count* shards of so many tensors each, with their index."""
    folder.mkdir(parents=True, exist_ok=True)
    weight_map = {}
    for number in range(1, count + 1):
        file = f"model-{number:05d}-of-{count:05d}.safetensors"
        names = sparse(folder / file, tensors, rows, columns, f"layers.{number}")
        weight_map.update(dict.fromkeys(names, file))
    index = json.dumps({"weight_map": weight_map})
    (folder / "model.safetensors.index.json").write_text(index, encoding="utf-8")
