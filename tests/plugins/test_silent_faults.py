"""What would do nothing without a word, or be blamed on somebody else, is said of the plugin that brings it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.tools import DIGITS, distribution, torch2grid

HEAD = """
import enum
import os
from dataclasses import dataclass, field
from torch2grid_core import *
from torch2grid_core.measures import Collector
from torch2grid_core.pages import Table, Text
from torch2grid_core.sources import SourceBase
"""
VIEW = '''
class Said(View):
    """draws a page"""
    name = "said"
    def pages(self, checkpoint, results, run):
        yield Page("said", "Said", (Text("said"),))
'''
FILTER = '''
class Flat(TensorFilter):
    """vectors"""
    name = "flat"
    def keep(self, tensor):
        return tensor.ndim == 1
'''


def written(folder: Path, source: str) -> str:
    (folder / "mine.py").write_text(HEAD + source, encoding="utf-8")
    return "mine.py"


def lines(stderr: str, what: str) -> list[str]:
    return [line for line in stderr.splitlines() if what in line]


HOOKS = "\n@hookimpl\ndef torch2grid_views():\n    return [Said]\n\ndef torch2grid_filters():\n    return [Flat]\n"


def test_a_hook_without_its_mark_is_told_beside_those_that_have_it(tmp_path: Path) -> None:
    folder = distribution(tmp_path / "site", "t2g-half", HEAD + VIEW + FILTER + HOOKS)
    run = torch2grid(DIGITS, "--said", cwd=tmp_path, path=[folder])
    assert (run.returncode, run.stdout) == (0, "grids/said.png\n")
    (line,) = lines(run.stderr, "t2g-half 1.0")
    assert line.endswith(": nothing calls torch2grid_filters(): write @hookimpl above it")
    assert "in part" in torch2grid("plugins", "t2g-half", cwd=tmp_path, path=[folder]).stdout


def test_hooks_that_all_lack_it_are_told_as_what_is_wrong(tmp_path: Path) -> None:
    source = (
        "from torch2grid_core import Lazy\ndef torch2grid_views():\n    return []\ndef torch2grid_rules():\n    return []\n"
    )
    folder = distribution(tmp_path / "site", "t2g-none", source)
    run = torch2grid("plugins", "t2g-none", cwd=tmp_path, path=[folder])
    told = "brings nothing: nothing calls torch2grid_views() and torch2grid_rules(): write @hookimpl above each"
    assert f"failed\n  error: {told}\n" in run.stdout


def test_a_thing_that_is_wrong_costs_none_of_its_hook(tmp_path: Path) -> None:
    hook = '\n@hookimpl\ndef torch2grid_views():\n    return [Lazy("m:V", "two words", "v"), Said]\n'
    folder = distribution(tmp_path / "site", "t2g-mixed", HEAD + VIEW + hook)
    run = torch2grid(DIGITS, "--said", cwd=tmp_path, path=[folder])
    assert (run.returncode, run.stdout) == (0, "grids/said.png\n")
    (line,) = lines(run.stderr, "t2g-mixed 1.0")
    assert "the name of V is 'two words'" in line


def test_a_word_of_a_lazy_that_nothing_reads_is_told(tmp_path: Path) -> None:
    hook = '\n@hookimpl\ndef torch2grid_filters():\n    return [Lazy("m:F", "flat", "vectors", flga="N", flag_field="n")]\n'
    folder = distribution(tmp_path / "site", "t2g-words", HEAD + hook)
    (record,) = json.loads(torch2grid("plugins", "t2g-words", "--json", cwd=tmp_path, path=[folder]).stdout)
    assert record["remarks"] == ["filter 'flat': nothing reads flga in its Lazy; did you mean 'flag'?"]


NOTHING = {
    "it overrides neither pages() nor tensor_pages()": "class V(View):\n    'v'\n    name = 'v'\n",
    "it overrides neither keep() nor apply()": "class V(TensorFilter):\n    'v'\n    name = 'v'\n",
    "it overrides neither started() nor written() nor finished()": "class V(Listener):\n    'v'\n    name = 'v'\n",
    "tensor_pages() is called only where tensor_needs() asks": """
class V(View):
    "v"
    name = "v"
    def tensor_pages(self, tensor, results, run):
        yield Page("v", "v", (Text("v"),))
""",
    "nothing calls arrange(): it is a method of a LayoutTransformer": """
class V(GridTransformer):
    "v"
    name = "v"
    def transform(self, tensors):
        return next(iter(tensors.values())).reshape(1, -1)
    def arrange(self, shapes, max_cells, results):
        return None
""",
    "more: fields of a class that is not a dataclass; put @dataclass(frozen=True) above it": """
@dataclass(frozen=True)
class Made(TensorFilter):
    "made"
    name = "made"
    less: int = field(default=1, metadata={"help": "less"})
    def keep(self, tensor):
        return tensor.ndim > self.less

class V(Made):
    "v"
    name = "v"
    more: int = field(default=1, metadata={"help": "more"})
