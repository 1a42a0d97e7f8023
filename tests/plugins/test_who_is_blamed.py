"""What an author got wrong is told of the author's class, in one line that says what is wanted: never of another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.support.tools import distribution, torch2grid

HEAD = """
import re
from dataclasses import dataclass, field
import numpy as np
from torch2grid_core import *
from torch2grid_core.grids import *
from torch2grid_core.measures import *
from torch2grid_core.pages import *
from torch2grid_core.sources import *
"""
LOADER = """
class Raw(Loader):
    "raw bytes"
    name = "raw"
    def sniff(self, source): return 2 if source.head.startswith(b"RAW") else 0
    def load(self, source): return Checkpoint({tensors}, source=source.shown, format="raw")
"""
STORAGE = """
class Own:
    size, shippable = 64, True
    def read_into(self, offset, buffer): {body}
"""
LAYOUT = """
class Own(LayoutTransformer):
    "a layout"
    name = "own"
    def choose(self, shapes): return ["a"]
    def layout(self, shapes, max_cells): return {layout}
@dataclass(frozen=True)
class Place:
    what: str
    def __call__(self, cells): return eval(self.what)
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    np.savez(tmp_path / "m.npz", a=np.ones((4, 4), np.float32), b=np.zeros(3, np.float32))
    (tmp_path / "x.raw").write_bytes(b"RAW" + bytes(range(200)))
    return tmp_path


def told(folder: Path, body: str, *words: str, code: int = 1) -> str:
    """The line of a run with *body* as its plugin, which has to end with *code* and leave no file."""
    (folder / "own.py").write_text(HEAD + body)
    done = torch2grid(*words, "--load-plugin", "own.py", cwd=folder)
    assert done.returncode == code, done.stderr
    assert not (folder / "grids").exists()
    (line,) = done.stderr.splitlines()
    return line


def tensor(shape: str = "(4, 4)", dtype: str = "np.dtype('f4')", storage: str = "Range(source, 3, 64)") -> str:
    return f"[LazyTensor('a', {shape}, {dtype}, {storage})]"


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("{'a': np.ones(3)}", "loader 'raw': load: TypeError: a tensor is a ndarray, not a LazyTensor"),
        (tensor(dtype="'f4'"), "load: x.raw: ValueError: the dtype of 'a' is 'f4', not a numpy dtype: np.dtype(np.float32)"),
        (tensor(dtype="np.float32"), "the dtype of 'a' is the class float32, not a numpy dtype"),
        (tensor("(-4, 4)"), "the shape of 'a' is (-4, 4), not a tuple of whole numbers from 0 on"),
        (tensor("[4, 4]"), "the shape of 'a' is [4, 4], not a tuple"),
        (tensor("(4.0, 4)"), "the shape of 'a' is (4.0, 4), not a tuple of whole numbers"),
        (tensor(storage="b'abc'"), "the storage of 'a' is a bytes, which lacks size, shippable, read_into"),
        (tensor("(4, 5)"), "x.raw: as loader 'raw' reads it, 'a': needs 80 bytes of a storage of 64"),
    ],
)
@pytest.mark.parametrize("command", ["draw", "tree", "check"])
def test_a_tensor_that_is_none_is_told_of_the_loader_that_made_it(files: Path, command: str, made: str, said: str) -> None:
    line = told(files, LOADER.format(tensors=made), command, "x.raw", code=2 if command == "check" else 1)
    assert line.startswith("torch2grid: ")
    assert said in line


