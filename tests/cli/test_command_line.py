"""The command line as a user meets it: exit codes, one-line messages, what goes to stdout and what to stderr."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.tools import DIGITS, PROJECT, torch2grid


def test_one_grid_by_default(tmp_path: Path) -> None:
    run = torch2grid(DIGITS, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stdout == "grids/neural_grid.png\n"
    assert (tmp_path / "grids/neural_grid.png").read_bytes().startswith(b"\x89PNG")
    (line,) = run.stderr.splitlines()
    assert re.search(r"digits_trained\.pth: PyTorch zip, 8 tensors, 9,258 parameters, float32, \d+\.\d s$", line), line


def test_python_m_is_the_same_program(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "torch2grid", str(DIGITS), "--plugin", "flatten"]
    run = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout == "grids/neural_grid_flatten.png\n"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ((), 2, "no model given"),
        (("nothing.pth",), 1, "nothing.pth: no such file or directory"),
        ((str(PROJECT / "README.md"),), 1, "README.md"),
        ((DIGITS, "--plugin", "spirol"), 2, "did you mean 'spiral'"),
        ((DIGITS, "--plugin", "spiral:clockwize=no"), 2, "no option 'clockwize'; its options: clockwise"),
        ((DIGITS, "--plugin", "spiral:clockwise=perhaps"), 2, "expected true or false"),
        ((DIGITS, "--colourmap", "x"), 2, "--colormap"),
        ((DIGITS, "--colormap", "virdis"), 2, "did you mean 'viridis'"),
        ((DIGITS, "--format", "pgn"), 2, "did you mean 'png'"),
        ((DIGITS, "--view", "layer"), 2, "did you mean 'layers'"),
        ((DIGITS, "--limits", "3,1"), 2, "must be below"),
        ((DIGITS, "--load-plugin", "nowhere.py"), 2, "no such file"),
        ((DIGITS, "--load-plugin"), 2, "needs a value"),
        ((DIGITS, "--part", "optimizer"), 2, "has no part"),
        ((DIGITS, "--layers", "-o", "one.png"), 2, "takes one picture"),
        (("plugins", "sprial"), 2, "did you mean 'spiral'"),
    ],
)
def test_wrong_usage_is_one_line(tmp_path: Path, words: tuple[object, ...], code: int, told: str) -> None:
    run = torch2grid(*words, cwd=tmp_path)
    assert run.returncode == code, run.stderr
    assert run.stdout == ""
    (line,) = run.stderr.splitlines()
    assert told in line
    assert list(tmp_path.iterdir()) == []  # nothing drawn, nothing half-written


def test_debug_shows_the_traceback_from_either_side(tmp_path: Path) -> None:
    for words in (("--debug", "nothing.pth"), ("nothing.pth", "--debug")):
        run = torch2grid(*words, cwd=tmp_path)
        assert run.returncode == 1
        assert "Traceback" in run.stderr


def test_a_value_that_looks_like_a_process_option_stays_a_value(tmp_path: Path) -> None:
    run = torch2grid(DIGITS, "--title", "--debug", "--format", "svg", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert ">--debug</text>" in (tmp_path / "grids/neural_grid.svg").read_text()


def test_process_options_before_and_after_a_subcommand(tmp_path: Path) -> None:
    for words in (("--no-plugins", "plugins"), ("plugins", "--no-plugins")):
        run = torch2grid(*words, cwd=tmp_path)
        assert run.returncode == 0, run.stderr
        assert "torch2grid-builtin" in run.stdout


def test_formats_output_file_and_title(tmp_path: Path) -> None:
    run = torch2grid(DIGITS, "--export", "svg,pdf,png", "--title", "My $network$", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert sorted(run.stdout.split()) == [f"grids/neural_grid.{ending}" for ending in ("pdf", "png", "svg")]
    assert "My $network$" in (tmp_path / "grids/neural_grid.svg").read_text()
    assert (tmp_path / "grids/neural_grid.pdf").read_bytes().startswith(b"%PDF")
    run = torch2grid(DIGITS, "-o", "deep/er/one.svg", cwd=tmp_path)
    assert (run.returncode, run.stdout) == (0, "deep/er/one.svg\n"), run.stderr
    assert (tmp_path / "deep/er/one.svg").read_text().startswith("<?xml")


def test_a_file_that_edits_a_built_in_is_drawn_by_itself(tmp_path: Path) -> None:
    source = """
import numpy as np
from torch2grid_core import GridTransformer

class Flatten(GridTransformer):
    "sevens"
    name = "flatten"

    def transform(self, tensors):
        return np.full((3, 3), 7.0)
