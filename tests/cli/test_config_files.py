"""Settings files that are damaged, huge, empty or of another shape: what is read of them, and what is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.tools import DIGITS, torch2grid

from torch2grid_core import UsageError
from torch2grid_core._cli.config import read_config

WRONG: dict[str, tuple[str, str | bytes, str]] = {
    "a list": ("s.json", "[1]", r"s\.json:1: settings are one object"),
    "empty": ("s.json", " ", r"s\.json:1: settings are one object"),
    "twice": ("s.json", '{"clip": 0.9,\n "clip": 0.8}', r"s\.json:2: clip is set already on line 1$"),
    "twice at the top": ("s.yaml", "clip: 0.9\nclip: 0.8\n", r"s\.yaml:2: clip is set already on line 1$"),
    "twice inside": ("s.yaml", "a: 1\ntagged:\n  x: 1\n  y: {x: 2}\n  x: 3\n", r"s\.yaml:5: x is set already on line 3$"),
    "twice in a list": ("s.yaml", "view:\n- v:\n    'k': 1\n    k: 2\n", r"s\.yaml:4: k is set already on line 3$"),
    "twice in an object": (
        "s.json",
        '{"a": {"x": ["x", "{\\""]},\n "b": {"x": 1, "y": {"x": 2},\n "\\u0078": 2}}',
        r"s\.json:3: x is set already on line 2$",
    ),
    "twice in a table": ("s.toml", "a = 1\n[b]\nx = 1\nx = 2\n", r"s\.toml:4: not TOML"),
    "deep": ("s.json", "[" * 100_000, "nested too deeply|not JSON"),
    "deep lines": ("s.yaml", "a: " + "[" * 1200, r"s\.yaml:1: nested too deeply"),
    "two documents": ("s.yaml", "a: 1\n---\nb: 2\n", "not YAML"),
    "a scalar": ("s.yml", "text", r"s\.yml:1: settings are 'key: value' lines"),
    "no date": ("s.yaml", "a: 2026-13-45\n", "not YAML: month"),
    "no text": ("s.yaml", b"\xff\xfe\x00", r"^--config .*s\.yaml: not text in UTF-8; is this the file that you mean\?$"),
    "digits in YAML": ("s.yaml", f"a: 1\nb: {'9' * 5000}", r"s\.yaml:2: a number of 5,000 digits$"),
    "digits in TOML": ("s.toml", f"a = 1\nb = {'9' * 5000}", r"s\.toml:2: a number of thousands of digits$"),
    "many keys": ("s.yaml", "".join(f"k{each}: 1\n" for each in range(201)), "more than 200 keys"),
    "many values": ("s.yaml", f"a: [{', '.join(['1'] * 10_000)}]", "more than 10,000 values"),
    "levels": ("s.yaml", "a:\n  " + "[" * 100 + "]" * 100, r"s\.yaml:2: nested too deeply"),
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
    "sixties.yaml": f"max-cells: {'1:' * 200_000}1\n",
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
    assert "set_int_max_str_digits" not in line


@pytest.mark.parametrize("without_c", [False, True])
@pytest.mark.parametrize("name", [each for each in HOSTILE_FILES if each.endswith(".yaml")])
def test_little_is_read_of_a_hostile_yaml_file(
    name: str, without_c: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused while its events are counted, with libyaml's reader or with the one in Python."""
    if without_c:
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    seen, parse = [], yaml.parse

    def counted(*given: Any) -> Iterator[Any]:
        for event in parse(*given):
            seen.append(event)
            yield event

    monkeypatch.setattr(yaml, "parse", counted)
    (tmp_path / name).write_text(HOSTILE_FILES[name], encoding="utf-8")
    if name == "long.yaml":  # 5,000 values, which no setting takes, are few enough to read
        read_config(str(tmp_path / name))
    else:
        with pytest.raises(UsageError):
            read_config(str(tmp_path / name))
    assert 0 < len(seen) < 12_000


@pytest.mark.parametrize("without_c", [False, True])
def test_as_many_keys_values_and_levels_as_allowed_are_read(
    without_c: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if without_c:
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    deep = "[" * 99 + "]" * 99
    lines = [*(f"k{number}: {number}" for number in range(198)), f"deep: {deep}", f"long: [{', '.join(['1'] * 9000)}]"]
    (tmp_path / "s.yaml").write_text("\n".join(lines))
    read = read_config(str(tmp_path / "s.yaml")).settings
    assert [(each.key, each.line) for each in read[:2]] == [("k0", 1), ("k1", 2)]
    assert (len(read), read[-1].line, sum(read[-1].value)) == (200, 200, 9000)


def test_a_key_of_another_mapping_and_one_that_is_merged_may_come_again(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\nc: [{x: 1}, {x: 2}]\n", encoding="utf-8")
    found = {each.key: each.value for each in read_config(str(tmp_path / "s.yaml")).settings}
    assert found == {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}, "c": [{"x": 1}, {"x": 2}]}
    (tmp_path / "s.json").write_text('{"a": {"x": 1, "y": "x"}, "c": [{"x": 1}, {"x": 2}]}', encoding="utf-8")
    read = {each.key: each.value for each in read_config(str(tmp_path / "s.json")).settings}
    assert read == {"a": {"x": 1, "y": "x"}, "c": [{"x": 1}, {"x": 2}]}