NUMBERS = """
class Twice(DerivedNumbers):
    def __init__(self, of): self.of, self.count = of, of.size
{more}
    def elements(self, start, stop): return self.of.read(start, stop) * np.float32(2)
class Doubled(Decoder):
    "twice the weights"
    name = "doubled"
    def claims(self, checkpoint): return {{"c": ["a"]}} if "a" in checkpoint else {{}}
    def decode(self, checkpoint):
        of = checkpoint["a"]
        tensor = LazyTensor("c", of.shape, np.dtype("f4"), Twice(of), note="twice")
        return checkpoint.compose([tensor], self.claims(checkpoint), self.name)
"""
PARTS = "    @property\n    def parts(self): {}\n"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("", "Twice does not say what it is computed from: set inner, or answer parts and over"),
        (PARTS.format("[self.of.storage]"), "Twice answers parts, and not over, which makes the same of other parts"),
        (PARTS.format("self.of.storage, None") + "    over = None", "Twice is computed from None, which is not a storage"),
        (PARTS.format("self.of.storage"), "parts of Twice returned a "),
        (PARTS.format("pass"), "parts of Twice returned None, not a sequence of storages; is a 'return' missing?"),
    ],
)
def test_numbers_that_do_not_say_what_they_are_computed_from_are_told_of_their_decoder(
    files: Path, more: str, said: str
) -> None:
    more = more.replace("): self", "): return self").replace("): [", "): return [")
    line = told(files, NUMBERS.format(more=more), "m.npz", "--stats")
    assert line.startswith("torch2grid: decoder 'doubled': decode: ValueError: ")
    assert said in line


def test_numbers_of_nothing_but_themselves_may_say_that_they_have_no_parts(files: Path) -> None:
    (files / "own.py").write_text(HEAD + NUMBERS.format(more="    parts = ()"))
    done = torch2grid("m.npz", "--stats", "-q", "--load-plugin", "own.py", cwd=files)
    assert done.returncode == 0
    assert "2.0000" in done.stdout


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("half = len(buffer) // 2; buffer[:half] = bytes(half)", "read_into left the last of the 64 bytes"),
        ("buffer[:20] = bytes(20); buffer[40:] = bytes(24)", "left some of the 64 bytes that it was asked for as they were"),
        ("pass", "read_into left the last of the 64 bytes"),
    ],
)
def test_memory_that_a_storage_left_as_it_was_is_not_drawn(files: Path, body: str, said: str) -> None:
    made = STORAGE.format(body=body) + LOADER.format(tensors=tensor(storage="Own()"))
    line = told(files, made, "x.raw", "--layers")
    assert "loader 'raw': Own: TypeError: " in line
    assert said in line


def block(dims: str = "((4, 1, 0), (4, 0, 1))", start: str = "0") -> str:
    return f"(Block('a', {start}, 0, 0, {dims}),)"


def curve(place: str) -> str:
    return f"Layout(4, 4, (1, 1), (Curve('a', 0, 16, 0, 1, Place({place!r})),), (Region('a'),))"


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        (f"Layout(4.0, 4, (1, 1), {block()})", "the rows of a layout are 4.0, not a whole number"),
        (f"Layout(4, 4, 1, {block()})", "the cell of a layout is 1, not two whole numbers: (rows, columns)"),
        (f"Layout(4, 4, (1, 1.0), {block()})", "the cell of a layout is (1, 1.0), not two whole numbers"),
        (f"Layout(4, 4, (1, 1), list({block()}))", "the blocks of a layout are a list, not a tuple: (Block or Curve, …)"),
        ("Layout(4, 4, (1, 1), ('a',))", "one of the blocks of a layout is 'a', not a Block or Curve"),
        (f"Layout(4, 4, (1, 1), {block('[[4, 1, 0], [4, 0, 1]]')})", "the dims of a block of 'a' are [[4, 1, 0], [4, 0, 1]]"),
        (f"Layout(4, 4, (1, 1), {block('((4.0, 1, 0), (4, 0, 1))')})", "the dims of a block of 'a' are ((4.0, 1, 0)"),
        (f"Layout(4, 4, (1, 1), {block('((4, 1), (4, 0))')})", "the dims of a block of 'a' are ((4, 1), (4, 0)), not a tuple"),
        (f"Layout(4, 4, (1, 1), {block(start='0.0')})", "a block of 'a' has [0.0, 0, 0] for whole numbers"),
        (f"Layout(4, 4, (1, 1), {block()}, ('a',))", "one of the regions of a layout is 'a', not a Region"),
        (curve("(cells[:3] // 4, cells[:3] % 4)"), "gives arrays of the shapes (3,) and (3,) for 16 cells"),
        (curve("(cells // 4, cells[:3] % 4)"), "gives arrays of the shapes (16,) and (3,) for 16 cells"),
    ],
)
def test_a_layout_of_other_types_is_told_field_by_field(files: Path, layout: str, said: str) -> None:
    line = told(files, LAYOUT.format(layout=layout), "m.npz")
    assert line.startswith("torch2grid: transformer 'own': layout: ValueError: ")
    assert said in line


