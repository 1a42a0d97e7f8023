"""A NaN planted somewhere in a random tree of what people save: ``check`` must find it, and name where it is.

``python -m tests.support.parts.planted [N]`` tries N trees, 2,000 unless given (``make fuzz``); the suite tries 200.
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings, strategies as st
from tests.support.checks.defects import manager

from torch2grid_builtin._commands.check import Check

KEYS = ("model", "net", "state_dict", "optimizer", "opt", "ema", "model_ema", "teacher", "target", "rng", "scheduler", "state")
KEYS += (
    "callbacks",
    "hyper_parameters",
    "weight",
    "bias",
    "0",
    "1",
    "exp_avg",
    "layers.0.weight",
    "fc.bias",
    "a",
    "module",
    "best",
)
KEYS += ("replay_buffer", "observations", "actions", "rewards", "param_groups", "G", "D", "_extra_state", "epoch", "last_epoch")


class Plain:
    """An object with attributes."""


class Slotted:
    """An object with slots."""

    __slots__ = ("first", "second")


class Sub(torch.Tensor):
    """A subclass that is a tensor itself."""


class Wrapper(torch.Tensor):
    """A subclass that holds its numbers in another tensor."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Wrapper:
        made: Any = torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*(each.inner if isinstance(each, cls) else each for each in args), **(kwargs or {}))

    def __reduce_ex__(self, protocol: Any) -> Any:
        return rebuilt, (self.inner,)


def rebuilt(inner: torch.Tensor) -> Wrapper:
    """The function that a pickle of ``Wrapper`` names."""
    return Wrapper(inner)


DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.complex64, torch.float8_e5m2)
SHAPES = ((), (1,), (3,), (4, 5), (2, 3, 3), (1, 1))


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    """A floating or complex tensor: plain, transposed, a view, a parameter, a buffer, or of a subclass."""
    shape = draw(st.sampled_from(SHAPES))
    tensor = torch.linspace(0.1, 0.9, max(torch.Size(shape).numel(), 1)).reshape(shape).to(draw(st.sampled_from(DTYPES)))
    form = draw(st.sampled_from(("plain", "plain", "transposed", "view", "parameter", "subclass", "wrapper")))
    if form == "transposed" and tensor.ndim > 1:
        return tensor.t() if tensor.ndim == 2 else tensor.transpose(0, 1)
    if form == "view" and tensor.ndim == 2:
        return tensor[1:, ::2]
    if form == "parameter":
        return torch.nn.Parameter(tensor)
    if form == "subclass":
        return tensor.as_subclass(Sub)
    return Wrapper(tensor) if form == "wrapper" else tensor


def _object(values: list[Any]) -> Any:
    made = Plain()
    made.__dict__.update(zip(("kernel", "state", "scale", "running"), values, strict=False))
    return made


def _slotted(values: list[Any]) -> Any:
    made = Slotted()
    made.first, made.second = values[0], values[-1]
    return made


trees = st.recursive(
    tensors() | st.sampled_from((3, 0.5, "text", None)),
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from(KEYS), inner, min_size=1, max_size=5),
        st.lists(inner, min_size=1, max_size=4),
        st.lists(inner, min_size=1, max_size=3).map(tuple),
        st.lists(inner, min_size=1, max_size=3).map(_object),
        st.lists(inner, min_size=1, max_size=2).map(_slotted),
    ),
    max_leaves=12,
)