""",
    "combines names v, and render_all() is missing": """
class V(Renderer):
    "v"
    name, formats, combines = "v", ("v",), ("v",)
    def render(self, page, target, style, format):
        target.write(b"v")
""",
    "folders names 'w', which is not one of its formats": """
class V(Renderer):
    "v"
    name, formats, folders = "v", ("v",), ("w",)
    def render(self, page, target, style, format):
        target.write(b"v")
    def render_folder(self, pages, folder, style, format):
        (folder / "v").write_bytes(b"v")
""",
    "nothing calls render_folder(): folders names no format": """
class V(Renderer):
    "v"
    name, formats = "v", ("v",)
    def render(self, page, target, style, format):
        target.write(b"v")
    def render_folder(self, pages, folder, style, format):
        (folder / "v").write_bytes(b"v")
""",
}


@pytest.mark.parametrize("told", NOTHING)
def test_the_listing_tells_what_does_nothing(told: str, tmp_path: Path) -> None:
    run = torch2grid("plugins", "mine", "--load-plugin", written(tmp_path, NOTHING[told]), cwd=tmp_path)
    assert run.returncode == 0
    assert any(line.startswith("  note: ") and told in line for line in run.stdout.splitlines()), run.stdout


def test_a_rule_without_a_code_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    rules = "".join(
        f'\nclass {name.title()}(Rule):\n    "r"\n    name = "{name}"\n    {more}\n'
        "    def findings(self, checkpoint, results, run):\n        return ()\n"
        for name, more in (("bare", ""), ("judge", 'code, judges = "X102", "weight"'), ("good", 'code = "X101"'))
    )
    run = torch2grid("check", DIGITS, "--load-plugin", written(tmp_path, rules), cwd=tmp_path)
    assert "torch2grid: rule 'bare': it has no code: letters and three digits, as in X101\n" in run.stderr
    assert "torch2grid: rule 'judge': its judges is 'weight', not values, weights or file\n" in run.stderr
    assert "2 rules failed" in run.stderr
    assert run.returncode == 2
    good = torch2grid("check", DIGITS, "--select", "X101", "--load-plugin", "mine.py", cwd=tmp_path)
    assert good.returncode == 0
    assert "no finding by 1 rule" in good.stderr


SOURCE = """
class Odd(SourceBase):
    def __init__(self, shown):
        self.shown, self.identity = shown, 1
        if os.environ["ODD"] != "name":
            self.name = "odd"
        self.size = {"text": "12", "negative": -1}.get(os.environ["ODD"], 12)
    def read(self, offset, length):
        return bytes(length)

class Opener(SourceOpener):
    "odd"
    name, schemes = "odd", ("odd",)
    def open(self, location):
        return Odd(location)
"""


@pytest.mark.parametrize(
    ("odd", "told"),
    [
        ("name", "it has no name"),
        ("text", "its size is '12', not a number of bytes"),
        ("negative", "its size is -1, not a number of bytes"),
    ],
)
def test_a_source_that_lacks_something_is_told_by_its_location(odd: str, told: str, tmp_path: Path) -> None:
    run = torch2grid("odd://x", "--load-plugin", written(tmp_path, SOURCE), cwd=tmp_path, env={"ODD": odd})
    assert (run.returncode, run.stderr) == (1, f"torch2grid: odd://x: source 'odd': {told}\n")


NEED = """
class Count(Collector):
    def __init__(self):
        self.count = 0
    def update(self, chunk):
        self.count += chunk.values.size
    def result(self):
        return self.count

@dataclass(frozen=True)
class Counted(Need):
    more: int = 0
    def collector(self, tensors):
        return Count()
    def unite(self, other):
        return True

class Counts(View):
    "counts"
    name = "counts"
    def needs(self, checkpoint, run):
        return {"one": Counted(), "two": Counted(2)}
    def pages(self, checkpoint, results, run):
        yield Page("counts", "Counts", (Text("counts"),))
"""


def test_a_need_that_unites_to_something_else_is_an_error_of_its_view(tmp_path: Path) -> None:
    run = torch2grid(DIGITS, "--counts", "--load-plugin", written(tmp_path, NEED), cwd=tmp_path)
    assert run.returncode == 1
    assert "view 'counts': Counted.unite returned True, not a need, nor None" in run.stderr


ENUM = """
class Mode(enum.Enum):
    FAST = "quick"
    SLOW = "slow"

@dataclass(frozen=True)
class Shared(PluginSettings):
    "shared"
    name = "shared"
    mode: Mode = field(default=Mode.FAST, metadata={"help": "how"})
    words: tuple = field(default=(), metadata={"help": "words"})

class Shows(View):
    "shows"
    name, default_format = "shows", "text"
    def pages(self, checkpoint, results, run):
        shared = run.options(Shared)
        yield Page("shows", "Shows", (Table(("mode", "words"), ((shared.mode.value, "+".join(shared.words)),)),), kind="table")