def test_arrange_without_needs_says_that_needs_is_missing(files: Path) -> None:
    body = "class Own(LayoutTransformer):\n    'd'\n    name = 'own'\n    def arrange(self, shapes, max_cells, results): {}\n"
    (files / "own.py").write_text(HEAD + body.format("return Layout(1, 1, (1, 1), ())"))
    done = torch2grid("m.npz", "--load-plugin", "own.py", cwd=files)
    assert done.returncode == 1
    assert "transformer 'own': arrange() gets no results: needs() is missing" in done.stderr


HEATMAP = "Heatmap(Grid(np.ones((2, 2), np.float32))"
VIEW = """
class Own(View):
    "a view"
    name = "own"
    def pages(self, checkpoint, results, run): {body}
"""


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return Page('x', 't', (Text('a'),))", "pages returned a Page, not an iterable of pages; yield it, or return [it]"),
        ("pass", "pages returned None, not an iterable of pages; is a 'return' missing?"),
        ("yield Page('x', 't', (run.heatmap(np.ones((2, 2))),))", "TypeError: a Grid is needed, not a ndarray: Grid(array)"),
        (f"yield Page('x', 't', ({HEATMAP}, ColorScale(float('nan'), 1.0)),))", "the limits of the scale are nan and 1.0: two"),
        (f"yield Page('x', 't', ({HEATMAP}, ColorScale(2.0, 1.0)),))", "the limits of the scale are 2.0 and 1.0: two finite"),
        (f"yield Page('x', 't', ({HEATMAP}, ColorScale('linear', (0, 1))),))", "the limits of the scale are linear and (0, 1)"),
        (f"yield Page('x', 't', ({HEATMAP}, ColorScale(0.0, 1.0, 'log')),))", "the kind of the scale is 'log', neither linear"),
    ],
)
def test_what_a_view_returns_is_told_with_what_to_do(files: Path, body: str, said: str) -> None:
    assert said in told(files, VIEW.format(body=body), "m.npz", "--own")


FILTER = "class Own(TensorFilter):\n    'd'\n    name = 'own'\n    def keep(self, tensor): return {}\n"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("re.match('.', tensor.name)", "filter 'own': keep returned a Match, not True or False"),
        ("np.array(tensor.shape) > 1", "filter 'own': keep returned a ndarray, not True or False"),
        ("'yes'", "filter 'own': keep returned 'yes', not True or False"),
        ("1", "filter 'own': keep returned 1, not True or False"),
    ],
)
def test_keep_answers_true_or_false_and_nothing_like_it(files: Path, answer: str, said: str) -> None:
    assert told(files, FILTER.format(answer), "m.npz", "--filter", "own") == f"torch2grid: {said}"


def test_keep_may_answer_with_a_truth_of_numpy(files: Path) -> None:
    (files / "own.py").write_text(HEAD + FILTER.format("np.array(tensor.shape).max() > 3"))
    done = torch2grid("tree", "m.npz", "--filter", "own", "--load-plugin", "own.py", cwd=files)
    assert done.returncode == 0
    assert "1 of 2 tensors shown" in done.stderr


RULE = """
class Own(Rule):
    "a rule"
    name, code, severity = "own", "X101", {severity!r}
    def findings(self, checkpoint, results, run): yield Finding("bad", "b", index={index})
"""


def test_a_rule_that_is_asked_for_by_its_code_says_why_there_is_none(files: Path) -> None:
    (files / "own.py").write_text(HEAD + RULE.format(severity="warn", index=None))
    done = torch2grid("check", "m.npz", "--select", "X101", "--load-plugin", "own.py", cwd=files)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == "torch2grid: rule 'own': its severity is 'warn', not error, warning or note"


@pytest.mark.parametrize("index", ["(3,)", "(-1,)", "(0, 0)", "()"])
def test_a_finding_outside_of_its_tensor_is_an_error_of_the_rule(files: Path, index: str) -> None:
    (files / "own.py").write_text(HEAD + RULE.format(severity="error", index=index))
    done = torch2grid("check", "m.npz", "--select", "X101", "--load-plugin", "own.py", cwd=files)
    assert done.returncode == 2
    assert not done.stdout
    assert f"rule 'own': findings yields one at {index} of 'b', whose shape is (3,)" in done.stderr


