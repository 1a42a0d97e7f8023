"""What a page must know before it asks for the first tile."""

from __future__ import annotations

import base64
from typing import Any

from torch2grid_core.grids import ColorScale, colormap, default_map, signals
from torch2grid_core.text import visible
from torch2grid_explore.limits import kinds_of
from torch2grid_explore.picture import described
from torch2grid_explore.pyramid import PLANES
from torch2grid_explore.session import Session, picture_facts


def describe(session: Session) -> dict[str, Any]:
    """All that the page must know before it asks for the first tile."""
    return {**about(session), "map": mapped(session)}


def about(session: Session) -> dict[str, Any]:
    """What the page must know beside the map."""
    return {
        "title": visible(session.title, 300),
        "notes": [visible(note, 1000) for note in session.notes],
        "pictures": [picture_facts(each) for each in session.pictures],
        "locations": [visible(each, 1000) for each in session.locations],
        "transformer": visible(session.transformer, 200),
        "maps": {name: _map(name) for name in (default_map(ColorScale(low, 1.0)) for low in (-1.0, 0.0))},
        "planes": PLANES,
    }


def mapped(session: Session) -> dict[str, Any]:
    """The map as the page gets it, which stays as it is: by far the largest part."""
    kinds, of = kinds_of(session.map.tensors)
    tensors = next(iter(session.pictures)).tensors
    return {**described(session.map, tensors), "kinds": [visible(each, 300) for each in kinds], "kind_of": of}


def _map(name: str) -> dict[str, Any]:
    """The 256 colours of a map, and on both grounds those of what is no place on it."""
    marks = {ground: signals(name, dark) for ground, dark in (("light", False), ("dark", True))}
    return {
        "rgb": base64.b64encode(colormap(name).tobytes()).decode(),
        **{
            ground: {"over": each.over, "under": each.under, "lost": each.not_finite, "empty": each.empty}
            for ground, each in marks.items()
        },
    }
