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

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from torch2grid_core._guard import describe, working_folder
from torch2grid_core.testing import (  # noqa: F401  registered by their import
    _common_checks,
    _listener_checks,
    _loader_checks,
    _need_checks,
    _reading_checks,
    _renderer_checks,
    _rule_checks,
    _running_checks,
    _transformer_checks,
    _view_checks,
)
from torch2grid_core.testing._samples import sample_checkpoints, sample_pages
from torch2grid_core.testing._subject import (
    CHECKS,
    Check,
    NotConforming,
    RunCheck,
    Samples,
    SampleSet,
    Subject,
    WriteFiles,
    subjects,
)

__all__ = [
    "Bound",
    "Check",
    "NotConforming",
    "RunCheck",
    "SampleSet",
    "Samples",
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
        before = working_folder()
        try:
            self.check.run(self.subject)
        except (SystemExit, GeneratorExit) as error:  # which would end the tests
            raise NotConforming(f"it raises {describe(error)}") from error
        finally:
            if before and working_folder() != before:
                os.chdir(before)
                raise NotConforming("it changes the working folder, which others in the process rely on")

    @property
    def id(self) -> str:
        """``transformer-spiral-deterministic``."""
        return f"{self.subject.kind}-{self.subject.name}-{self.check.name}"


def checks(kind: str) -> tuple[Check, ...]:
    """The checks of one kind: those of every kind first."""
    return tuple(each for wanted in ("", kind) for each in CHECKS if each.kind == wanted)


def bound_checks(
    target: Any,
    files: WriteFiles | Mapping[str, WriteFiles] | None = None,
    *,
    samples: Samples | Mapping[str, Samples] | None = None,
    declines: bool | Collection[str] = False,
) -> list[Bound]:
    """Every check of everything that *target* brings; see ``subjects``."""
    found = subjects(target, files, samples=samples, declines=declines)
    return [Bound(each, subject) for subject in found for each in checks(subject.kind)]


def conformance(
    target: Any,
    *,
    files: WriteFiles | Mapping[str, WriteFiles] | None = None,
    samples: Samples | Mapping[str, Samples] | None = None,
    declines: bool | Collection[str] = False,
    expected_failures: Mapping[str, str] | None = None,
) -> Callable[[Test], Test]:
    """A decorator that makes one pytest test of each check: ``def test_conforms(check): check()``.

    Raises ``ValueError`` for an expected failure of an unknown check, ``PluginError`` for a plugin that cannot be used.

    Args:
        target: a class, a plugin module or its import path, an object with hooks, or a ``PluginManager``.
        files: a function that gets a folder and returns what loaders, sources and decoders are checked on (see ``Subject``).
        samples: checkpoints that a specialist is meant for, or paths and objects that open as one, or a function that gets a
            folder and returns some. They are tried beside the kit's own, and something must come of one of them.
        declines: a view or transformer may decline every sample, and a rule find nothing in its own.
        expected_failures: check → reason, the check by its name, as ``NAME-CHECK`` for one class of several, or by the id of
            its test, as pytest shows it; such a test must fail (strict xfail).

    *files* and *samples* may be mappings, and *declines* a collection: by name, by kind, or by ``KIND-NAME``.
    """
    import pytest

    bound = bound_checks(target, files, samples=samples, declines=declines)
    expected = {_without_test(name): reason for name, reason in (expected_failures or {}).items()}
    known = {each.check.name for each in bound} | {f"{each.subject.name}-{each.check.name}" for each in bound}
    ids = {name for each in bound for name in _ids(each)}
    for name in expected:
        if name not in known | ids:
            raise ValueError(f"expected_failures: there is no check {name!r}; there are {', '.join(sorted(known))}")

    def parameter(each: Bound) -> Any:
        names = (*_ids(each), f"{each.subject.name}-{each.check.name}", each.check.name)
        reason = next((expected[name] for name in names if name in expected), None)
        marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason is not None else []
        return pytest.param(each, id=each.id, marks=marks)

    mark = pytest.mark.parametrize("check", [parameter(each) for each in bound])

    def decorate(test: Test) -> Test:
        own = getattr(test, "__name__", "")
        for name in expected_failures or {}:
            function = name.partition("[")[0].rpartition("::")[2] if name.endswith("]") else ""
            if function and function != own:
                raise ValueError(f"expected_failures: {name!r} is the id of a test of {function}, and this is {own}")
        decorated: Test = mark(test)
        return decorated

    return decorate


def _ids(each: Bound) -> tuple[str, str]:
    """The id of its test, and the same as pytest shows it."""
    return each.id, each.id.encode("unicode_escape").decode("ascii")


def _without_test(name: str) -> str:
    """``view-rows-deterministic`` of ``tests/test_rows.py::test_conforms[view-rows-deterministic]``."""
    return name[name.index("[") + 1 : -1] if name.endswith("]") and "[" in name else name