"""
    (tmp_path / "edited.py").write_text(source, encoding="utf-8")
    run = torch2grid(DIGITS, "--load-plugin", "edited.py", "-o", "page.json", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    (panel,) = json.loads((tmp_path / "page.json").read_text())["panels"]
    assert panel["values"] == [[7] * 3] * 3


def test_help_is_short(tmp_path: Path) -> None:
    run = torch2grid("--help", cwd=tmp_path, env={"COLUMNS": "80"})
    assert run.returncode == 0
    lines = run.stdout.splitlines()
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 80
    assert re.findall(r"^(\w[\w ]*):$", run.stdout, flags=re.MULTILINE) == ["Commands", "Options", "Examples"]
    for word in ("draw", "check", "compare", "--layers", "--histogram", "--conv", "--stats", "--plugin", "--only", "--output"):
        assert re.search(rf"^ +(-\w, )?{word}\b", run.stdout, flags=re.MULTILINE), word
    assert run.stdout.count("  torch2grid ") == 3
    assert "--help-all" in run.stdout
    assert torch2grid("-h", cwd=tmp_path).stdout == run.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("chekc", DIGITS), "no such command or file: 'chekc'; did you mean check?"),
        ((DIGITS, "comparre"), "no such command or file: 'comparre'; did you mean compare?"),
        ((DIGITS, "check"), "no such command or file: 'check'; a command comes first"),
        (("--layers", "xyzzyx"), "no such command or file: 'xyzzyx'"),
        (("explore", DIGITS), "no such command or file: 'explore'; pip install 'torch2grid-explore' brings that command"),
        ((DIGITS, "--executor", "dask"), "unknown executor 'dask'; pip install 'torch2grid-dask' brings it"),
        ((DIGITS, "--loader", "gguf"), "unknown loader 'gguf'; pip install 'torch2grid-gguf' brings it"),
        (("draw", "plugin"), "no such command or file: 'plugin'; did you mean plugins?"),
    ],
)
def test_a_bare_word_that_is_nothing_is_wrong_usage(tmp_path: Path, words: tuple[object, ...], told: str) -> None:
    run = torch2grid(*words, cwd=tmp_path)
    assert (run.returncode, run.stdout, run.stderr) == (2, "", f"torch2grid: {told}\n")
    assert list(tmp_path.iterdir()) == []


def test_a_bare_word_may_be_a_file_or_a_folder(tmp_path: Path) -> None:
    (tmp_path / "chekc").write_bytes(DIGITS.read_bytes())
    for words in (("chekc",), ("--stats", "chekc"), ("draw", "chekc")):
        run = torch2grid(*words, "-q", cwd=tmp_path)
        assert (run.returncode, run.stderr) == (0, ""), words


def test_help_all_is_one_page_with_groups_flags_and_commands(tmp_path: Path) -> None:
    run = torch2grid("--help-all", cwd=tmp_path)
    assert run.returncode == 0
    text = run.stdout
    headings = re.findall(r"^(\w[\w ]*):$", text, flags=re.MULTILINE)
    assert headings == ["Drawing", "Views", "Choosing tensors", "Picture", "Plugins", "Process", "Commands", "Examples"]
    for word in ("--output", "--layers", "--reduce", "--plugin", "--load-plugin", "demo", "plugins"):
        assert re.search(rf"^ +(-\w, )?{word}\b", text, flags=re.MULTILINE), word


def test_listing_draws_nothing_with_and_without_a_model(tmp_path: Path) -> None:
    alone = torch2grid("--list-plugins", cwd=tmp_path)
    assert alone.returncode == 0
    beside = torch2grid(DIGITS, "--list-plugins", cwd=tmp_path)
    assert beside.stdout == alone.stdout
    assert re.search(r"^ *flatten  +\w", alone.stdout, flags=re.MULTILINE)
    assert list(tmp_path.iterdir()) == []


def test_plugins_as_json(tmp_path: Path) -> None:
    import json

    entries = json.loads(torch2grid("plugins", "--json", "--no-plugins", cwd=tmp_path).stdout)
    (entry,) = entries
    assert entry["distribution"] == "torch2grid-builtin"
    assert entry["status"] == "ok"
    kinds = {each["kind"] for each in entry["provides"]}
    assert kinds >= {"loader", "transformer", "view", "renderer", "command"}
    spiral = next(each for each in entry["provides"] if each["name"] == "spiral")
    assert spiral["options"][0] == {"name": "clockwise", "type": "true or false", "default": True} | {
        "help": spiral["options"][0]["help"]
    }


def test_several_models_go_to_folders_of_their_own(tmp_path: Path) -> None:
    other = DIGITS.with_name("digits_untrained.pth")
    run = torch2grid(DIGITS, "missing.pth", other, DIGITS, cwd=tmp_path)
    assert run.returncode == 1
    folders = ("digits_trained", "digits_untrained", "digits_trained_2")
    assert run.stdout.split() == [f"grids/{folder}/neural_grid.png" for folder in folders]
    assert "missing.pth: no such file" in run.stderr
    assert run.stderr.splitlines()[-1] == "3 of 4 models drawn, 1 failed"


def test_nothing_heavy_at_start(tmp_path: Path) -> None:
    script = """
import sys
from torch2grid_core._cli.main import run
code = run(sys.argv[1:])
heavy = [name for name in ("torch", "matplotlib", "scipy", "pandas", "textual") if name in sys.modules]
print("heavy:", *heavy, file=sys.stderr)
sys.exit(code)
"""
    for words, allowed in [
        (["--help"], ""),
        (["--version"], ""),
        (["plugins"], "matplotlib"),
        ([str(DIGITS)], "matplotlib"),
    ]:
        run = subprocess.run([sys.executable, "-c", script, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        heavy = run.stderr.splitlines()[-1].split()[1:]
        assert set(heavy) <= {allowed}, (words, heavy)


def test_output_that_nobody_reads_ends_quietly(tmp_path: Path) -> None:
    from tests.support.tools import COMMAND

    run = subprocess.run(f"{COMMAND} plugins | head -1", shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0
    assert run.stderr == ""