def places(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, tensor) of each tensor with weights below *value*, under the names that torch2grid gives."""
    if isinstance(value, torch.Tensor):
        if value.numel():
            yield ".".join(path), value
        return
    if isinstance(value, dict):
        inside = list(value.items())
    elif isinstance(value, (list, tuple)):
        inside = [(str(index), item) for index, item in enumerate(value)]
    elif isinstance(value, (Plain, Slotted)):
        names = [*getattr(value, "__dict__", ()), *getattr(value, "__slots__", ())]
        inside = [(name, getattr(value, name)) for name in names]
    else:
        return
    for key, item in inside:
        yield from places(item, (*path, key))


def plant(tensor: torch.Tensor, place: int) -> None:
    """Make one number of *tensor* NaN."""
    target = tensor.inner if isinstance(tensor, Wrapper) else tensor
    with torch.no_grad():
        flat = torch.as_tensor(float("nan")).to(target.dtype)
        index = [int(each) for each in torch.unravel_index(torch.tensor(place % target.numel()), target.shape)]
        target.as_subclass(torch.Tensor).data[tuple(index)] = flat


def check(path: Path) -> tuple[int, str]:
    """The exit code of ``check`` and its report, in this process."""
    result = CliRunner().invoke(
        Check().build(), [str(path), "--jobs", "1", "--format", "json"], obj=manager(), standalone_mode=False
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return int(result.return_value), result.stdout


def found_at(report: str, path: str) -> bool:
    """True where the report has a finding about NaN in the tensor at *path*, whatever number a second one of its name has."""
    names = [each["tensor"] for model in json.loads(report)["models"] for each in model["findings"] if each["code"] == "T101"]
    return any(name == path or name.startswith((f"{path}.", f"{path}#")) for name in names)


def try_tree(folder: Path, tree: Any, which: int, place: int) -> None:
    """Plant a NaN in a tensor of *tree*, save it and check the file. Raises ``AssertionError`` where it is not found."""
    there = list(places(tree))
    if not there:
        return
    name, tensor = there[which % len(there)]
    plant(tensor, place)
    path = folder / "planted.pt"
    torch.save(tree, path)
    code, report = check(path)
    assert code == 1, f"exit code {code}; NaN at {name!r} of {[each for each, _ in there]}"
    names = [other for other, each in there if each is tensor]  # a tensor that stands at several places has one finding
    assert any(found_at(report, each or "tensor") for each in names), f"no finding names {name!r}: {report}"


class Block(torch.nn.Module):
    """A module with a parameter, a buffer and children, that TorchScript can compile."""

    def __init__(self, names: list[str], children: list[Block]) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2, 3))
        self.register_buffer("scale", torch.ones(3))
        for name, child in zip(names, children, strict=False):
            self.add_module(name, child)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale + self.weight[0]


MODULES = ("model", "optimizer", "ema", "teacher", "target", "net", "layers", "a", "rng", "scheduler", "state")
blocks = st.recursive(
    st.builds(Block, st.just([]), st.just([])),
    lambda inner: st.builds(
        Block, st.lists(st.sampled_from(MODULES), min_size=1, max_size=3, unique=True), st.lists(inner, max_size=3)
    ),
    max_leaves=4,
)


def try_module(folder: Path, module: Block, which: int, place: int) -> None:
    """The same for a module that ``torch.jit`` saves."""
    state = module.state_dict()
    name = list(state)[which % len(state)]
    plant(state[name], place)
    path = folder / "planted.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(module).save(str(path))
    code, report = check(path)
    assert code == 1, f"exit code {code}; NaN at {name!r}"
    assert found_at(report, name), f"no finding names {name!r}: {report}"


NUMBERS = st.integers(0, 1000)


def run(examples: int, scripted: int) -> None:
    """Try *examples* trees and *scripted* modules."""
    plain = settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    with tempfile.TemporaryDirectory() as folder:

        @plain
        @given(trees, NUMBERS, NUMBERS)
        def tree(value: Any, which: int, place: int) -> None:
            try_tree(Path(folder), value, which, place)

        @settings(plain, max_examples=scripted)
        @given(blocks, NUMBERS, NUMBERS)
        def module(value: Block, which: int, place: int) -> None:
            try_module(Path(folder), value, which, place)

        tree()
        module()


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    run(count, count // 20)
    print(f"{count} trees and {count // 20} modules with a planted NaN: each found and named")
