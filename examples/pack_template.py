"""Packs ``examples/plugin_template`` into the file that ``torch2grid new-plugin`` writes projects from.

    python examples/pack_template.py

The built-ins carry the template as one JSON document, path → lines, so that it is there in every kind of installation.
"""

from __future__ import annotations

import json
from pathlib import Path

HERE = Path(__file__).resolve().parent
TEMPLATE = HERE / "plugin_template"
PACKED = HERE.parent / "torch2grid_builtin" / "src" / "torch2grid_builtin" / "data" / "plugin_template.json"
LEFT_OUT = {"__pycache__", ".pytest_cache", ".ruff_cache", ".mypy_cache", "build", "dist", ".venv"}


def packed() -> str:
    """The template as the text of the packed file."""
    files = {}
    for path in sorted(TEMPLATE.rglob("*")):
        relative = path.relative_to(TEMPLATE)
        if path.is_file() and not LEFT_OUT & set(relative.parts) and not any("egg-info" in part for part in relative.parts):
            files[relative.as_posix()] = path.read_text(encoding="utf-8").splitlines()
    return json.dumps(files, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PACKED.write_text(packed(), encoding="utf-8")
    print(PACKED)