"""


def test_an_option_may_be_of_an_enum_and_its_default_a_member(tmp_path: Path) -> None:
    file = written(tmp_path, ENUM)
    for words, shown in (
        ([], ["quick"]),
        (["--shared-mode", "SLOW"], ["slow"]),
        (["--set", "shared:mode=slow"], ["slow"]),
        (["--set", "shared:words='a,bc'"], ["quick", "a+bc"]),
    ):
        run = torch2grid(DIGITS, "--shows", "-q", *words, "--load-plugin", file, cwd=tmp_path)
        assert run.returncode == 0, run.stderr
        assert run.stdout.splitlines()[-1].split() == shown
    assert "mode=FAST  (one of FAST, SLOW)  how" in torch2grid("plugins", "mine", "--load-plugin", file, cwd=tmp_path).stdout


EXECUTOR = """
from concurrent.futures import Executor, Future

class Wrong(Executor):
    def submit(self, function, /, *arguments, **named):
        future = Future()
        future.set_result(3)
        return future

class Opens(ExecutorFactory):
    "wrong"
    name = "wrong"
    def open(self, address, jobs):
        return Wrong()
"""


def test_an_executor_that_brings_back_something_else_is_named(tmp_path: Path) -> None:
    file = written(tmp_path, EXECUTOR)
    run = torch2grid(DIGITS, "--layers", "--executor", "wrong", "--load-plugin", file, cwd=tmp_path)
    assert run.returncode == 1
    assert run.stderr == "torch2grid: executor 'wrong': brought back int, which is not a result of the work it was given\n"


@pytest.mark.parametrize("columns", [40, 60])
def test_timing_fits_the_terminal(columns: int, tmp_path: Path) -> None:
    long = VIEW.replace('"said"', f'"{"said" * 40}"', 1)
    hook = "\n@hookimpl\ndef torch2grid_views():\n    return [Said]\n"
    folder = distribution(tmp_path / "site", "t2g-with-a-name-of-many-words", HEAD + long + hook)
    run = torch2grid("plugins", "--timing", cwd=tmp_path, path=[folder], env={"COLUMNS": str(columns)})
    assert run.returncode == 0
    assert max(map(len, run.stdout.splitlines())) <= columns
    assert run.stdout.splitlines()[0].split() == ["Distribution", "Imported", "Milliseconds"]


def test_a_flag_without_a_value_sets_an_option_of_true_or_false(tmp_path: Path) -> None:
    filters = """
@dataclass(frozen=True)
class Least(TensorFilter):
    "least"
    name, flag, flag_field = "least", True, "ndim"
    ndim: int = field(default=1, metadata={"help": "how many"})
    def keep(self, tensor):
        return tensor.ndim > self.ndim
"""
    run = torch2grid(DIGITS, "--least", "--load-plugin", written(tmp_path, filters), cwd=tmp_path)
    told = "filter 'least': its flag takes no value, and its flag_field 'ndim' is not of true or false"
    assert (run.returncode, run.stderr) == (1, f"torch2grid: {told}\n")


def test_where_warnings_are_errors_the_old_event_is_its_plugins_fault(tmp_path: Path) -> None:
    hook = "\n@hookimpl\ndef torch2grid_written(page, path, run):\n    print(path)\n"
    run = torch2grid(
        DIGITS, "--load-plugin", written(tmp_path, hook), cwd=tmp_path, env={"PYTHONWARNINGS": "error::DeprecationWarning"}
    )
    assert run.returncode == 1
    assert "plugin 'mine' of mine.py: torch2grid_written will be removed in 0.3" in run.stderr


def test_a_default_format_that_nobody_writes_is_its_views_fault(tmp_path: Path) -> None:
    file = written(tmp_path, VIEW.replace('"said"\n', '"said"\n    default_format = "txet"\n', 1))
    run = torch2grid(DIGITS, "--said", "--load-plugin", file, cwd=tmp_path)
    assert run.returncode == 1
    told = "view 'said': its default_format 'txet' is written by no renderer; did you mean 'text'?"
    assert f"torch2grid: {told}\n" in run.stderr
    asked = torch2grid(DIGITS, "--said", "--format", "csv", "--load-plugin", file, cwd=tmp_path)
    assert (asked.returncode, asked.stdout) == (0, "grids/said.csv\n")


@pytest.mark.parametrize("found", ["None", "3", "1 / 0"])
def test_a_panel_of_its_own_without_a_table_is_its_views_fault(found: str, tmp_path: Path) -> None:
    panel = f"""
class Mine:
    title = "mine"
    def as_table(self):
        return {found}
"""
    file = written(tmp_path, panel + VIEW.replace('Text("said")', "Mine()"))
    run = torch2grid(DIGITS, "--said", "--load-plugin", file, cwd=tmp_path)
    assert run.returncode == 1
    told = "as_table: ZeroDivisionError" if "/" in found else f"page 'said': Mine.as_table returned {found}, not a Table"
    assert f"view 'said': {told}" in run.stderr
    assert "renderer" not in run.stderr
