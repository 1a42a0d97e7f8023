"""What the kit says of plugins that do nothing, and of specialists: those that are for some checkpoints alone."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.testing.broken.filters import GoodFilter
from tests.support.testing.broken.loaders import GoodLoader, write_toy
from tests.support.testing.broken.sources import GoodSource, locate_toy
from tests.support.testing.broken.transformers import GoodTransformer
from tests.support.testing.broken.views import DeclinesAll, GoodView
from tests.support.tools import DIGITS, distribution, torch2grid

from torch2grid_core import (
    Checkpoint,
    Finding,
    GridTransformer,
    Lazy,
    LazyTensor,
    NotDrawable,
    Page,
    PluginError,
    Rule,
    TensorFilter,
    View,
    hookimpl,
)
from torch2grid_core.pages import Table, Text
from torch2grid_core.testing import Bound, NotConforming, bound_checks, conformance
from torch2grid_core.testing._samples import tensor


def named(target: Any, name: str, **given: Any) -> Bound:
    (found,) = [each for each in bound_checks(target, **given) if each.check.name == name]
    return found


def failing(target: Any, **given: Any) -> dict[str, str]:
    """The checks that fail, and what each says."""
    told = {}
    for bound in bound_checks(target, **given):
        try:
            bound()
        except Exception as error:
            told[bound.check.name] = str(error)
    return told


def with_methods(base: type, **methods: Callable[..., Any]) -> type:
    """A subclass of *base* with these methods, in this module."""
    return type("Made", (base,), {"__doc__": "made for a test", "name": "toy", "__module__": __name__, **methods})


def _pages(self: Any, *given: Any) -> Iterable[Page]:
    yield Page("toy", "", (Text("one"),))


class Helped(View):
    """a helper that is named nearly as a method of the base class, and is used"""

    name = "toy"

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Any) -> Iterable[Page]:
        yield self.page("one")
        yield self.tensor_page("two")

    def page(self, name: str) -> Page:
        return Page(name, "", (Text("one"),))

    def tensor_page(self, name: str) -> Page:
        return self.page(name)


def test_a_helper_with_a_name_like_a_method_is_no_mistake() -> None:
    assert failing(Helped) == {}


def attention() -> list[Checkpoint]:
    random = np.random.default_rng(0)
    names = [f"blocks.{layer}.attn.{part}.weight" for layer in range(2) for part in "qkv"]
    return [Checkpoint([tensor(name, random.normal(size=(8, 8)).astype(np.float32)) for name in names], source="<attention>")]


def in_files(folder: Path) -> list[Path]:
    np.savez(folder / "attention.npz", **{name: each.numpy() for name, each in attention()[0].items()})
    return [folder / "attention.npz"]


class HeadsOnly(GridTransformer):
    """the mean of each attention matrix"""

    name = "heads"

    def can_handle(self, tensors: Mapping[str, Any]) -> bool:
        return any(".attn." in name for name in tensors)

    def transform(self, tensors: Mapping[str, Any]) -> Any:
        return np.array([[array.mean() for name, array in tensors.items() if ".attn." in name]], np.float32)


class HeadsView(GoodView):
    """nothing but attention"""

    def subject(self, checkpoint: Checkpoint, run: Any) -> Checkpoint:
        names = [name for name in checkpoint if ".attn." in name]
        if not names:
            raise NotDrawable("no attention is there")
        return checkpoint.select(names)


class HeadsRule(Rule):
    """attention is there"""

    name, code = "heads", "X107"

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Any) -> Iterable[Finding]:
        return [Finding("is attention", name) for name in checkpoint if ".attn." in name]


@pytest.mark.parametrize(
    ("cls", "told"),
    [
        (with_methods(View), "it overrides neither pages() nor tensor_pages()"),
        (with_methods(View, tensor_page=_pages), "nothing calls tensor_page(); did you mean tensor_pages()?"),
        (with_methods(View, overview_pages=_pages), "it overrides neither pages() nor tensor_pages()"),
        (with_methods(View, tensor_pages=_pages), "tensor_pages() is called only where tensor_needs() asks for something"),
        (with_methods(TensorFilter), "it overrides neither keep() nor apply()"),
        (with_methods(TensorFilter, keeps=_pages), "nothing calls keeps(); did you mean keep()?"),
        (with_methods(GoodTransformer, can_handel=_pages), "nothing calls can_handel(); did you mean can_handle()?"),
        (with_methods(GoodTransformer, post_process=_pages), "nothing calls post_process(); did you mean postprocess()?"),
        (with_methods(HeadsRule, need=_pages), "nothing calls need(); did you mean needs()?"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_nothing_fails(cls: type, told: str) -> None:
    with pytest.raises(NotConforming) as failure:
        named(cls, "does_something")()
    assert told in str(failure.value)


NAN = {"nan_stays_in_its_place"}


@pytest.mark.parametrize("samples", [attention(), lambda folder: attention(), in_files], ids=["checkpoints", "made", "files"])
@pytest.mark.parametrize("cls", [HeadsOnly, HeadsView, HeadsRule])
def test_an_honest_specialist_passes_on_what_it_is_for(cls: type, samples: Any) -> None:
    assert failing(cls, samples=samples).keys() - NAN == set()


def test_without_samples_a_specialist_is_told_what_to_give() -> None:
    advice = r"give checkpoints that it is for, conformance\(…, samples=make_them\), or say declines=True"
    with pytest.raises(NotConforming, match=f"it declines ordinary float32 tensors; {advice}"):
        named(HeadsOnly, "result_is_a_grid")()
    with pytest.raises(NotConforming, match=f"no page comes of any sample .ordinary, .*; {advice}"):
        named(HeadsView, "something_is_drawn")()
    with pytest.raises(NotConforming, match=f"it finds nothing in any sample .ordinary, .*; {advice}"):
        named(HeadsRule, "something_is_found")()
    assert failing(HeadsRule).keys() == {"something_is_found"}
    assert failing(HeadsRule, declines=True) == {}


class Declining(HeadsRule):
    """nothing is there for it"""

    def subject(self, checkpoint: Checkpoint, run: Any) -> Checkpoint:
        raise NotDrawable("nothing")


class Sizes(GridTransformer):
    """how many weights each tensor has, whatever they are"""

    name = "sizes"

    def transform(self, tensors: Mapping[str, Any]) -> Any:
        return np.array([[array.size for array in tensors.values()]], np.float32)


def test_a_rule_that_declines_everything_and_a_grid_of_no_weights_fail() -> None:
    assert failing(Declining).keys() == {"something_is_found"}
    assert failing(Declining, samples=attention()).keys() == {"something_is_found"}
    assert failing(Declining, declines=True) == {}
    assert failing(Sizes).keys() == {"depends_on_the_weights"}


@conformance(Sizes, expected_failures={"depends_on_the_weights": "it draws sizes"})
def test_a_transformer_of_shapes_alone_says_so(check: Bound) -> None:
    check()


@dataclass(frozen=True)
class Least(TensorFilter):
    """tensors of so many weights, which by default are all"""

    name = "least"
    size: int = field(default=0, metadata={"help": "weights"})

    def keep(self, tensor: Any) -> bool:
        return bool(tensor.size >= self.size)


def test_a_filter_that_chooses_nothing_fails() -> None:
    def keeps(answer: Any) -> type:
        return with_methods(TensorFilter, keep=lambda self, tensor: answer(tensor))

    heads = keeps(lambda tensor: ".attn." in tensor.name)
    advice = "give checkpoints that it is for, conformance(…, samples=make_them), or say declines=True"
    for cls, told in (
        (keeps(lambda tensor: True), "keeps every tensor"),
        (keeps(lambda tensor: False), "keeps no tensor"),
        (heads, "keeps no tensor"),
    ):
        failed = failing(cls)
        assert failed.keys() == {"something_is_chosen"}
        assert told in failed["something_is_chosen"]
        assert advice in failed["something_is_chosen"]
        assert failing(cls, declines=True) == {}
    mixed = [Checkpoint([tensor(f"0.{name}", np.ones((3, 4), np.float32)) for name in ("attn.q", "fc")], source="<mixed>")]
    assert failing(heads, samples=mixed) == {}
    assert failing(keeps(lambda tensor: True), samples=mixed).keys() == {"something_is_chosen"}
    assert failing(Least) == {}


def test_samples_for_which_it_does_nothing_fail() -> None:
    other = [Checkpoint([tensor("fc.weight", np.ones((3, 4), np.float32))], source="<other>")]
    for cls, check in ((HeadsOnly, "result_is_a_grid"), (HeadsView, "something_is_drawn"), (HeadsRule, "something_is_found")):
        with pytest.raises(NotConforming, match=r"every one of samples=|<other>"):
            named(cls, check, samples=other)()
        named(cls, check, samples=other, declines=True)()
        named(cls, check, samples=attention())()
    with pytest.raises(NotConforming, match="samples= gives no checkpoint"):
        named(HeadsView, "something_is_drawn", samples=[])()


def test_a_view_that_declines_everything_passes_where_it_is_told() -> None:
    assert failing(DeclinesAll).keys() == {"something_is_drawn"}
    assert failing(DeclinesAll, declines=True) == {}


def test_own_samples_are_checked_for_more_than_that_something_comes() -> None:
    class Forgetful(HeadsView):
        """remembers what it drew"""

        def __init__(self) -> None:
            self.seen = 0

        def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Any) -> Iterable[Page]:
            self.seen += 1
            yield Page("toy", "", (Text(f"{self.seen}"),))

    assert "a second run gives other pages" in failing(Forgetful, samples=attention())["deterministic"]


class Several:
    """A plugin with several kinds of one name."""

    @hookimpl
    def torch2grid_loaders(self) -> list[Any]:
        return [GoodLoader]

    @hookimpl
    def torch2grid_sources(self) -> list[Any]:
        return [GoodSource]

    @hookimpl
    def torch2grid_views(self) -> list[Any]:
        return [HeadsView]


@pytest.mark.parametrize("key", ["{kind}", "{kind}-toy"])
def test_files_and_samples_are_given_by_kind_where_names_are_alike(key: str) -> None:
    files: Any = {key.format(kind="loader"): write_toy, key.format(kind="source"): locate_toy}
    assert failing(Several(), files=files, samples={key.format(kind="view"): attention()}) == {}
    assert failing(Several(), files=files, declines=[key.format(kind="view")]) == {}
    assert set(failing(Several(), files=files)) == {"something_is_drawn"}


IDS = [
    "deterministic",
    "toy-deterministic",
    "filter-toy-deterministic",
    "test_it[filter-toy-deterministic]",
    "tests/test_x.py::test_it[filter-toy-deterministic]",
]


@pytest.mark.parametrize("name", IDS)
def test_ids_are_taken_as_pytest_shows_them(name: str) -> None:
    name = name.replace("deterministic", "keep_answers")

    @conformance(GoodFilter, expected_failures={name: "why not"})
    def test_it(check: Bound) -> None:
        check()

    (mark,) = test_it.pytestmark  # type: ignore[attr-defined]
    marked = [each.id for each in mark.args[1] if each.marks]
    assert marked == ["filter-toy-keep_answers"]
    with pytest.raises(ValueError, match="there is no check 'filter-tox-keep_answers'"):
        conformance(GoodFilter, expected_failures={"test_it[filter-tox-keep_answers]": "a typing error"})


def test_an_id_that_pytest_prints_can_be_copied(tmp_path: Path) -> None:
    """Of a name that is not ASCII, too, which it shows escaped."""
    (tmp_path / "test_it.py").write_text(
        textwrap.dedent(
            """
            from torch2grid_core import TensorFilter
            from torch2grid_core.testing import conformance

            class Bad(TensorFilter):
                "answers nothing"
                name = "größe"
                def keep(self, tensor):
                    tensor.ndim == 2

            EXPECTED = {}

            @conformance(Bad, expected_failures=EXPECTED)
            def test_it(check):
                check()
            """
        ),
        encoding="utf-8",
    )

    def run() -> list[str]:
        words = [sys.executable, "-m", "pytest", "-q", "-rf", "-p", "no:cacheprovider", "--tb=no", "test_it.py"]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        return [line.split()[1] for line in done.stdout.splitlines() if line.startswith("FAILED")]

    failed = run()
    assert [each for each in failed if "keep_answers" in each]
    text = (tmp_path / "test_it.py").read_text(encoding="utf-8")
    expected = dict.fromkeys(failed, "it answers nothing")
    (tmp_path / "test_it.py").write_text(text.replace("EXPECTED = {}", f"EXPECTED = {expected!r}"), encoding="utf-8")
    assert run() == []


class Forgets:
    """A plugin whose hook has no return."""

    @hookimpl
    def torch2grid_views(self) -> Any:
        [GoodView]  # noqa: B018


def test_a_hook_that_forgets_to_return_is_told(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="torch2grid_views returned None, not an iterable of classes; is a 'return' missing"):
        bound_checks(Forgets())
    source = """
        from torch2grid_core import hookimpl

        @hookimpl
        def torch2grid_transformers():
            [1]
        """
    folder = distribution(tmp_path / "site", "t2g-forgets", source)
    run = torch2grid(DIGITS, "--stats", cwd=tmp_path, path=[folder])
    assert run.returncode == 0
    run = torch2grid("--list-plugins", cwd=tmp_path, path=[folder])
    told = "plugin 't2g_forgets' of t2g-forgets 1.0: torch2grid_transformers returned None, not an iterable of classes"
    assert [told in line for line in run.stderr.splitlines()] == [True]


class AllLazy:
    """A plugin of which no class can be imported."""

    @hookimpl
    def torch2grid_views(self) -> list[Lazy]:
        return [Lazy("not_there:One", "one", "a view"), Lazy("not_there:Two", "two", "a view")]


def test_classes_that_cannot_be_imported_are_told_all_of_them(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"view 'one': import: ModuleNotFoundError.*; view 'two': import: Module"):
        bound_checks(AllLazy())
    source = """
        from torch2grid_core import Lazy, TensorFilter, hookimpl

        class There(TensorFilter):
            "stays"
            name = "there"

        @hookimpl
        def torch2grid_views():
            return [Lazy("not_there:One", "one", "a view"), Lazy("not_there:Two", "two", "a view")]
        """
    folder = distribution(tmp_path / "site", "t2g-lazy", source)
    listed = torch2grid("plugins", "t2g-lazy", cwd=tmp_path, path=[folder]).stdout.splitlines()
    assert listed[0].endswith("  failed")
    assert sum("import: ModuleNotFoundError" in line for line in listed) == 2
    more = source + "\n        @hookimpl\n        def torch2grid_filters():\n            return [There]\n"
    folder = distribution(tmp_path / "more", "t2g-lazy", more)
    listed = torch2grid("plugins", "t2g-lazy", cwd=tmp_path, path=[folder]).stdout.splitlines()
    assert listed[0].endswith("  in part")


def test_a_method_that_forgets_to_return_is_told() -> None:
    def nothing(self: Any, *given: Any) -> None:
        return None

    nothing.__name__ = "pages"
    told = failing(with_methods(GoodFilter, keep=nothing))
    assert "keep returned None, not True or False; is a 'return' missing?" in told["keep_answers"]
    told = failing(with_methods(GridTransformer, transform=nothing))
    assert told["result_is_a_grid"].endswith(
        "transform returned None, not a 2-D array of numbers or a Grid; is a 'return' missing?"
    )
    told = failing(with_methods(GoodView, pages=nothing))
    assert "pages returned None, not an iterable of pages; is a 'return' missing?" in told["something_is_drawn"]


def test_a_sample_that_is_opened_is_made_once(tmp_path: Path) -> None:
    folders: list[Path] = []

    def make(folder: Path) -> list[Path]:
        folders.append(folder)
        return in_files(folder)

    for bound in bound_checks(HeadsView, samples=make):
        bound()
    assert len(folders) == 1
    assert isinstance(next(iter(bound.subject.meant_for.values()))["blocks.0.attn.q.weight"], LazyTensor)


def test_a_view_whose_panels_are_always_empty_fails() -> None:
    class Empty(View):
        """a table without rows"""

        name = "empty"

        def pages(self, checkpoint: Any, results: Any, run: Any) -> Any:
            yield Page("empty", "", (Table(("tensor",), ()),), kind="table")

    with pytest.raises(NotConforming, match="every panel of every page is empty; give checkpoints that it is for"):
        named(Empty, "something_is_drawn")()
    assert "something_is_drawn" not in failing(Empty, declines=True)
