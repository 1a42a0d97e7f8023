"""Each check fails on a plugin that was written to break the promise, and passes on one that keeps all of them."""

from __future__ import annotations

from inspect import isabstract
from pathlib import Path
from typing import Any

import pytest
from tests.support.testing.broken import GOOD
from tests.support.testing.broken.decoders import compose_toy
from tests.support.testing.broken.filters import GoodFilter
from tests.support.testing.broken.loaders import GoodLoader, write_toy
from tests.support.testing.broken.registry import BREAKS
from tests.support.testing.broken.renderers import GoodFolder
from tests.support.testing.broken.rules import GoodRule
from tests.support.testing.broken.sources import BROKEN_FOLDERS, locate_toy
from tests.support.testing.broken.transformers import InPlace
from tests.support.testing.imports_torch import Heavy

from torch2grid_core import (
    Decoder,
    ExecutorFactory,
    Lazy,
    Listener,
    Page,
    PluginError,
    PluginManager,
    Renderer,
    Settings,
    SourceOpener,
    hookimpl,
)
from torch2grid_core._kinds import KINDS
from torch2grid_core.pages import PageOrigin
from torch2grid_core.testing import Bound, _transformer_checks as transformer_checks, bound_checks, checks, conformance
from torch2grid_core.testing.pytest_plugin import isolated_manager as isolated_manager

COMMON = [each.name for each in checks("filter") if not each.kind]


class Announces:
    """A plugin object with one thing to bring."""

    def __init__(self, item: Any) -> None:
        self.item = item

    @hookimpl
    def torch2grid_transformers(self) -> list[Any]:
        return [self.item]


def files_for(target: Any) -> Any:
    kinds = {SourceOpener: locate_toy, Decoder: compose_toy, ExecutorFactory: None}
    return next((each for kind, each in kinds.items() if isinstance(target, type) and issubclass(target, kind)), write_toy)


def bound_to(target: Any, name: str) -> Bound:
    target = Announces(target) if isinstance(target, Lazy) else target
    return next(each for each in bound_checks(target, files_for(target)) if each.check.name == name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_plugin_that_keeps_its_promises_passes_every_check(kind: str) -> None:
    for bound in bound_checks(GOOD[kind], files_for(GOOD[kind])):
        bound()


def test_a_listener_that_deletes_its_files_is_told_which() -> None:
    class Deletes(Listener):
        """deletes"""

        name = "deletes"

        def written(self, page: Page, path: Path, origin: PageOrigin, run: Settings) -> None:
            path.unlink()

    with pytest.raises(AssertionError, match=r"page_0\.png is no longer what the run wrote"):
        bound_to(Deletes, "hears_a_run")()


def test_settings_whose_name_makes_no_flag_are_refused() -> None:
    with pytest.raises(PluginError, match="letters, digits and underscores alone"):
        bound_checks(type("NotAFlag", (GOOD["settings"],), {"name": "toy!"}))


def test_a_renderer_of_folders_passes_every_check() -> None:
    assert [bound.check.name for bound in bound_checks(GoodFolder) if bound() is not None] == []
    assert not isabstract(type("Bare", (Renderer,), {"name": "bare", "formats": ("x",), "folders": ("x",)}))
    assert isabstract(type("Half", (Renderer,), {"name": "half", "formats": ("x", "y"), "folders": ("x",)}))


def test_every_check_has_a_plugin_that_breaks_it() -> None:
    own = {(kind, each.name) for kind in KINDS for each in checks(kind) if each.kind}
    own -= {(kind, each) for kind in ("rule", "transformer") for each in ("needs_merge", "needs_are_spelt")}  # as for views
    assert own <= set(BREAKS)
    assert {name for _, name in BREAKS} >= {*COMMON} - {"no_torch_at_import"}


@pytest.mark.parametrize(("kind", "name"), BREAKS, ids=map("-".join, BREAKS))
def test_the_check_fails(kind: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformer_checks, "_LAYOUT_SECONDS", 0.5)
    bound = bound_to(BREAKS[kind, name], name)
    assert bound.subject.kind == kind
    with pytest.raises(Exception) as failure:
        bound()
    assert str(failure.value)


@pytest.mark.parametrize(("target", "name"), BROKEN_FOLDERS.items(), ids=lambda each: getattr(each, "__name__", each))
def test_a_source_whose_folders_are_wrong_fails(target: type, name: str) -> None:
    with pytest.raises(AssertionError):
        bound_to(target, name)()


def test_a_module_that_imports_torch_is_told() -> None:
    with pytest.raises(AssertionError, match="imports torch: import it where it is used"):
        bound_to(Heavy, "no_torch_at_import")()


@conformance(InPlace, expected_failures={"inputs_stay": "written to fail", "toy-deterministic": "follows from it"})
def test_expected_failures_are_strict_and_the_rest_runs(check: Bound) -> None:
    if check.check.name == "deterministic":
        raise AssertionError("as expected")
    check()


def test_an_unknown_expected_failure_is_refused() -> None:
    with pytest.raises(ValueError, match=r"there is no check 'determinism'; there are .*deterministic"):
        conformance(GoodRule, expected_failures={"determinism": "a typing error"})


def test_ids_name_kind_class_and_check() -> None:
    ids = [each.id for each in bound_checks(GoodFilter)]
    assert "filter-toy-keep_answers" in ids
    assert len(set(ids)) == len(ids) == len(checks("filter"))


def test_a_loader_without_files_is_told_what_to_give() -> None:
    (bound,) = [each for each in bound_checks(GoodLoader) if each.check.name == "reads_agree"]
    with pytest.raises(AssertionError, match=r"a loader is checked on files of its format: .*files=make_them"):
        bound()


def test_a_class_of_no_kind_and_a_plugin_that_fails_are_errors() -> None:
    with pytest.raises(PluginError, match="is not one of the kinds that a plugin brings"):
        bound_checks(int)
    with pytest.raises(PluginError, match="is not a subclass of GridTransformer"):
        bound_checks(Announces(int))


def test_the_isolated_manager_knows_what_is_registered_and_nothing_else(isolated_manager: PluginManager) -> None:
    assert not any(isolated_manager.names(kind) for kind in KINDS)
    isolated_manager.register(GoodFilter)
    assert list(isolated_manager.names("filter")) == ["toy"]
    assert isolated_manager.create("filter", "toy:letter=x").letter == "x"
    with pytest.raises(PluginError, match="brings nothing"):
        isolated_manager.register(object())
    assert PluginManager().names("filter") == {}
