"""What is misspelt or forgotten is said in the author's words: by the command line, and by the kit of a class."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.tools import DIGITS, torch2grid

from torch2grid_core import (
    Command,
    Decoder,
    ExecutorFactory,
    GridTransformer,
    LayoutTransformer,
    Loader,
    NotDrawable,
    PluginError,
    Renderer,
    Rule,
    SourceOpener,
)
from torch2grid_core.testing import bound_checks, conformance


def nothing(self: Any, *given: Any) -> None:
    return None


# A class of each kind with methods that must be written → what one of them is called by mistake, and what is meant.
MISSPELT: dict[tuple[type, tuple[str, ...]], tuple[str, str]] = {
    (Rule, ()): ("finding", "findings"),
    (GridTransformer, ()): ("transfrom", "transform"),
    (LayoutTransformer, ()): ("layuot", "layout"),
    (Renderer, ()): ("rendr", "render"),
    (Decoder, ("decode",)): ("claim", "claims"),
    (Loader, ("sniff",)): ("laod", "load"),
    (SourceOpener, ()): ("opne", "open"),
    (ExecutorFactory, ()): ("opens", "open"),
    (Command, ()): ("biuld", "build"),
}


@pytest.mark.parametrize(("base", "others"), MISSPELT, ids=lambda each: getattr(each, "__name__", ""))
@pytest.mark.parametrize("ask", [bound_checks, conformance])
def test_a_class_that_lacks_a_method_is_told_which(base: type, others: tuple[str, ...], ask: Callable[[type], Any]) -> None:
    wrong, meant = MISSPELT[base, others]
    methods = {**dict.fromkeys(others, nothing), wrong: nothing}
    cls = type("Mis", (base,), {"__doc__": "misspelt", "__module__": __name__, "name": "mis", "code": "X101", **methods})
    with pytest.raises(
        PluginError, match=rf"class Mis lacks {meant}\(\); nothing calls {wrong}\(\): did you mean {meant}\(\)\?"
    ):
        ask(cls)


def test_the_command_line_says_the_same(tmp_path: Path) -> None:
    source = "from torch2grid_core import Rule\nclass Mis(Rule):\n    'm'\n    name, code = 'mis', 'X101'\n"
    (tmp_path / "mis.py").write_text(f"{source}    def finding(self, *given):\n        return []\n")
    done = torch2grid("check", DIGITS, "--load-plugin", "mis.py", cwd=tmp_path)
    assert "rule class Mis lacks findings(); nothing calls finding(): did you mean findings()?" in done.stderr


TRANSFORM = """
    def transform(self, tensors):
        return next(iter(tensors.values())).reshape(1, -1)
"""
HEAD = """
from torch2grid_core import *
from torch2grid_core.measures import Summary
class Forgets({base}):
    "forgets a return"
    name = "forgets"
    code, formats, flag = "X101", ("x",), ""
