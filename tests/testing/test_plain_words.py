"""What the kit says of a class that lacks what its kind is made of: a line about that, and no error of Python's."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from torch2grid_core import (
    ExecutorFactory,
    Finding,
    LazyTensor,
    Need,
    Page,
    PluginError,
    PluginSettings,
    Rule,
    SourceOpener,
    TensorFilter,
    View,
)
from torch2grid_core.measures import Chunk, Collector
from torch2grid_core.pages import Table
from torch2grid_core.sources import SourceBase
from torch2grid_core.testing import Bound, NotConforming, bound_checks


class Plain(PluginSettings):
    """no dataclass"""

    name = "plain"
    unit: str = "weights"


@dataclass
class Thawed(PluginSettings):
    """not frozen"""

    name = "thawed"
    unit: str = field(default="weights", metadata={"help": "in what"})


class Forgets(ExecutorFactory):
    """opens nothing"""

    name = "forgets"

    def open(self, address: str, jobs: int) -> Any:
        ThreadPoolExecutor(jobs)


class Bare(View):
    """a page of nothing"""

    name = "bare"

    def pages(self, checkpoint: Any, results: Any, run: Any) -> Any:
        yield Page("bare", "Bare", ())


class Nameless(SourceBase):
    shown, size, identity = "nameless://x", 0, 0


class Opener(SourceOpener):
    """a source without a name"""

    name, schemes = "nameless", ("nameless",)

    def open(self, location: str) -> Any:
        return Nameless()


class Uncoded(Rule):
    """a rule without a code"""

    name = "uncoded"

    def findings(self, checkpoint: Any, results: Any, run: Any) -> Any:
        yield Finding("found")


@dataclass(frozen=True)
class Norm(Need[float]):
    forgets: bool = False

    def compute(self, tensors: Mapping[str, LazyTensor]) -> Any:
        (tensor,) = tensors.values()
        found = float(tensor.size)
        return None if self.forgets else found


class Norms(View):
    """a table of what it needs"""

    name = "norms"
    forgets = False

    def needs(self, checkpoint: Any, run: Any) -> Any:
        return {"norm": Norm(self.forgets)}

    def pages(self, checkpoint: Any, results: Any, run: Any) -> Any:
        yield Page("norms", "Norms", (Table(("tensor", "norm"), tuple(results["norm"].items())),))


class Unanswered(Norms):
    """the same of a need that forgets its return"""

    forgets = True


class Largest(Collector):
    def __init__(self, idle: bool) -> None:
        self.idle, self.found = idle, 0.0

    def update(self, chunk: Chunk) -> None:
        if not self.idle:
            self.found = max(self.found, float(np.nan_to_num(np.abs(chunk.values)).max(initial=0)))

    def result(self) -> float:
        return self.found


@dataclass(frozen=True)
class Size(Need[float]):
    idle: bool = False

    def collector(self, tensors: Mapping[str, LazyTensor]) -> Collector:
        return Largest(self.idle)


class Sizes(Norms):
    """the largest weight of each tensor"""

    name = "sizes"
    idle = False

    def needs(self, checkpoint: Any, run: Any) -> Any:
        return {"norm": Size(self.idle)}


class Idle(Sizes):
    """the same of a need that looks at no weight"""

    idle = True


def failures(cls: type, **given: Any) -> dict[str, str]:
    found = {}
    for bound in bound_checks(cls, **given):
        try:
            bound()
        except (NotConforming, PluginError) as error:
            found[bound.check.name] = str(error)
    return found


LINE = "write @dataclass(frozen=True) above it"


@pytest.mark.parametrize(
    ("cls", "checks", "told"),
    [
        (Plain, {"is_a_value", "has_options"}, f"Plain is not a dataclass, so it has no options: {LINE}"),
        (Thawed, {"is_a_value"}, f"Thawed is not frozen: {LINE}"),
        (Bare, {"something_is_drawn"}, "no page has a panel"),
        (Uncoded, {"code_and_severity"}, "code is None, not like T101"),
        (Uncoded, {"findings_say_where", "something_is_found", "deterministic"}, "it has no code: letters and three digits"),
    ],
)
def test_it_is_a_line(cls: type, checks: set[str], told: str) -> None:
    found = failures(cls)
    assert {name for name, each in found.items() if told in each} == checks, found


def test_an_executor_that_opens_nothing_is_asked_for_its_return() -> None:
    told = "open returned None, not a context manager, as every Executor is; is a 'return' missing?"
    assert set(failures(Forgets).values()) == {told}


def test_what_a_source_lacks_is_named() -> None:
    found = failures(Opener, files=lambda folder: ["nameless://x"])
    assert found["source_reads_agree"] == "open returned a Nameless, not a Source: it lacks name"
    assert found["shown_holds_no_secrets"] == found["source_reads_agree"]


def test_a_need_that_answers_nothing_is_told() -> None:
    assert failures(Norms) == {}
    found = failures(Unanswered)
    assert list(found) == ["needs_merge"]
    assert found["needs_merge"].startswith("every result of Norm is None; is a 'return' missing?")
    assert failures(Unanswered, declines=True) == {}


class Wide(TensorFilter):
    """answers with a number of numpy's"""

    name = "wide"

    def keep(self, tensor: LazyTensor) -> Any:
        return np.bool_(tensor.ndim > 1)


def test_a_truth_of_numpys_is_an_answer() -> None:
    assert failures(Wide) == {}


def test_an_executor_is_no_stranger_to_the_kit() -> None:
    class Good(ExecutorFactory):
        """threads"""

        name = "good"

        def open(self, address: str, jobs: int) -> Executor:
            return ThreadPoolExecutor(jobs)

    checks: list[Bound] = [each for each in bound_checks(Good) if each.check.name == "work_is_done"]
    for each in checks:
        each()
    assert checks


def test_a_need_whose_update_does_nothing_is_told() -> None:
    assert failures(Sizes) == {}
    found = failures(Idle)
    assert list(found) == ["needs_merge"]
    assert found["needs_merge"].startswith("no weight changes the collector of Size: its update does nothing")
