"""What mkdocs asks while it builds the site: what is outside ``docs/``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import Files

RESULTS = "<!-- benchmarks/RESULTS.md -->"


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Put what the benchmarks measured where a page asks for it."""
    results = Path(config.config_file_path).parent / "benchmarks" / "RESULTS.md"
    if RESULTS not in markdown:
        return markdown
    text = results.read_text(encoding="utf-8")
    text = re.sub(r"\A# .*\n", "", text)
    return markdown.replace(RESULTS, re.sub(r"^(#+ )", r"#\1", text, flags=re.MULTILINE))
