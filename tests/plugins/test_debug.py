"""``--debug`` shows the lines of a plugin's author, wherever they ran; without it there is no traceback at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.tools import DIGITS, distribution, torch2grid

SOURCE = """
    from dataclasses import dataclass
    from torch2grid_core import *
    from torch2grid_core.grids import *
    from torch2grid_core.measures import *
    from torch2grid_core.pages import *
    from torch2grid_core.sources import *
    from torch2grid_core.text import *
    from torch2grid_core import hookimpl

    class Pages(View):
        "fails where its pages are drawn"
        name = "bad-pages"
        def tensor_needs(self, tensor, run):
            return {"all": Summary()}
        def tensor_pages(self, tensor, results, run):
            raise ValueError("\\x1b[31mpages")  # pages, line of the author

    @dataclass(frozen=True)
    class Broken(Need):
        def collector(self, tensors):
            return Gathers()
    class Gathers(Collector):
        def update(self, chunk):
            raise KeyError("need")  # need, line of the author

    class Needs(View):
        "fails where its need is gathered"
        name = "bad-needs"
        def tensor_needs(self, tensor, run):
            return {"broken": Broken()}
        def tensor_pages(self, tensor, results, run):
            return ()

    class NeedsTwice(Needs):
        "asks for the same, so that its error is made anew"
        name = "bad-needs-again"

    class Finds(Rule):
        "fails while it finds"
        name, code = "bad-finds", "X101"
        def findings(self, checkpoint, results, run):
            raise ArithmeticError("rule")  # rule, line of the author

    class RuleNeeds(Rule):
        "fails where its need is gathered"
        name, code = "bad-rule-needs", "X102"
        def needs(self, checkpoint, run):
            return {"broken": Broken()}
        def findings(self, checkpoint, results, run):
            return ()

    @hookimpl
    def torch2grid_views():
        return [Pages, Needs, NeedsTwice]
    @hookimpl
    def torch2grid_rules():
        return [Finds, RuleNeeds]
    """
LISTENER = """
    from torch2grid_core import hookimpl
    @hookimpl
    def torch2grid_written(page, path, run):
        raise ConnectionError("away")  # listener, line of the author
    """
IMPORT = "import a_module_that_is_not_there  # import, line of the author"

MODEL = str(DIGITS)
CASES = {
    "pages": ((MODEL, "--bad-pages", "-j", 1), 1, {"pages": 1}),
    "pages-in-a-worker": ((MODEL, "--bad-pages", "--layers", "-j", 2), 1, {"pages": 1}),
    "needs": ((MODEL, "--bad-needs", "-j", 1), 1, {"need": 1}),
    "needs-in-a-worker": ((MODEL, "--bad-needs", "--layers", "-j", 2), 1, {"need": 1}),
    "needs-of-two": ((MODEL, "--bad-needs", "--bad-needs-again", "-j", 2), 1, {"need": 2}),
    "two-views": ((MODEL, "--bad-needs", "--bad-pages", "-j", 2), 1, {"need": 1, "pages": 1}),
    "batch": ((MODEL, MODEL, "--bad-pages", "-j", 2), 1, {"pages": 2}),
    "rules": (("check", MODEL, "-j", 1), 2, {"rule": 1, "need": 1}),
    "rules-in-workers": (("check", MODEL, "-j", 2), 2, {"rule": 1, "need": 1}),
}


def authors(stderr: str) -> dict[str, int]:
    """How often each of the author's marked lines is shown."""
    ends = [line.partition("# ")[2].partition(",")[0] for line in stderr.splitlines() if line.endswith(", line of the author")]
    return {what: ends.count(what) for what in ends}


@pytest.mark.parametrize("case", CASES)
def test_the_authors_lines_are_shown(case: str, tmp_path: Path) -> None:
    words, code, lines = CASES[case]
    folder = distribution(tmp_path / "site", "t2g-debugged", SOURCE)
    run = torch2grid(*words, "--debug", cwd=tmp_path, path=[folder])
    assert run.returncode == code, run.stderr
    assert authors(run.stderr) == lines
    assert "\x1b" not in run.stderr
    plain = torch2grid(*words, cwd=tmp_path, path=[folder])
    assert (plain.returncode, authors(plain.stderr)) == (code, {})
    assert "Traceback" not in plain.stderr
    assert {line for line in plain.stderr.splitlines() if "t2g-debugged" in line} <= set(run.stderr.splitlines())


@pytest.mark.parametrize(("source", "what"), [(LISTENER, "listener"), (IMPORT, "import")])
def test_so_are_those_of_listeners_and_of_an_import(source: str, what: str, tmp_path: Path) -> None:
    folder = distribution(tmp_path / "site", "t2g-debugged", source)
    run = torch2grid(MODEL, "--layers", "--debug", cwd=tmp_path, path=[folder])
    assert (run.returncode, authors(run.stderr)) == (0, {what: 1}), run.stderr
    plain = torch2grid(MODEL, "--layers", cwd=tmp_path, path=[folder])
    assert "Traceback" not in plain.stderr


def test_a_fault_that_is_nobodys_shows_in_a_batch_too(tmp_path: Path) -> None:
    fault = "from torch2grid_core._cli.drawing import Drawing\nDrawing.open = lambda *_: 1 / 0\n"
    view = 'from torch2grid_core import View\nclass Mine(View):\n    "a view"\n    name = "mine"\n'
    (tmp_path / "mine.py").write_text(fault + view)
    run = torch2grid(MODEL, MODEL, "--load-plugin", "mine.py", "--debug", cwd=tmp_path)
    assert run.returncode == 1
    assert run.stderr.count("Traceback") == run.stderr.count("internal error: ZeroDivisionError") == 2
