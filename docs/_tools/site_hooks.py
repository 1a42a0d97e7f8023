"""What mkdocs asks while it builds the site: the pages that are made from the code, and what is outside ``docs/``."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))
from command_reference import reference

RESULTS, CHECKS = "<!-- benchmarks/RESULTS.md -->", "<!-- checks -->"


def on_files(files: Files, config: Any) -> Files:
    """Add the command reference, for the built-in plugins alone."""
    from torch2grid_core import PluginManager

    page = reference(PluginManager.discover(third_party=False))
    files.append(File.generated(config, "reference/command-line.md", content=page))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Put what the benchmarks measured, and the conformance kit's checks, where a page asks for them."""
    if CHECKS in markdown:
        markdown = markdown.replace(CHECKS, _checks())
    results = Path(config.config_file_path).parent / "benchmarks" / "RESULTS.md"
    if RESULTS not in markdown:
        return markdown
    text = results.read_text(encoding="utf-8")
    text = re.sub(r"\A# .*\n", "", text)
    return markdown.replace(RESULTS, re.sub(r"^(#+ )", r"#\1", text, flags=re.MULTILINE))


def _checks() -> str:
    """A table for each kind: the checks of its own, those of every kind first."""
    from torch2grid_core._kinds import KINDS
    from torch2grid_core.testing import checks

    parts = []
    common = [each for each in checks("loader") if not each.kind]
    for title, found in [("every kind", common), *((kind, checks(kind)) for kind in KINDS)]:
        rows = "\n".join(f"| `{each.name}` | {_cell(each.description)} |" for each in found if found is common or each.kind)
        parts.append(f"### {title.capitalize()}\n\n| check | promise |\n| --- | --- |\n{rows}")
    return "\n\n".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
