"""What a user sees of a plugin that misbehaves: one line with its name and distribution, through the installed command."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tests.support.plugins.misbehaving import SOURCES
from tests.support.tools import DIGITS, distribution, torch2grid


@dataclass(frozen=True)
class Case:
    """words: of the command line; code: its exit code; told: in the one line; drawn: files that are there all the same."""

    words: tuple[str, ...]
    code: int
    told: tuple[str, ...]
    drawn: tuple[str, ...] = ()


MODEL, GRID = str(DIGITS), "grids/neural_grid.png"
CASES = {
    "sniff-raises": Case((MODEL,), 0, ("loader 'bad'", "sniff: ValueError: no idea"), (GRID,)),
    "sniff-text": Case((MODEL,), 0, ("loader 'bad'", "sniff returned 'yes', not 0, 1 or 2"), (GRID,)),
    "load-raises": Case(("x.bad",), 1, ("loader 'bad'", "load: KeyError: 'header'")),
    "load-none": Case(("x.bad",), 1, ("loader 'bad'", "load returned None, not a Checkpoint; is a 'return' missing?")),
    "read-raises": Case(
        ("x.bad",), 1, ("x.bad: w cannot be read: loader 'bad'", "t2g_read_raises.Broken: RuntimeError: the decoder is lost")
    ),
    "keep-raises": Case((MODEL, "--filter", "bad"), 1, ("filter 'bad'", "ZeroDivisionError: keep")),
    "transform-raises": Case(
        (MODEL, "--grid", "--layers", "--plugin", "bad"), 1, ("transformer 'bad'", "row 7"), ("grids/layer_overview.png",)
    ),
    "transform-text": Case(
        (MODEL, "--plugin", "bad"), 1, ("transformer 'bad'", "transform returned 'a picture', not a 2-D array")
    ),
    "pages-raise": Case((MODEL, "--bad", "--grid"), 1, ("view 'bad'", "pages: OSError: page two"), (GRID, "grids/one.png")),
    "pages-numbers": Case((MODEL, "--bad", "--grid"), 1, ("view 'bad'", "pages yields int, not a Page"), (GRID,)),
    "pages-endless": Case((MODEL, "--bad", "--grid"), 1, ("view 'bad'", "pages yields more than 10,000 pages"), (GRID,)),
    "needs-text": Case((MODEL, "--bad", "--grid"), 1, ("view 'bad'", "needs: 'all' is str, not a need"), (GRID,)),
    "needs-hash": Case((MODEL, "--bad", "--grid"), 1, ("view 'bad'", "needs: 'all': Summary has no hash"), (GRID,)),
    "transformer-hash": Case(
        (MODEL, "--grid", "--layers", "--plugin", "bad"), 1, ("transformer 'bad'", "'Bad'"), ("grids/layer_overview.png",)
    ),
    "options-hint": Case((MODEL, "--bad", "--grid"), 1, ("view 'bad'", "NameError: name 'Decimal' is not defined")),
    "render-raises": Case((MODEL, "--format", "png,bad"), 1, ("renderer 'bad'", "render: AttributeError: no canvas"), (GRID,)),
    "render-nothing": Case((MODEL, "--format", "bad"), 1, ("renderer 'bad'", "render: wrote nothing")),
    "rule-raises": Case(("check", "holes.npz"), 2, ("rule 'bad'", "findings: ArithmeticError: rule")),
    "rule-text": Case(("check", "holes.npz"), 2, ("rule 'bad'", "findings yields str, not a Finding")),
    "rule-severity": Case(
        ("check", "holes.npz"), 2, ("rule 'bad'", "a Finding whose severity is 'awful', not error, warning or note")
    ),
    "rule-message": Case(("check", "holes.npz"), 2, ("rule 'bad'", "a Finding whose message is 7, not a text")),
    "rule-tensor": Case(("check", "holes.npz"), 2, ("rule 'bad'", "a Finding whose tensor is None, not a text")),
    "rule-index": Case(("check", "holes.npz"), 2, ("rule 'bad'", "a Finding whose index is 3, not a tuple of whole numbers")),
    "rule-code-taken": Case(("check", "holes.npz"), 2, ("rule 'bad'", "its code T101 is that of the built-in rule")),
    "rule-import": Case(("check", "holes.npz"), 2, ("rule 'bad'", "import: ModuleNotFoundError")),
    "ten-thousand": Case((MODEL,), 0, ("more than 1,000 items",), (GRID,)),
    "prints": Case(("--list-plugins",), 0, ("prints 'hello from the plugin again' while it is imported",)),
    "slow": Case(("--list-plugins",), 0, ("takes ", "s to import, at every start")),
    "newer-core": Case((MODEL,), 0, ("needs torch2grid-core >=99,<100, and 0.",), (GRID,)),
    "lazy-broken": Case((MODEL, "--plugin", "bad"), 1, ("transformer 'bad'", "import: ModuleNotFoundError: No module")),
    "command-raises": Case(("bad",), 1, ("command 'bad'", "KeyError: 'missing'")),
    "event-raises": Case((MODEL,), 0, ("torch2grid_written: ConnectionError: the logger is away",), (GRID,)),
}


@pytest.mark.parametrize("name", CASES)
def test_one_line_says_whose_fault_it_is_and_the_rest_goes_on(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    folder = distribution(tmp_path / "site", f"t2g-{name}", SOURCES[name])
    (tmp_path / "x.bad").write_bytes(b"BAD")
    np.savez(tmp_path / "holes.npz", w=np.full((4, 4), np.nan, np.float32))
    run = torch2grid(*case.words, cwd=tmp_path, path=[folder])
    assert run.returncode == case.code, run.stderr
    assert "Traceback" not in run.stderr
    assert "internal error" not in run.stderr
    about = [line for line in run.stderr.splitlines() if f"t2g-{name}" in line or f"t2g_{name.replace('-', '_')}" in line]
    assert len(about) == 1, run.stderr
    for text in case.told:
        assert text in about[0]
    for file in case.drawn:
        assert (tmp_path / file).stat().st_size > 1000
    if case.words[0] == "check":
        assert "holes.npz: T101 error w[0, 0]" in run.stdout  # the other rules go on
    found = {str(path.relative_to(tmp_path)) for path in (tmp_path / "grids").rglob("*") if path.is_file()}
    assert not found or found == {*run.stdout.splitlines(), "grids/index.json"} - {"P"}  # P: a table on stdout
    assert bool(found) == bool(case.drawn)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_view_that_fails_in_a_worker_costs_its_own_pages_only(jobs: int, tmp_path: Path) -> None:
    source = """
        from torch2grid_core import *
        from torch2grid_core.grids import *
        from torch2grid_core.measures import *
        from torch2grid_core.pages import *
        from torch2grid_core.sources import *
        from torch2grid_core.text import *
        from torch2grid_core import hookimpl
        class Picky(View):
            "a page for each tensor, but one"
            name = "picky"
            def tensor_needs(self, tensor, run):
                return {"all": Summary()}
            def tensor_pages(self, tensor, results, run):
                if tensor.name == "conv2.weight":
                    raise ValueError("not this one")
                yield Page(tensor.name, "", (Text(str(results["all"].count)),), folder="picky")
        class Wrong(View):
            "a block beyond its tensor"
            name = "wrong"
            def tensor_needs(self, tensor, run):
                return {"grid": Raster(Layout(9, 9, (1, 1), (Block("another", 0, 0, 0, ((9, 0, 1),)),)))}
            def tensor_pages(self, tensor, results, run):
                yield Page(tensor.name, "", (Text("never"),), folder="wrong")
        @hookimpl
        def torch2grid_views():
            return [Picky, Wrong]
        """
    folder = distribution(tmp_path / "site", "t2g-workers", source)
    clean = torch2grid(DIGITS, "--layers", "-j", jobs, "-o", "clean", cwd=tmp_path)
    run = torch2grid(DIGITS, "--picky", "--wrong", "--layers", "-j", jobs, "-o", "spoilt", cwd=tmp_path, path=[folder])
    assert (clean.returncode, run.returncode) == (0, 1), run.stderr
    told = [line for line in run.stderr.splitlines() if "t2g-workers" in line]
    assert len(told) == 2
    assert any("view 'picky'" in line and "tensor_pages: ValueError: not this one" in line for line in told)
    assert any("view 'wrong'" in line and "no place for tensor" in line for line in told)
    drawn = sorted(path.relative_to(tmp_path / "clean") for path in (tmp_path / "clean").rglob("*.png"))
    assert len(drawn) == 9
    for path in drawn:
        assert (tmp_path / "spoilt" / path).read_bytes() == (tmp_path / "clean" / path).read_bytes()
    assert 1 <= len(list((tmp_path / "spoilt" / "picky").iterdir())) <= 7


def test_what_is_printed_at_import_never_reaches_stdout(tmp_path: Path) -> None:
    source = """
        import io, sys
        print("\\x1b[31mred")
        sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8")  # a common idiom on Windows
        print("wrapped")
        sys.stdout.flush()
        """
    folder = distribution(tmp_path / "site", "t2g-prints-more", source + SOURCES["prints"].replace("\n", "\n        "))
    run = torch2grid(DIGITS, "-q", cwd=tmp_path, path=[folder])
    assert (run.returncode, run.stdout) == (0, "grids/neural_grid.png\n"), run.stderr
    (line,) = run.stderr.splitlines()
    assert "plugin 't2g_prints_more' of t2g-prints-more 1.0: prints" in line
    assert "\x1b" not in line


def test_who_keeps_stdout_from_the_import_is_not_mute_for_good(tmp_path: Path) -> None:
    source = """
        import functools, io, logging, sys
        from torch2grid_core import hookimpl
        print("early")
        kept, raw, say = sys.stdout, sys.stdout.buffer, functools.partial(print, file=sys.stdout)
        wrapped = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8")
        log = logging.getLogger("t2g_keeps")
        log.addHandler(logging.StreamHandler(sys.stdout))

        @hookimpl
        def torch2grid_written(page, path, run):
            print("first", path.name)
            kept.write("kept \u00e9\\n")
            say("said")
            raw.write("r\u00e4w\\n".encode())
            log.warning("logged")
            wrapped.write("wrapped\\n")
            wrapped.flush()
            print("last")
        """
    folder = distribution(tmp_path / "site", "t2g-keeps", source)
    run = torch2grid(DIGITS, "-q", cwd=tmp_path, path=[folder], env={"PYTHONIOENCODING": "utf-8"})
    told = ["first neural_grid.png", "kept é", "said", "räw", "logged", "wrapped", "last"]
    assert (run.returncode, run.stdout.splitlines()) == (0, ["grids/neural_grid.png", *told]), run.stderr
    (line,) = run.stderr.splitlines()
    assert "prints 'early' while it is imported; it was kept out of stdout" in line


def test_timing_says_what_each_costs_to_import(tmp_path: Path) -> None:
    source = SOURCES["prints"].replace("print('hello from the plugin')\nprint('again')\n", "import time; time.sleep(0.3)\n")
    folder = distribution(tmp_path / "site", "t2g-dawdles", source)
    run = torch2grid("plugins", "--timing", cwd=tmp_path, path=[folder])
    assert (run.returncode, run.stderr) == (0, "")
    first = run.stdout.splitlines()[2].split()
    assert first[:4] == ["t2g-dawdles", "at", "every", "start"]
    assert 300 <= float(first[-1].replace(",", "")) < 1500
    assert any(line.startswith("torch2grid-builtin") and "loader safetensors" in line for line in run.stdout.splitlines())
    (record,) = json.loads(torch2grid("plugins", "t2g-dawdles", "--json", cwd=tmp_path, path=[folder]).stdout)
    assert 0.3 <= record["import_seconds"] < 1.5


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ("'>=0.1,<1'", None),
        ("'>=0.0.1'", None),
        ("'<0.1'", "needs torch2grid-core <0.1, and 0."),
        ("'0.1'", "requires_core = '0.1' is not a range of versions"),
        ("(0, 1)", "requires_core = (0, 1) is not a range of versions"),
    ],
)
def test_the_core_that_a_plugin_requires_is_checked_before_it_is_used(wanted: str, told: str | None, tmp_path: Path) -> None:
    used = "        from pathlib import Path; Path('used').touch()\n"
    source = SOURCES["newer-core"].replace("'>=99,<100'", wanted).replace("    return [Bad]", used[4:] + "    return [Bad]")
    folder = distribution(tmp_path / "site", "t2g-wants", source)
    run = torch2grid("--list-plugins", cwd=tmp_path, path=[folder])
    assert run.returncode == 0
    assert ("bad " in run.stdout) == (told is None)
    assert (tmp_path / "used").exists() == (told is None)
    assert [told in line and "t2g-wants 1.0" in line for line in run.stderr.splitlines()] == ([True] if told else [])


@pytest.mark.parametrize(
    ("required", "told"),
    [
        ("torch2grid_core<4,>=3.1", "needs torch2grid-core <4,>=3.1, and 0."),
        ("Torch2Grid.Core (>=3.1)", "needs torch2grid-core >=3.1, and 0."),
        ("torch2grid-core~=3.1", "needs torch2grid-core ~=3.1, and 0."),
        ("torch2grid-core>=3.1; python_version >= '3'", "needs torch2grid-core >=3.1, and 0."),
        ("torch2grid-core>=3.1; extra == 'later'", ""),
        ("torch2grid-core>=3.1; python_version < '3'", ""),
        ("torch2grid-core @ file:///nowhere", ""),
        ("torch2grid-core!=99", ""),
        ("torch2grid-core<=99,>0.0.1", ""),
        ("torch2grid-core-extras>=3.1", ""),
        ("torch2grid-core>=not-a-version", ""),
    ],
)
def test_what_a_distribution_requires_decides_before_its_module_is_imported(required: str, told: str, tmp_path: Path) -> None:
    source = "from pathlib import Path; Path('imported').touch()\nfrom torch2grid_core import Hologram"
    folder = distribution(tmp_path / "site", "t2g-future", source)
    metadata = folder / "t2g_future-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text() + f"Requires-Dist: numpy\nRequires-Dist: {required}\n")
    run = torch2grid("--list-plugins", cwd=tmp_path, path=[folder])
    assert run.returncode == 0
    (line,) = run.stderr.splitlines()
    assert "t2g-future 1.0: " in line
    assert (told or "ImportError: cannot import name 'Hologram'") in line
    assert (tmp_path / "imported").exists() == (not told)
    listed = torch2grid("plugins", "t2g-future", cwd=tmp_path, path=[folder]).stdout.splitlines()
    assert listed[0].endswith("failed")


def test_a_file_that_needs_another_core_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SOURCES["newer-core"], encoding="utf-8")
    run = torch2grid(DIGITS, "--load-plugin", "mine.py", cwd=tmp_path)
    assert run.returncode == 1
    assert "mine.py: needs torch2grid-core >=99,<100" in run.stderr
    assert not (tmp_path / "grids").exists()


def test_a_slow_plugin_can_be_left_out(tmp_path: Path) -> None:
    folder = distribution(tmp_path / "site", "t2g-slow", SOURCES["slow"])
    started = time.perf_counter()
    run = torch2grid("--list-plugins", "--disable-plugin", "t2g-slow", cwd=tmp_path, path=[folder])
    assert (run.returncode, run.stderr) == (0, "")
    assert time.perf_counter() - started < 3


def test_options_that_cannot_be_read_cost_their_plugin_a_line_of_the_listing(tmp_path: Path) -> None:
    folder = distribution(tmp_path / "site", "t2g-options-hint", SOURCES["options-hint"])
    clean = torch2grid("plugins", cwd=tmp_path)
    for words in (("plugins",), ("plugins", "--json"), ("plugins", "--timing"), ("plugins", "bad")):
        run = torch2grid(*words, cwd=tmp_path, path=[folder])
        assert run.returncode == 0, run.stderr
    run = torch2grid("plugins", cwd=tmp_path, path=[folder])
    about = [line for line in run.stdout.splitlines() if "NameError: name 'Decimal' is not defined" in line]
    assert len(about) == 1
    assert "view 'bad' of t2g-options-hint 1.0: options: " in about[0]
    assert set(clean.stdout.splitlines()) <= set(run.stdout.splitlines())
