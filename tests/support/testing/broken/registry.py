"""Which plugin breaks which promise."""

from __future__ import annotations

from typing import Any

BREAKS: dict[tuple[str, str], Any] = {}  # (kind, check) → a class, or a Lazy


def breaks(kind: str, *checks: str) -> Any:
    """Decorates the class that breaks the promise of these checks."""

    def register(cls: type) -> type:
        BREAKS.update({(kind, check): cls for check in checks})
        return cls

    return register
