"""The conformance kit: what every plugin promises, as checks that its author runs.

    from torch2grid_core.testing import conformance

    @conformance("torch2grid_myplugin.plugin")
    def test_conforms(check):
        check()

makes a pytest test of each check of each class that the plugin brings. A check tests documented contract only. Without
pytest: ``for bound in bound_checks(MyTransformer): bound()``. pytest is imported by ``conformance`` alone; the fixture
``isolated_manager`` is in ``torch2grid_core.testing.pytest_plugin``, which nothing loads by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from torch2grid_core.testing import (  # noqa: F401  registered by their import
    _common_checks,
    _listener_checks,
    _loader_checks,
    _reading_checks,
    _renderer_checks,
    _rule_checks,
    _running_checks,
    _transformer_checks,
    _view_checks,
)
from torch2grid_core.testing._samples import sample_checkpoints, sample_pages
from torch2grid_core.testing._subject import CHECKS, Check, NotConforming, RunCheck, Subject, WriteFiles, subjects

__all__ = [
    "Bound",
    "Check",
    "NotConforming",
    "RunCheck",
    "Subject",
    "WriteFiles",
    "bound_checks",
    "checks",
    "conformance",
    "sample_checkpoints",
    "sample_pages",
    "subjects",
]

Test = TypeVar("Test", bound=Callable[..., Any])


@dataclass(frozen=True)
class Bound:
    """A check of one class; call it to run it. Raises ``NotConforming``, or what the plugin raised."""

    check: Check
    subject: Subject

    def __call__(self) -> None:
        self.check.run(self.subject)

    @property
    def id(self) -> str:
        """``transformer-spiral-deterministic``."""
        return f"{self.subject.kind}-{self.subject.name}-{self.check.name}"


def checks(kind: str) -> tuple[Check, ...]:
    """The checks of one kind: those of every kind first."""
    return tuple(each for wanted in ("", kind) for each in CHECKS if each.kind == wanted)


def bound_checks(target: Any, files: WriteFiles | dict[str, WriteFiles] | None = None) -> list[Bound]:
    """Every check of everything that *target* brings; see ``subjects``."""
    return [Bound(each, subject) for subject in subjects(target, files) for each in checks(subject.kind)]


def conformance(
    target: Any, *, files: WriteFiles | dict[str, WriteFiles] | None = None, expected_failures: Mapping[str, str] | None = None
) -> Callable[[Test], Test]:
    """A decorator that makes one pytest test of each check: ``def test_conforms(check): check()``.

    target: a class, a plugin module or its import path, an object with hooks, or a ``PluginManager``. files: a function that
    gets a folder and returns what loaders, sources and decoders are checked on (see ``Subject``); one for each by name where
    there are several. expected_failures: check → reason, the check by its name, or as ``NAME-CHECK`` for one class of several;
    such a test must fail (strict xfail). Raises ``ValueError`` for a check that does not exist.
    """
    import pytest

    bound = bound_checks(target, files)
    expected = dict(expected_failures or {})
    known = {each.check.name for each in bound} | {f"{each.subject.name}-{each.check.name}" for each in bound}
    for name in expected:
        if name not in known:
            raise ValueError(f"expected_failures: there is no check {name!r}; there are {', '.join(sorted(known))}")

    def parameter(each: Bound) -> Any:
        reason = expected.get(f"{each.subject.name}-{each.check.name}", expected.get(each.check.name))
        marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason is not None else []
        return pytest.param(each, id=each.id, marks=marks)

    mark = pytest.mark.parametrize("check", [parameter(each) for each in bound])

    def decorate(test: Test) -> Test:
        decorated: Test = mark(test)
        return decorated

    return decorate
