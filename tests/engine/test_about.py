"""``need.about(names)``, rules with a subject and groups: what is about some tensors reads those and no others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.support.memory import REQUESTS, STORE, Plugin

from torch2grid_builtin._transformers.flatten import Flatten
from torch2grid_core import (
    Checkpoint,
    Finding,
    LazyTensor,
    Need,
    Page,
    PluginError,
    PluginManager,
    Rule,
    View,
    check,
    draw,
    measure,
)
from torch2grid_core.grids import matrix_layout
from torch2grid_core.measures import Collector, Duplicates, NotFinite, Of, Profile, Raster, Summary, Transformed, Values
from torch2grid_core.pages import Text
from torch2grid_core.sources import JointTensor
from torch2grid_core.testing._samples import PicklingExecutor

random = np.random.default_rng(2)
ARRAYS = {f"block.{index}.weight": random.normal(size=(30 + index, 40)).astype(np.float32) for index in range(8)}
CHOSEN = ("block.5.weight", "block.2.weight")
NBYTES = sum(ARRAYS[name].nbytes for name in CHOSEN)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Iterator[Checkpoint]:
    """In a store that counts what is read."""
    save_file(ARRAYS, tmp_path / "m.safetensors")
    STORE["m.safetensors"] = (tmp_path / "m.safetensors").read_bytes()
    manager = PluginManager.discover(third_party=False)
    manager.register(Plugin())
    found = manager.open("memory://m.safetensors")
    assert not found.not_run  # which reads the end of the file, once
    REQUESTS.clear()
    yield found
    STORE.clear()


def bytes_read() -> int:
    return sum(int(what.partition("+")[2]) for what, _ in REQUESTS if what != "look")


class Squares(Collector):
    def __init__(self) -> None:
        self.total = 0.0

    def update(self, chunk: Any) -> None:
        self.total += float((chunk.values.astype(np.float64) ** 2).sum())

    def result(self) -> float:
        return self.total


@dataclass(frozen=True)
class OwnNeed(Need[float]):
    def collector(self, tensors: Mapping[str, LazyTensor]) -> Collector:
        return Squares()


@dataclass(frozen=True)
class Read(Need[float]):
    """Reads by itself."""

    def compute(self, tensors: Mapping[str, LazyTensor]) -> Any:
        return sum(float(tensor.numpy().astype(np.float64).sum()) for tensor in tensors.values())


NEEDS: dict[str, Need[Any]] = {
    "summary": Summary((0.5,)),
    "brief": Summary(brief=True),
    "profile": Profile(),
    "not_finite": NotFinite(),
    "duplicates": Duplicates(),
    "values": Values(),
    "own": OwnNeed(),
    "read": Read(),
}


def told(value: Any) -> Any:
    """A result as something that can be compared."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    names = ("count", "mean", "std", "output_norm", "input_norm", "min", "max", "nan", "groups", "units")
    return [np.asarray(getattr(value, name)).tolist() for name in names if hasattr(value, name)] or value


@pytest.mark.parametrize("executor", [None, PicklingExecutor()], ids=["here", "pickled"])
@pytest.mark.parametrize("name", NEEDS)
def test_a_need_about_some_tensors_reads_those_alone(name: str, executor: Any, checkpoint: Checkpoint) -> None:
    whole = {key: told(found["x"]) for key, found in measure(checkpoint, {"x": NEEDS[name]})}
    assert set(whole) == set(ARRAYS)
    REQUESTS.clear()
    some = {key: told(found["x"]) for key, found in measure(checkpoint, {"x": NEEDS[name].about(CHOSEN)}, executor=executor)}
    assert some == {key: whole[key] for key in CHOSEN}
    assert 0 < bytes_read() <= NBYTES
    assert sorted(some) == sorted(CHOSEN)


def test_one_result_about_some_of_the_model(checkpoint: Checkpoint) -> None:
    raster = Raster(matrix_layout(CHOSEN[0], ARRAYS[CHOSEN[0]].shape, 16))
    needs = {"raster": raster.about(CHOSEN), "whole": Transformed(Flatten(), "mean", 64).about(CHOSEN)}
    ((key, found),) = measure(checkpoint, needs)
    assert key is None
    assert found["whole"].weights == sum(ARRAYS[name].size for name in CHOSEN)
    assert [region.name for region in found["whole"].regions] == ["block.2.weight", "block.5.weight"]
    assert found["raster"].weights == ARRAYS[CHOSEN[0]].size
    assert bytes_read() <= NBYTES


def test_one_reading_serves_those_about_all_and_about_some(checkpoint: Checkpoint) -> None:
    needs = {"all": Summary((0.1,)), "some": Summary((0.2,)).about(CHOSEN), "others": OwnNeed().about(["block.0.weight"])}
    found = dict(measure(checkpoint, needs))
    assert {name: sorted(results) for name, results in found.items()} == {
        name: sorted(["all", *["some"] * (name in CHOSEN), *["others"] * (name == "block.0.weight")]) for name in ARRAYS
    }
    assert found[CHOSEN[0]]["some"].mean == found[CHOSEN[0]]["all"].mean
    assert bytes_read() == sum(array.nbytes for array in ARRAYS.values())


def test_of_a_member_of_joint_tensors() -> None:
    def joint(name: str, values: float) -> LazyTensor:
        members = {each: memory(f"{name}.{each}", np.full(6, values + len(each), np.float32)) for each in ("a", "bb")}
        return JointTensor.of(name, members, lambda arrays: arrays["a"] - arrays["bb"], np.float32)

    found = Checkpoint([joint("w", 1), joint("v", 2)], aliases={})
    for need in (Of("bb", Summary()).about(["v"]), Of("bb", Summary().about(["v"]))):
        measured = {key: results["x"] for key, results in measure(found, {"x": need})}
        assert measured["v"].mean == 4
        assert measured.get("w") is None


