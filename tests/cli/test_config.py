"""Settings from the command line, the environment and a file: in that order, and each error with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.tools import DIGITS, torch2grid


def effective(*words: str, cwd: Path, env: dict[str, str] | None = None) -> dict[str, tuple[str, str]]:
    """key → (value, where from), as ``torch2grid config`` prints it."""
    run = torch2grid("config", *words, cwd=cwd, env=env)
    assert run.returncode == 0, run.stderr
    rows = [line.split(None, 2) for line in run.stdout.splitlines()]
    return {key: (value, where) for key, value, where in rows}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("s.yaml", "reduce: rms\nlayers: true\nthreshold: 1e-3\nformat: [svg, png]\nlimits: [-1, 2.5]\n"),
        ("s.json", '{"reduce": "rms",\n"layers": true,\n"threshold": 1e-3,\n"format": ["svg", "png"],\n"limits": "-1,2.5"}'),
        ("s.toml", 'reduce = "rms"\nlayers = true\nthreshold = 1e-3\nformat = ["svg", "png"]\nlimits = [-1, 2.5]\n'),
    ],
)
def test_three_file_formats_say_the_same(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = effective("--config", name, cwd=tmp_path)
    assert found["reduce"] == ("rms", f"{name}:1")
    assert found["layers"] == ("yes", f"{name}:2")
    assert found["threshold"] == ("0.001", f"{name}:3")
    assert found["format"] == ("svg,png", f"{name}:4")
    assert found["limits"] == ("-1.0,2.5", f"{name}:5")
    assert found["clip"] == ("0.995", "default")


def test_command_line_then_environment_then_file(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("reduce: rms\ntitle: from-file\nclip: 0.9\n", encoding="utf-8")
    env = {"TORCH2GRID_REDUCE": "min", "TORCH2GRID_TITLE": "from-environment", "TORCH2GRID_LAYERS": "1"}
    found = effective("--reduce", "max", cwd=tmp_path, env=env)
    assert found["reduce"] == ("max", "command line")
    found = effective("--config", "s.yaml", "--reduce", "max", cwd=tmp_path, env=env)
    assert found["reduce"] == ("max", "command line")
    assert found["title"] == ("from-environment", "environment, TORCH2GRID_TITLE")
    assert found["layers"] == ("yes", "environment, TORCH2GRID_LAYERS")
    assert found["clip"] == ("0.9", "s.yaml:3")


def test_filters_are_shown_however_they_are_given(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("skip: '*.bias'\n", encoding="utf-8")
    words = ["--only", "fc*", "--only", "conv*", "--filter", "min_size:weights=9"]
    found = effective("--config", "s.yaml", *words, cwd=tmp_path)
    assert found["only"] == ("fc*,conv*", "command line")
    assert found["skip"] == ("*.bias", "s.yaml:1")
    assert found["filter"] == ("min_size:weights=9", "command line")
    assert found["tensors"] == ("–", "default")


def test_a_run_follows_the_file(tmp_path: Path) -> None:
    text = "plugin:\n  spiral: {clockwise: false}\nformat: svg\nonly: ['conv1.*', 'fc2.*']\nno_plugins: true\n"
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    for words in (("--config", "s.yaml", DIGITS), (DIGITS, "--config=s.yaml")):
        run = torch2grid(*words, cwd=tmp_path)
        assert run.returncode == 0, run.stderr
        assert run.stdout == "grids/neural_grid_spiral.svg\n"
        assert "4 of 8 tensors shown; not shown: filtered out (4);" in run.stderr


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("s.yaml", "reduce: rms\n\nlyers: true\n", "s.yaml:3: unknown key 'lyers'; did you mean 'layers'"),
        ("s.yaml", "reduce: median\n", "s.yaml:1: reduce: "),
        ("s.yaml", "# one\nlayers: sometimes\n", "s.yaml:2: layers: expected true or false, not 'sometimes'"),
        ("s.yaml", "threshold: [1]\n", "s.yaml:1: threshold: expected a number"),
        ("s.yaml", "max_cells: 2.5\n", "s.yaml:1: max_cells: expected a whole number, not 2.5"),
        ("s.yaml", "title: 5\n", "s.yaml:1: title: expected text, not 5"),
        ("s.yaml", "limits: 3,1\n", "s.yaml:1: limits: "),
        ("s.yaml", "a: [1\nb: 2\n", "s.yaml:2: not YAML"),
        ("s.yaml", "- layers\n", "settings are 'key: value' lines"),
        ("s.yaml", "clip: 0.9\nclip: 0.8\n", "s.yaml:2: clip is set already on line 1"),
        ("s.yaml", "load_plugin: evil.py\n", "s.yaml:1: load_plugin: plugins are loaded from the command line only"),
        ("s.yaml", "x: !!python/object/apply:os.system ['touch ran']\n", "s.yaml:1: not YAML"),
        ("s.json", '{"layers": true,\n "clip": }', "s.json:2: not JSON"),
        ("s.json", '{"layers": true,\n "klip": 1}', "s.json:2: unknown key 'klip'; did you mean"),
        ("s.toml", 'layers = true\nclip = "x"\n', "s.toml:2: clip: expected a number, not 'x'"),
        ("s.toml", "layers = \n", "s.toml:1: not TOML"),
        ("s.ini", "", "must end in .yaml, .json or .toml"),
        ("missing.yaml", None, "No such file"),
    ],
)
def test_errors_name_file_line_and_key(tmp_path: Path, name: str, text: str | None, told: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text, encoding="utf-8")
    run = torch2grid(DIGITS, "--config", name, cwd=tmp_path)
    assert run.returncode == 2
    (line,) = run.stderr.splitlines()
    assert told in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ([name] if text is not None else [])


def test_plugins_come_from_the_command_line_only(tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text("open('ran', 'w')", encoding="utf-8")
    torch2grid(DIGITS, cwd=tmp_path, env={"TORCH2GRID_LOAD_PLUGIN": "evil.py", "TORCH2GRID_CONFIG": "evil.yaml"})
    assert not (tmp_path / "ran").exists()


def test_completion_completes(tmp_path: Path) -> None:
    def complete(line: str) -> list[str]:
        words = line.split(" ")
        env = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "_TORCH2GRID_COMPLETE": "bash_complete"}
        run = torch2grid(cwd=tmp_path, env=env)
        assert run.returncode == 0
        return [item.partition(",")[2] for item in run.stdout.splitlines()]

    assert complete("torch2grid --plugin sp") == ["spiral"]
    assert complete("torch2grid model.pth --plugin spiral:cl") == ["spiral:clockwise="]
    assert complete("torch2grid --format png,p") == ["png,pdf", "png,png"]
    assert "--layers" in complete("torch2grid --la")
    assert "plugins" in complete("torch2grid pl")
    for shell in ("bash", "zsh", "fish"):
        run = torch2grid("completion", shell, cwd=tmp_path)
        assert run.returncode == 0
        assert "_TORCH2GRID_COMPLETE" in run.stdout