def test_a_generator_for_a_grid_is_told_with_the_name_of_its_method(files: Path) -> None:
    body = "class Own(GridTransformer):\n    'd'\n    name = 'own'\n    def transform(self, tensors): yield 1\n"
    (files / "own.py").write_text(HEAD + body)
    done = torch2grid("m.npz", "--load-plugin", "own.py", cwd=files)
    assert done.returncode == 1
    assert "torch2grid: transformer 'own': transform holds yield, so nothing of it runs" in done.stderr


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("n: int", "A(): TypeError: A.__init__() missing 1 required positional argument: 'n'"),
        ("name = 'two words'", "A.name is 'two words'; a name holds no space"),
    ],
)
def test_a_file_of_which_nothing_can_be_used_draws_no_other_picture(files: Path, line: str, said: str) -> None:
    body = f"@dataclass\nclass A(GridTransformer):\n    name = 'a'\n    {line}\n    def transform(self, tensors): return 1\n"
    assert said in told(files, body, "m.npz")


def test_an_option_of_a_class_that_is_no_dataclass_says_what_is_missing(files: Path) -> None:
    body = "class A(GridTransformer):\n    name = 'a'\n    n: int = 3\n    def transform(self, tensors): return 1\n"
    line = told(files, body, "m.npz", "--plugin", "a:n=4", code=2)
    assert line == (
        "torch2grid: transformer 'a' has no option: A is not a dataclass, so n is ignored; put @dataclass(frozen=True) above it"
    )


def test_a_hook_with_arguments_and_a_class_for_a_list_are_told_plainly(tmp_path: Path) -> None:
    body = "from torch2grid_core import *\nclass A(View):\n    name = 'a'\n    def pages(self, c, r, run): yield 1\n@hookimpl\n"
    site = tmp_path / "site"
    distribution(site, "t2g-args", f"{body}def torch2grid_views(manager): return [A]\n")
    distribution(site, "t2g-class", f"{body}def torch2grid_views(): return A\n")
    done = torch2grid("plugins", cwd=tmp_path, path=[site])
    assert "error: torch2grid_views takes 'manager', which no hook gives; it is called with no arguments" in done.stdout
    assert "error: torch2grid_views returned the class A, not an iterable of classes" in done.stdout


def test_what_a_distribution_brings_twice_is_told_with_its_entry_points(files: Path) -> None:
    body = FILTER.format("True").replace("class", "from torch2grid_core import TensorFilter\nclass", 1)
    site = distribution(files / "site", "t2g-twice", body, entry="one")
    with open(site / "t2g_twice-1.0.dist-info" / "entry_points.txt", "a", encoding="utf-8") as entries:
        entries.write("two = t2g_twice\n")
    done = torch2grid("tree", "m.npz", "--filter", "own", cwd=files, path=[site])
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "torch2grid: filter 'own' is brought 2 times by t2g-twice, by its entry points one and two; one is enough"
    )


def test_of_several_transformers_in_files_none_is_drawn_without_a_word(files: Path) -> None:
    body = "class {0}(GridTransformer):\n    name = '{0}'\n    def transform(self, tensors): return np.ones((2, 2))\n"
    (files / "own.py").write_text(HEAD + body.format("a") + body.format("b"))
    done = torch2grid("m.npz", "-o", "out", "--load-plugin", "own.py", cwd=files)
    assert "torch2grid: the files of --load-plugin bring a and b; choose one with --plugin NAME" in done.stderr.splitlines()
    for words in (["--plugin", "b"], ["--stats"], ["--plugin", "hilbert"]):
        done = torch2grid("m.npz", "-o", "out", "--load-plugin", "own.py", *words, cwd=files)
        assert done.returncode == 0
        assert "--plugin NAME" not in done.stderr


def test_a_file_that_is_named_for_a_run_may_take_its_time(files: Path) -> None:
    (files / "own.py").write_text(HEAD + FILTER.format("True") + "import time\ntime.sleep(2.1)\n")
    done = torch2grid("tree", "m.npz", "--load-plugin", "own.py", cwd=files)
    assert done.returncode == 0
    assert "to import" not in done.stderr
