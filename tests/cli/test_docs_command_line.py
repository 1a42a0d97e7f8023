"""The settings that docs/command-line.md shows are settings that work."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.tools import PROJECT, torch2grid


def test_the_settings_file_of_the_page_is_valid(tmp_path: Path) -> None:
    text = (PROJECT / "docs/command-line.md").read_text(encoding="utf-8")
    block = re.search(r"```yaml\n(.*?)```", text, flags=re.DOTALL)[1]  # type: ignore[index]
    (tmp_path / "settings.yaml").write_text(block, encoding="utf-8")
    run = torch2grid("config", "--config", "settings.yaml", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert re.search(r"^layers +yes +settings.yaml:4$", run.stdout, flags=re.MULTILINE)


def test_every_option_that_the_page_names_exists(tmp_path: Path) -> None:
    text = (PROJECT / "docs/command-line.md").read_text(encoding="utf-8")
    pages = (("--help-all",), ("plugins", "--help"), ("check", "--help"))
    known = "".join(torch2grid(*words, cwd=tmp_path).stdout for words in pages)
    for option in set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)):
        assert re.search(rf"(^|[ ,]){option}\b", known, flags=re.MULTILINE), option
