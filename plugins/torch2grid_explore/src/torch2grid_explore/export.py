"""A folder for a web server: the page, its modules, and the map as far as it is small. Deeper cells come from the file."""

from __future__ import annotations

import html
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from torch2grid_builtin.viewer import bundled, modules, planes, rounded
from torch2grid_core import LazyTensor, UsageError
from torch2grid_core.sources import Range
from torch2grid_core.text import json_text, visible
from torch2grid_explore.describing import describe
from torch2grid_explore.limits import KINDS, limits, limits_of, sampled
from torch2grid_explore.pyramid import PLANES, Level
from torch2grid_explore.session import Session

MOST_BYTES = 8_000_000  # of the whole folder
_BITS = 12  # of a plane's 23 mantissa bits that are kept: four digits
_STYLES = ("panels.css", "explore.css")
_FLOATS = ("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
_DECODED = {*_FLOATS, "bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="content-security-policy" content="{policy}">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<link rel="icon" href="data:,">
{styles}
<script type="module" src="static_main.js"></script>
</head>
<body>
<noscript>This page draws itself with JavaScript, which is switched off here.</noscript>
</body>
</html>
"""


def write_page(session: Session, folder: str, source: str | None) -> tuple[int, int]:
    """Write the filled *session* to *folder*, which is new: bytes written, and rows of weights in an exported cell.

    source: where a browser can read the safetensors file. Raises ``UsageError`` for a folder that is there, an address that is
    none, and a map that is too large.
    """
    target = Path(folder)
    if target.exists():
        raise UsageError(f"--export {folder}: exists already; name a new folder")
    if source is not None and urlsplit(source).scheme not in ("http", "https"):
        raise UsageError(f"--source {source}: is not an address that a browser can read; it must begin with https://")
    parent = target.absolute().parent
    if not parent.is_dir():
        raise UsageError(f"--export {folder}: there is no folder {parent}")
    made = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=parent))
    try:
        size, cell = _write(session, made, source)
        made.chmod(0o755)
        os.rename(made, target)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return size, cell


def _write(session: Session, folder: Path, source: str | None) -> tuple[int, int]:
    files = {name: modules()[name] for name in _STYLES}
    files["static_main.js"] = bundled("static_main.js", module=True).encode()
    hosts = "" if source is None else f" {_origin(source)}"
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        f"connect-src 'self'{hosts}; base-uri 'none'; form-action 'none'"
    )
    styles = "\n".join(f'<link rel="stylesheet" href="{name}">' for name in _STYLES)
    text = _PAGE.format(policy=html.escape(policy), title=html.escape(visible(session.title, 300)), styles=styles)
    files["index.html"] = text.encode()
    always = _static(session, source)
    for first in range(session.map.base, len(session.map.cells)):
        if (found := _planes(session, first)) is None:
            continue
        packed, places = found
        about = {**describe(session), "static": {**always, "first": first, "places": places}}
        files["model.json"], files["planes.bin"] = json_text(about).encode(), packed
        size = sum(map(len, files.values()))
        if size <= MOST_BYTES:
            for name, data in files.items():
                (folder / name).write_bytes(data)
            return size, session.map.cells[first][0]
    raise UsageError(
        f"--export: the names and places of {len(session.map.tensors):,} tensors alone exceed {MOST_BYTES:,} bytes"
    )


def _origin(source: str) -> str:
    parts = urlsplit(source)
    if not parts.hostname or not re.fullmatch(r"[\w.:\[\]-]+", parts.netloc):
        raise UsageError("--source: give the address of a host, without a user name or password")
    return f"{parts.scheme}://{parts.netloc}"


def _planes(session: Session, first: int) -> tuple[bytes, list[list[Any]]] | None:
    """All planes from level *first* on, packed, and where each is: [picture, level, plane, offset, length].

    ``None`` where they are too large for a page, which is known long before all of them are packed.
    """
    parts, places, offset = list[bytes](), list[list[Any]](), 0
    for number, picture in enumerate(session.pictures):
        for level in range(first, len(session.map.cells)):
            found = picture.pyramid.level(level - session.map.base)
            for name, data in _packed(found):
                packed = zlib.compress(data, 6)
                places.append([number, level, name, offset, len(packed)])
                parts.append(packed)
                offset += len(packed)
                if offset > MOST_BYTES:
                    return None
    return b"".join(parts), places


def _packed(level: Level) -> list[tuple[str, bytes]]:
    found = [(name, planes(rounded(level.planes[name], _BITS))) for name in PLANES]
    return [*found, ("some", (level.counts > 0).astype(np.uint8).tobytes())]


def _static(session: Session, source: str | None) -> Mapping[str, Any]:
    """What the page has instead of a server."""
    tensors = session.pictures[0].tensors
    pictures, levels = range(len(session.pictures)), range(len(session.map.cells))
    files: dict[str, int] = {}
    stored = [_stored(tensors[name], files) for name in session.map.tensors] if len(session.pictures) == 1 else []
    sizes = dict.fromkeys(files, 0)
    for name in session.map.tensors:
        storage = tensors[name].storage
        if isinstance(storage, Range):
            sizes[storage.source.name] = storage.source.size
    return {
        "limits": {
            f"{number}/{level}/{plane}/{kind}": limits(session, number, level, plane, kind)
            for number in pictures
            for level in levels
            for plane in PLANES
            for kind in KINDS
        },
        "kinds": {
            f"{number}/{level}/{plane}/{kind}": [
                [each["low"], each["high"], each["bend"], each["map"]] for each in limits_of(samples, plane, kind)
            ]
            for number in pictures
            for level in levels
            for samples in [sampled(session, number, level)]
            for plane in PLANES
            for kind in KINDS
        },
        "figures": [session.brief.get(name, {}) for name in session.map.tensors],
        "files": [[visible(os.path.basename(name), 300), sizes.get(name, 0)] for name in files],
        "stored": stored,
        "source": source,
    }


def _stored(tensor: LazyTensor, files: dict[str, int]) -> list[int] | None:
    """The file and the first byte of a tensor whose numbers a page can read as they are."""
    storage = tensor.storage
    if not isinstance(storage, Range) or not tensor.contiguous or str(tensor.dtype) not in _DECODED:
        return None
    number = files.setdefault(storage.source.name, len(files))
    return [number, storage.offset + tensor.offset * tensor.dtype.itemsize]
