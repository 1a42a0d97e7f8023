"""A class that is meant for a plugin and lacks a method is told of; a base class that others in a file share is no plugin."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest
from tests.support.tools import DIGITS, distribution, torch2grid

from torch2grid_core import PluginError, PluginManager, Rule
from torch2grid_core._kinds import KINDS

VIEW = '''
from torch2grid_core import Page, View
from torch2grid_core.pages import Text

class Shared(View):
    """what the views of this file share"""
    def pages(self, checkpoint, results, run):
        yield Page(self.name, self.name, (Text("drawn"),))

class Wanting(View):
    """another base, of which nothing can be made without words"""
    def __init__(self, words):
        self.words = words

class Said(Shared):
    """draws a page"""
    name = "said"
'''
RULE = '''
from torch2grid_core import Rule

class Misnamed(Rule):
    """a rule whose method has another name"""
    name, code = "misnamed", "X101"
    def check(self, checkpoint, results, run):
        return ()
'''
LINE = "rule class Misnamed lacks findings()"


def lines(stderr: str, what: str) -> list[str]:
    return [line for line in stderr.splitlines() if what in line]


@pytest.mark.parametrize("words", [("check", DIGITS), (DIGITS, "--said"), ("plugins", "need")])
def test_a_misnamed_method_is_one_line_and_the_rest_of_the_file_works(words: tuple[object, ...], tmp_path: Path) -> None:
    (tmp_path / "need.py").write_text(VIEW + RULE, encoding="utf-8")
    run = torch2grid("--load-plugin", "need.py", *words, cwd=tmp_path)
    told = run.stdout if words[0] == "plugins" else run.stderr
    assert len(lines(told, LINE)) == 1, run.stderr + run.stdout
    assert "Shared" not in told
    assert "Wanting" not in told
    if words[0] == "plugins":
        assert "in part" in run.stdout
        assert "draws a page" in run.stdout
    elif words[0] == DIGITS:
        assert run.returncode == 0
        assert list((tmp_path / "grids").glob("said*"))


def test_alone_in_its_file_it_ends_the_run_with_the_same_line(tmp_path: Path) -> None:
    (tmp_path / "alone.py").write_text(RULE, encoding="utf-8")
    run = torch2grid("--load-plugin", "alone.py", "check", DIGITS, cwd=tmp_path)
    assert run.returncode == 1
    assert run.stderr == f"torch2grid: plugin 'alone' of alone.py: {LINE}\n"
    hooked = f"{RULE}\nfrom torch2grid_core import hookimpl\n@hookimpl\ndef torch2grid_rules():\n    return [Misnamed]\n"
    folder = distribution(tmp_path / "site", "t2g-hooked", hooked)
    run = torch2grid("check", DIGITS, cwd=tmp_path, path=[folder])
    assert len(lines(run.stderr, LINE)) == 1
    assert "t2g-hooked 1.0" in run.stderr


def test_a_file_of_nothing_but_a_class_without_a_name_says_so(tmp_path: Path) -> None:
    (tmp_path / "base.py").write_text("from torch2grid_core import View\nclass Base(View):\n    pass\n", encoding="utf-8")
    run = torch2grid("--load-plugin", "base.py", DIGITS, cwd=tmp_path)
    assert run.returncode == 1
    assert run.stderr == "torch2grid: plugin 'base' of base.py: brings nothing: Base has no 'name'\n"


def base_of(kind: str) -> type:
    module, _, name = KINDS[kind].base.partition(":")
    found: type = getattr(importlib.import_module(module), name)
    return found


@pytest.mark.parametrize("kind", [kind for kind in KINDS if inspect.isabstract(base_of(kind))])
def test_every_kind_with_methods_of_need_tells_which_are_missing(kind: str) -> None:
    base = base_of(kind)
    missing = " and ".join(f"{name}()" for name in sorted(base.__abstractmethods__))  # type: ignore[attr-defined]
    with pytest.raises(PluginError) as error:
        PluginManager().register(type("Half", (base,), {"name": "half"}))
    assert f"{kind} class Half lacks {missing}" in str(error.value)
    with pytest.raises(PluginError, match="Nameless has no 'name'"):
        PluginManager().register(type("Nameless", (base,), {}))


def test_a_class_may_take_its_name_when_it_is_made() -> None:
    class Late(Rule):
        """says its name late"""

        code = "X101"

        def __init__(self) -> None:
            self.name = "late"

        def findings(self, checkpoint: object, results: object, run: object) -> tuple[()]:
            return ()

    manager = PluginManager()
    manager.register(Late)
    assert list(manager.names("rule")) == ["late"]


MISSPELT = """
from torch2grid_core import Layout, LayoutTransformer, Listener, TensorFilter, View
from torch2grid_core.measures import Summary

class Drawn(View):
    "drawn"
    name = "drawn"
    def page(self, checkpoint, results, run): return []

class Heard(Listener):
    "heard"
    name = "heard"
    def start(self, origin, run): pass
    def writen(self, page, path, origin, run): pass