def memory(name: str, values: np.ndarray) -> LazyTensor:
    STORE[name] = values.tobytes()
    from tests.support.memory import MemorySource

    from torch2grid_core.sources import Range

    return LazyTensor(name, values.shape, values.dtype, Range(MemorySource(name)))


class Norms(View):
    """norms of the chosen"""

    name = "norms"

    def needs(self, checkpoint: Checkpoint, run: Any) -> Mapping[str, Need[Any]]:
        return {"norm": Profile().about(CHOSEN), "sum": Read().about(CHOSEN[:1])}

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Any) -> Iterator[Page]:
        assert [*results["norm"]] == [name for name in checkpoint if name in CHOSEN]
        yield Page("norms", "Norms", (Text(" ".join(results["norm"])),))


def test_a_view_costs_what_it_is_about(checkpoint: Checkpoint) -> None:
    from torch2grid_core._engine.drawing import Seen

    ((page, *_),) = [*draw(checkpoint, [Norms()], seen=Seen())]
    assert page.name == "norms"
    assert bytes_read() <= NBYTES + ARRAYS[CHOSEN[0]].nbytes  # what reads by itself reads once more


class OfTensors(View):
    """asks for a chosen need with the pages of one tensor"""

    name = "of_tensors"

    def tensor_needs(self, tensor: LazyTensor, run: Any) -> Mapping[str, Need[Any]]:
        return {"x": Summary().about([tensor.name])}


def test_wrong_words_are_errors(checkpoint: Checkpoint) -> None:
    with pytest.raises(TypeError, match=r"about\('fc'\) takes several names, as in about\(\['fc'\]\)"):
        Summary().about("fc")
    with pytest.raises(
        PluginError, match=r"about\(…\) names 'block.9.weight', and there is no such tensor; did you mean 'block"
    ):
        list(measure(checkpoint, {"x": Summary().about(["block.9.weight"])}))
    with pytest.raises(PluginError, match="'x' is About, which is of the whole: name it in needs"):
        list(draw(checkpoint, [OfTensors()]))
    assert Summary().about(["a", "b", "a"]) == Summary().about(("a", "b"))
    assert dict(measure(checkpoint, {"x": Summary().about([])})) == {}
    assert bytes_read() == 0


@dataclass(frozen=True)
class Blocks(Rule):
    """finds every tensor that it looks at"""

    name: ClassVar[str] = "blocks"
    code: ClassVar[str] = "X101"

    only: tuple[str, ...] = CHOSEN
    accuses: str = ""

    def subject(self, checkpoint: Checkpoint, run: Any) -> Checkpoint:
        return checkpoint.select(self.only)

    def needs(self, checkpoint: Checkpoint, run: Any) -> Mapping[str, Need[Any]]:
        return {"summary": Summary(brief=True)}

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Any) -> Iterator[Finding]:
        for name, summary in results["summary"].items():
            yield Finding(f"{summary.count} weights", self.accuses or name)


def test_a_rule_judges_its_subject_and_reads_no_other(checkpoint: Checkpoint) -> None:
    seen: set[str] = set()
    found = check(checkpoint, [Blocks()], seen=seen)
    assert [each.tensor for each in found] == ["block.2.weight", "block.5.weight"]
    assert seen == set(CHOSEN)
    assert bytes_read() <= NBYTES
    assert check(checkpoint, [Blocks(only=())], seen=seen) == []
    with pytest.raises(PluginError, match=r"one about 'block.0.weight', which is not among the tensors that the rule is about"):
        check(checkpoint, [Blocks(accuses="block.0.weight")])
    with pytest.raises(PluginError, match=r"'blocks': findings yields one about 'blok.2', and there is no such tensor"):
        check(checkpoint, [Blocks(accuses="blok.2")])


class Doubled(Blocks):
    """judges tensors that it computes"""

    name: ClassVar[str] = "doubled"
    code: ClassVar[str] = "X102"

    def subject(self, checkpoint: Checkpoint, run: Any) -> Checkpoint:
        pair = {"a": checkpoint[CHOSEN[0]]}
        return Checkpoint([JointTensor.of(CHOSEN[0], pair, lambda arrays: arrays["a"] * 2, np.float32)], aliases={})

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Any) -> Iterator[Finding]:
        yield from (Finding(f"{summary.max:.6g}", name) for name, summary in results["summary"].items())


class Wrong(Blocks):
    """has no subject"""

    name: ClassVar[str] = "wrong"
    code: ClassVar[str] = "X103"

    def subject(self, checkpoint: Checkpoint, run: Any) -> Any:
        return list(checkpoint)


def test_a_rule_may_judge_what_it_computes_beside_others(checkpoint: Checkpoint) -> None:
    broken: list[str] = []
    found = check(checkpoint, [Blocks(), Doubled(), Wrong()], failed=lambda rule, error: broken.append(str(error)))
    assert [(each.rule, each.tensor) for each in found] == [
        ("blocks", "block.2.weight"),
        ("blocks", CHOSEN[0]),
        ("doubled", CHOSEN[0]),
    ]
    assert found[-1].message == f"{2 * ARRAYS[CHOSEN[0]].max():.6g}"
    assert broken == ["plugin 'wrong': subject returned a list, not a Checkpoint"]
