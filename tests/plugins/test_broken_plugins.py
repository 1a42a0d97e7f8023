"""Broken plugins cost one line each, and nothing else: through the installed command and real ``.dist-info`` folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.tools import DIGITS, distribution, torch2grid

BROKEN = {
    "t2g-import-error": ("import a_module_that_is_not_there", "ModuleNotFoundError"),
    "t2g-exits": ("raise SystemExit(0)", "SystemExit"),
    "t2g-signature": (
        """
        from torch2grid_core import hookimpl

        @hookimpl
        def torch2grid_written(page, path, colour):
            pass
        """,
        "colour",
    ),
    "t2g-unknown-hook": (
        """
        from torch2grid_core import hookimpl

        @hookimpl
        def torch2grid_transfomers():
            return []
        """,
        "torch2grid_transfomers",
    ),
    "t2g-seven": (
        """
        from torch2grid_core import hookimpl

        @hookimpl
        def torch2grid_transformers():
            return 7
        """,
        "returned 7",
    ),
    "t2g-claims": (
        """
        import numpy as np
        from torch2grid_core import GridTransformer, hookimpl

        class Mine(GridTransformer):
            "ones only"
            name = "flatten"
            def transform(self, tensors):
                return np.ones((2, 3))

        @hookimpl
        def torch2grid_transformers():
            return [Mine]
        """,
        "taken by torch2grid-builtin",
    ),
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("broken")
    for name, (source, _) in BROKEN.items():
        distribution(folder, name, source)
    return folder


def test_the_drawing_is_the_same_and_each_plugin_costs_one_line(broken: Path, tmp_path: Path) -> None:
    clean = torch2grid(DIGITS, "-o", "clean", cwd=tmp_path)
    assert clean.returncode == 0, clean.stderr
    run = torch2grid(DIGITS, "-o", "spoilt", cwd=tmp_path, path=[broken])
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "clean/neural_grid.png").read_bytes() == (tmp_path / "spoilt/neural_grid.png").read_bytes()
    lines = run.stderr.splitlines()
    for name, (_, told) in BROKEN.items():
        about = [line for line in lines if name in line]
        assert len(about) == 1, (name, lines)
        assert told in about[0]
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("--list-plugins",), ("plugins",), ("demo", "-o", "out")])
def test_every_command_still_works(broken: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    run = torch2grid(*words, cwd=tmp_path, path=[broken])
    assert run.returncode == 0, run.stderr
    assert run.stdout
    assert "Traceback" not in run.stderr


def test_the_listing_names_the_error_of_each(broken: Path, tmp_path: Path) -> None:
    shown = torch2grid("plugins", cwd=tmp_path, path=[broken]).stdout
    for name, (_, told) in BROKEN.items():
        assert name in shown
        if name != "t2g-claims":
            assert told in shown
    assert "t2g-claims/flatten" in shown


def test_the_lost_name_is_reached_through_its_distribution(broken: Path, tmp_path: Path) -> None:
    run = torch2grid(DIGITS, "--plugin", "t2g-claims/flatten", cwd=tmp_path, path=[broken])
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["grids/neural_grid_flatten.png"]


def test_escape_hatches_act_before_import(tmp_path: Path) -> None:
    source = """
        from pathlib import Path
        Path("imported").touch()
        from torch2grid_core import GridTransformer, hookimpl
        class Plain(GridTransformer):
            name = "plain"
            def transform(self, tensors):
                return next(iter(tensors.values())).reshape(1, -1)
        @hookimpl
        def torch2grid_transformers():
            return [Plain]
        """
    folder = distribution(tmp_path / "site", "t2g-leaves-a-trace", source)
    trace = tmp_path / "imported"
    for words, env in [
        (("--no-plugins",), {}),
        (("--disable-plugin", "t2g-leaves-a-trace"), {}),
        (("--disable-plugin", "T2G_leaves.a_trace"), {}),
        ((), {"TORCH2GRID_DISABLE_PLUGINS": "x, t2g_leaves_a_trace"}),
    ]:
        run = torch2grid("--list-plugins", *words, cwd=tmp_path, path=[folder], env=env)
        assert run.returncode == 0
        assert "plain" not in run.stdout
        assert "flatten" in run.stdout
        assert not trace.exists(), words
    assert "plain" in torch2grid("--list-plugins", cwd=tmp_path, path=[folder]).stdout
    assert trace.exists()


def test_two_third_parties_with_one_name_matter_only_when_it_is_used(tmp_path: Path) -> None:
    source = """
        import numpy as np
        from torch2grid_core import GridTransformer, hookimpl
        class Same(GridTransformer):
            name = "same"
            def transform(self, tensors):
                return np.full((2, 2), {value})
        @hookimpl
        def torch2grid_transformers():
            return [Same]
        """
    for name, value in (("t2g-one", "1.0"), ("t2g-two", "2.0")):
        distribution(tmp_path / "site", name, source.replace("{value}", value))
    path = [tmp_path / "site"]
    quiet = torch2grid("--list-plugins", cwd=tmp_path, path=path)
    assert (quiet.returncode, quiet.stderr) == (0, "")
    assert "t2g-one/same" in quiet.stdout
    assert "t2g-two/same" in quiet.stdout
    used = torch2grid(DIGITS, "--plugin", "same", cwd=tmp_path, path=path)
    assert used.returncode == 2
    assert "t2g-one/same or t2g-two/same" in used.stderr
    assert not (tmp_path / "grids").exists()
    assert torch2grid(DIGITS, "--plugin", "t2g-two/same", cwd=tmp_path, path=path).returncode == 0


def test_a_file_wins_over_an_installed_plugin_and_says_so(tmp_path: Path) -> None:
    source = """
        import numpy as np
        from torch2grid_core import GridTransformer
        class Same(GridTransformer):
            "{who}"
            name = "same"
            def transform(self, tensors):
                return np.full((2, 2), 1.0)
        """
    folder = distribution(tmp_path / "site", "t2g-installed", source.replace("{who}", "installed"), entry="x")
    text = source.replace("{who}", "from the file").replace("\n        ", "\n")
    (tmp_path / "mine.py").write_text(text, encoding="utf-8")
    run = torch2grid("--list-plugins", "--load-plugin", "mine.py", cwd=tmp_path, path=[folder])
    assert run.returncode == 0
    assert "from the file" in run.stdout
    assert "mine.py is used instead of t2g-installed's" in run.stderr
    assert len(run.stderr.splitlines()) == 1


def test_a_hookwrapper_sees_every_file(tmp_path: Path) -> None:
    source = """
        from pathlib import Path
        import pluggy
        wrapper = pluggy.HookimplMarker("torch2grid")

        @wrapper(wrapper=True)
        def torch2grid_written(page, path, run):
            result = yield
            with open("seen.txt", "a") as log:
                log.write(f"{page.name} {Path(path).is_file()} {path}\\n")
            return result
        """
    folder = distribution(tmp_path / "site", "t2g-log", source)
    run = torch2grid(DIGITS, "--layers", "--grid", "--format", "png,svg", cwd=tmp_path, path=[folder])
    assert run.returncode == 0, run.stderr
    seen = [line.split(" ", 2) for line in (tmp_path / "seen.txt").read_text().splitlines()]
    assert [entry[2] for entry in seen] == run.stdout.splitlines()
    assert len(seen) == 2 * (8 + 1 + 1)
    assert all(entry[1] == "True" for entry in seen)


def test_an_endless_or_raising_hook_is_contained(tmp_path: Path) -> None:
    source = """
        import itertools
        from torch2grid_core import hookimpl
        @hookimpl
        def torch2grid_transformers():
            return itertools.repeat(int)
        @hookimpl
        def torch2grid_views():
            yield 3
        @hookimpl
        def torch2grid_written(page, path, run):
            raise RuntimeError("disk of the logger is full")
        """
    folder = distribution(tmp_path / "site", "t2g-endless", source)
    run = torch2grid(DIGITS, cwd=tmp_path, path=[folder])
    assert run.returncode == 0
    assert [line for line in run.stderr.splitlines() if "t2g-endless" in line and "torch2grid_views yields 3" in line]