class Kept(TensorFilter):
    "kept"
    name = "kept"
    def keeps(self, tensor): return False

class Laid(LayoutTransformer):
    "laid"
    name = "laid"
    def layout(self, shapes, max_cells): return Layout(1, 1, (1, 1), (), ())
    def arrange(self, shapes, max_cells, results): raise AssertionError

class Asking(LayoutTransformer):
    "asking"
    name = "asking"
    def layout(self, shapes, max_cells): return Layout(1, 1, (1, 1), (), ())
    def needs(self, shapes): return {"all": Summary()}
"""
MISTAKES = (
    "view 'drawn': nothing calls page(); did you mean pages()?",
    "listener 'heard': nothing calls start(); did you mean started()?",
    "listener 'heard': nothing calls writen(); did you mean written()?",
    "filter 'kept': nothing calls keeps(); did you mean keep()?",
    "transformer 'laid': nothing calls arrange(): it gets what needs() asks for, and needs() is missing",
    "transformer 'asking': nothing reads what needs() asks for: arrange() is missing",
)


def test_methods_that_nothing_calls_are_told_by_listings_and_by_runs_that_use_them(tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text(MISSPELT, encoding="utf-8")
    listing = torch2grid("plugins", "wrong", "--load-plugin", "wrong.py", cwd=tmp_path)
    assert [each for each in MISTAKES if f"  note: {each}\n" in listing.stdout] == list(MISTAKES)
    run = torch2grid(DIGITS, "--stats", "--filter", "kept", "--load-plugin", "wrong.py", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    told = [each for each in MISTAKES if run.stderr.count(each) == 1]
    assert told == [each for each in MISTAKES if each.startswith(("listener", "filter"))]


def test_an_installed_plugin_is_told_of_where_it_is_used(tmp_path: Path) -> None:
    folder = distribution(tmp_path / "site", "t2g-wrong", MISSPELT)
    unused = torch2grid(DIGITS, "--stats", cwd=tmp_path, path=[folder])
    assert "nothing calls" not in unused.stderr
    used = torch2grid(DIGITS, "--view", "drawn", "--stats", cwd=tmp_path, path=[folder])
    assert used.stderr.count("nothing calls page(); did you mean pages()?") == 1


LAYOUTS = """
from torch2grid_core import LayoutTransformer

class Misspelt(LayoutTransformer):
    "misspelt"
    name = "misspelt"
    def layuot(self, shapes, max_cells): return None

class Alone(LayoutTransformer):
    "arranges alone"
    name = "alone"
    def arrange(self, shapes, max_cells, results): BODY
"""


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("return None", "arrange returned None, not a Layout; is a 'return' missing?; needs() is missing"),
        ("return results['norms']", "arrange: KeyError: 'norms'; needs() is missing"),
    ],
)
def test_a_layout_that_is_missing_or_arranged_of_nothing(body: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "layouts.py").write_text(LAYOUTS.replace("BODY", body), encoding="utf-8")
    run = torch2grid(DIGITS, "--plugin", "alone", "--load-plugin", "layouts.py", cwd=tmp_path)
    assert run.returncode == 1
    assert told in run.stderr
    (line,) = lines(run.stderr, "class Misspelt")
    assert line.endswith(": transformer class Misspelt lacks layout(); nothing calls layuot(): did you mean layout()?")


FOLDERS = """
from torch2grid_core import Renderer

class Pages(Renderer):
    "pages"
    name, formats = "pages", ("fj",)
    ATTRIBUTE
    def render_folder(self, pages, folder, style, format): (folder / "a.txt").write_text("drawn")
"""
TEXTS = "the folders of renderer Pages are {}, not a tuple of texts: ('pages',)"


@pytest.mark.parametrize("also", ["", "\n    def render(self, page, target, style, format): pass"])
@pytest.mark.parametrize(
    ("attribute", "told"),
    [
        ("folders = 'fj'", TEXTS.format("'fj'")),
        ("folders = None", TEXTS.format("None")),
        ("folders = ('fj', 3)", TEXTS.format("a tuple")),
        ("folder = ('fj',)", "renderer class Pages lacks render(); nothing reads folder: did you mean folders?"),
    ],
)
def test_folders_that_are_none_are_told_as_formats_are(attribute: str, told: str, also: str, tmp_path: Path) -> None:
    (tmp_path / "pages.py").write_text(FOLDERS.replace("ATTRIBUTE", attribute + also), encoding="utf-8")
    run = torch2grid(DIGITS, "--format", "fj", "--load-plugin", "pages.py", cwd=tmp_path)
    if also and "lacks" in told:
        assert "lacks" not in run.stderr
        return
    assert run.returncode != 0
    assert len(lines(run.stderr, told)) == 1, run.stderr


def test_folders_in_a_list_are_folders(tmp_path: Path) -> None:
    (tmp_path / "pages.py").write_text(FOLDERS.replace("ATTRIBUTE", "folders = ['fj']"), encoding="utf-8")
    run = torch2grid(DIGITS, "--format", "fj", "--load-plugin", "pages.py", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "grids" / "a.txt").read_text() == "drawn"