"""
PASSED = "\n    def {method}(self, *given):\n        {body}\n"
VIEW, RULE = ("--view", "forgets"), ("check", "--select", "X101")
# The base class, what is right of it, and the method that ends without a return: what the run is asked.
FORGOTTEN: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "GridTransformer.choose": (TRANSFORM, "an iterable of names", ("--plugin", "forgets")),
    "GridTransformer.can_handle": (TRANSFORM, "True or False", ("--plugin", "forgets")),
    "GridTransformer.preprocess": (TRANSFORM, "a mapping", ("--plugin", "forgets")),
    "GridTransformer.transform": ("", "a 2-D array of numbers or a Grid", ("--plugin", "forgets")),
    "GridTransformer.postprocess": (TRANSFORM, "a 2-D array of numbers or a Grid", ("--plugin", "forgets")),
    "LayoutTransformer.layout": ("", "a Layout", ("--plugin", "forgets")),
    "LayoutTransformer.needs": (
        "\n    layout = arrange = lambda self, *given: 1\n",
        "a mapping of key to need",
        ("--plugin", "forgets"),
    ),
    "LayoutTransformer.arrange": (
        "\n    def needs(self, shapes):\n        return {'all': Summary()}\n",
        "a Layout",
        ("--plugin", "forgets"),
    ),
    "View.subject": ("", "a Checkpoint", VIEW),
    "View.needs": ("", "a mapping of key to need", VIEW),
    "View.tensor_needs": ("", "a mapping of key to need", VIEW),
    "View.pages": ("", "an iterable of pages", VIEW),
    "View.tensor_pages": (
        "\n    def tensor_needs(self, *given):\n        return {'all': Summary()}\n",
        "an iterable of pages",
        VIEW,
    ),
    "Rule.subject": ("\n    def findings(self, *given):\n        return []\n", "a Checkpoint", RULE),
    "Rule.needs": ("\n    def findings(self, *given):\n        return []\n", "a mapping of key to need", RULE),
    "Rule.findings": ("", "an iterable of findings", RULE),
    "TensorFilter.keep": ("", "True or False", ("--filter", "forgets")),
    "TensorFilter.apply": ("", "a Checkpoint", ("--filter", "forgets")),
    "Loader.sniff": ("\n    def load(self, source):\n        return 1\n", "0, 1 or 2", ("--stats",)),
    "Loader.load": ("\n    def sniff(self, source):\n        return 2\n", "a Checkpoint", ("--loader", "forgets")),
    "Loader.runs": (
        "\n    def sniff(self, source):\n        return 0\n    def load(self, source):\n        return 1\n",
        "an iterable of actions",
        ("check",),
    ),
    "Decoder.claims": ("\n    def decode(self, checkpoint):\n        return checkpoint\n", "a mapping of names", ("--stats",)),
    "Decoder.decode": ("\n    def claims(self, checkpoint):\n        return {}\n", "a Checkpoint", ("--stats",)),
    "SourceOpener.open": ("\n    schemes = ('nowhere',)\n", "a Source", ()),
    "Command.build": ("", "a click command", ("forgets",)),
    "ExecutorFactory.open": ("", "a context manager", ("--stats", "--executor", "forgets")),
}
IN_KIT = [each for each in FORGOTTEN if each.split(".")[0].endswith(("Transformer", "View", "Rule", "Filter"))]


def _write(folder: Path, case: str) -> str:
    base, method = case.split(".")
    source = HEAD.format(base=base) + FORGOTTEN[case][0] + PASSED.format(method=method, body="given")
    (folder / "forgets.py").write_text(textwrap.dedent(source), encoding="utf-8")
    return f"{method} returned None, not {FORGOTTEN[case][1]}; is a 'return' missing?"


@pytest.mark.parametrize("case", FORGOTTEN)
def test_a_forgotten_return_is_asked_for(tmp_path: Path, case: str) -> None:
    told = _write(tmp_path, case)
    words = FORGOTTEN[case][2] or ("nowhere://model",)
    place = [] if words[0] in ("forgets", "nowhere://model") else [DIGITS]
    words = (words[0], *place, *words[1:]) if words[0] == "check" else (*place, *words)
    done = torch2grid("--load-plugin", "forgets.py", *words, cwd=tmp_path)
    lines = [line for line in done.stderr.splitlines() if "returned" in line]
    assert len(lines) == 1, done.stderr
    assert told in lines[0]
    assert "forgets" in lines[0]


@pytest.mark.parametrize("case", IN_KIT)
def test_the_kit_asks_for_it_too(tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = _write(tmp_path, case)
    module: dict[str, Any] = {"__name__": "forgets"}
    exec((tmp_path / "forgets.py").read_text(), module)
    said = []
    for bound in bound_checks(module["Forgets"]):
        try:
            bound()
        except Exception as error:
            said.append(str(error))
    assert any(told in each for each in said), said
    assert not [each for each in said if "NoneType" in each], said


class Chooses(LayoutTransformer):
    """attention alone"""

    name = "chooses"

    def choose(self, shapes: Mapping[str, Any]) -> list[str]:
        return [name for name in shapes if ".attn." in name]

    def layout(self, shapes: Mapping[str, Any], max_cells: int | None) -> Any:
        raise NotDrawable("nothing")


def test_an_honest_chooser_is_told_what_to_give() -> None:
    said = {}
    for bound in bound_checks(Chooses):
        try:
            bound()
        except Exception as error:
            said[bound.check.name] = str(error)
    assert {*said} == {"result_is_a_grid", "layout_of_a_large_model"}
    assert all("conformance(…, samples=make_them), or say declines=True" in each for each in said.values()), said
