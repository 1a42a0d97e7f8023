"""Settings files that are damaged, huge, empty or of another shape: what is read of them, and what is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.tools import DIGITS, torch2grid

from torch2grid_core import UsageError
from torch2grid_core._cli.config import read_config

WRONG: dict[str, tuple[str, str | bytes, str]] = {
    "a list": ("s.json", "[1]", r"s\.json:1: settings are one object"),
    "empty": ("s.json", " ", r"s\.json:1: settings are one object"),
    "twice": ("s.json", '{"clip": 0.9,\n "clip": 0.8}', "clip is set already on line"),
    "deep": ("s.json", "[" * 100_000, "nested too deeply|not JSON"),
    "deep lines": ("s.yaml", "a: " + "[" * 1200, "not YAML"),
    "two documents": ("s.yaml", "a: 1\n---\nb: 2\n", "not YAML"),
    "a scalar": ("s.yml", "text", r"s\.yml:1: settings are 'key: value' lines"),
    "no date": ("s.yaml", "a: 2026-13-45\n", "not YAML: month"),
    "no text": ("s.yaml", b"\xff\xfe\x00", "can't decode"),
    "large": ("s.toml", "#" * ((1 << 20) + 1), "larger than 1 MiB"),
}


@pytest.mark.parametrize("case", WRONG)
def test_it_is_refused(case: str, tmp_path: Path) -> None:
    name, content, told = WRONG[case]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError, match=told):
        read_config(str(tmp_path / name))


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(UsageError, match=r"--config .*folder\.yaml: "):
        read_config(str(tmp_path / "folder.yaml"))


def test_lines_of_each_key(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("# nothing\n")
    assert read_config(str(tmp_path / "s.yaml")).settings == ()
    (tmp_path / "s.TOML").write_text('clip = 0.9\n\n[plugin.spiral]\nclockwise = false\n["quoted"]\na = 1\n')
    read = read_config(str(tmp_path / "s.TOML"))
    assert [(each.key, each.line) for each in read.settings] == [("clip", 1), ("plugin", 3), ("quoted", 5)]
    (tmp_path / "s.json").write_text('{\n"a\\u0062": 1}')  # a key that is not in the text as it is
    (only,) = read_config(str(tmp_path / "s.json")).settings
    assert (only.key, only.value, only.line) == ("ab", 1, 1)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE_FILES = {
    "aliases.yaml": BOMB + "clip: *i\n",
    "itself.yaml": "clip: &a [*a]\n",
    "keys.yaml": "".join(f"k{number}: 1\n" for number in range(60_000)),
    "keys.json": "{" + ", ".join(f'"k{number}": 1' for number in range(60_000)) + "}",
    "keys.toml": "".join(f"k{number} = 1\n" for number in range(60_000)),
    "digits.yaml": f"max-cells: {'9' * 5000}\n",
    "digits.json": f'{{"max-cells": {"9" * 5000}}}',
    "digits.toml": f"max-cells = {'9' * 5000}\n",
    "hexadecimal.toml": f"threshold = 0x{'f' * 5000}\n",
    "deep.yaml": "clip: " + "[" * 50_000 + "]" * 50_000,
    "deep.json": '{"clip": ' + "[" * 50_000 + "]" * 50_000 + "}",
    "deep.toml": "clip = " + "[" * 50_000 + "]" * 50_000,
    "deeper.yaml": "clip: " + "[" * 400 + "]" * 400,
    "long.yaml": f"clip: [{', '.join(['1'] * 5000)}]\n",
}


@pytest.mark.parametrize("name", HOSTILE_FILES)
def test_a_hostile_settings_file_is_one_line_at_once(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(HOSTILE_FILES[name], encoding="utf-8")
    done = torch2grid(DIGITS, "--config", name, "--stats", cwd=tmp_path, timeout=30)  # aliases written out would take years
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert name in line
    assert len(line) < 300
