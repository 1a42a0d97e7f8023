"""PNG files of pixels, by zlib alone (PNG specification, third edition, W3C 2025)."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from torch2grid_core._array import Array

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SLAB = 1 << 20  # bytes compressed at a time
_LEVEL = 1  # of zlib: above it, files of cells do not shrink, and take longer


def encode_png(rgb: Array, title: str = "", dpi: int = 100) -> bytes:
    """*rgb*, uint8 (rows, columns, 3), as a PNG file; the same pixels and title give the same bytes.

    Rows are not filtered: cells have few colours and no gradients, and are a third smaller, and faster, without. title: kept
    in the file's ``Title``. dpi: pixels an inch, for programs that print. Raises ``ValueError`` for another shape or dtype,
    or for no pixels.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or not rgb.size:
        raise ValueError(f"pixels are uint8 of shape (rows, columns, 3), not {rgb.dtype} of {rgb.shape}")
    rows, columns, _ = rgb.shape
    meter = round(dpi / 0.0254)
    chunks = [_chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0))]
    chunks.append(_chunk(b"pHYs", struct.pack(">IIB", meter, meter, 1)))
    if title:
        chunks.append(_chunk(b"iTXt", b"Title\x00\x00\x00\x00\x00" + title.encode("utf-8", "replace")))
    chunks.append(_chunk(b"IDAT", _compressed(rgb)))
    return b"".join([_SIGNATURE, *chunks, _chunk(b"IEND", b"")])


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _compressed(rgb: Array) -> bytes:
    rows, columns, _ = rgb.shape
    height = max(1, _SLAB // (3 * columns))
    buffer = np.zeros((min(height, rows), 1 + 3 * columns), dtype=np.uint8)  # each row begins with its filter, 0 for none
    packer = zlib.compressobj(_LEVEL)
    parts = []
    for start in range(0, rows, height):
        slab = rgb[start : start + height]
        buffer[: len(slab), 1:] = slab.reshape(len(slab), -1)
        parts.append(packer.compress(buffer[: len(slab)].data))
    return b"".join([*parts, packer.flush()])
