"""What a function rebuilds has the names of its state, and names are those of places whatever wraps the tensors in them."""

from __future__ import annotations

import functools
import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from tests.loaders.test_wrapped_tensors import NESTED, Wrapper, check, saved, skips
from tests.support.loaders.opened import opened, same
from torch import nn


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of nested tensors being new
        yield


def rebuild(state: Any) -> Any:
    return Rebuilt(state)


def rebuild_more(version: int, state: Any, *more: Any) -> Any:
    return Rebuilt(state)


class Rebuilt:
    """An object that a function makes of its state, as ``persistence`` of StyleGAN and many others do it."""

    def __init__(self, state: Any, *more: Any) -> None:
        self.state, self.more = state, more

    def __reduce__(self) -> Any:
        return (rebuild_more, (3, self.state, *self.more)) if self.more else (rebuild, (self.state,))


class Persistent(nn.Module):
    """A module that a function rebuilds from a mapping in which its state is one entry."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        for index, layer in enumerate(layers):
            setattr(self, f"fc{index}", layer)
        self.register_buffer("w_avg", torch.randn(3))

    def __reduce__(self) -> Any:
        meta = {"type": "class", "version": 6, "module_src": "import os", "class_name": "G", "state": dict(vars(self))}
        return rebuild, (meta,)


def test_a_module_that_a_function_rebuilds_has_the_names_of_its_state_dict(tmp_path: Path) -> None:
    net = nn.Module()
    net.mapping = Persistent(nn.Linear(3, 2), Persistent(nn.Linear(2, 2)))
    net.head = nn.Linear(2, 1)
    state = {name: tensor.detach() for name, tensor in net.state_dict().items()}
    assert "mapping.fc1.fc0.weight" in state
    check(saved(net, tmp_path / "whole.pt"), state)
    check(saved({"G_ema": net}, tmp_path / "in.pt"), {f"G_ema.{name}": tensor for name, tensor in state.items()})
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(net))
    check(opened(tmp_path / "x.pkl"), state)


def test_what_stands_beside_the_state_of_a_rebuilt_module_comes_last(tmp_path: Path) -> None:
    net = Persistent(nn.Linear(2, 2))
    x, y, z = (torch.randn(size) for size in (2, 3, 4))
    meta = {"type": "class", "extra": x, "state": {**vars(net), "loose": z}}
    state = {f"net.{name}": each.detach() for name, each in net.state_dict().items()}
    checkpoint = saved({"net": Rebuilt(meta, {"w": y})}, tmp_path / "x.pt")
    check(checkpoint, {**state, "net.loose": z, "net.2.w": y, "net.extra": x})


def test_graph_modules_have_the_names_of_their_state_dict(tmp_path: Path) -> None:
    graph = torch.fx.symbolic_trace(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)))
    check(saved(graph, tmp_path / "x.pt"), dict(graph.state_dict()))
    check(saved({"net": graph}, tmp_path / "y.pt"), {f"net.{name}": each for name, each in graph.state_dict().items()})


def test_what_a_function_rebuilds_has_the_names_of_its_state(tmp_path: Path) -> None:
    w, x, y = (torch.randn(size) for size in (2, 3, 4))
    value = {
        "first": w,
        "mapping": Rebuilt({"w": w, "n": 3}),
        "alone": Rebuilt(x),
        "items": Rebuilt([w, 5, (x,)]),
        "state": Rebuilt({"type": "class", "state": {"w": x}}),
        "dict": Rebuilt({"__dict__": {"a": {"b": y}}, "n": [1, 2]}),
        "both": Rebuilt({"state": {"w": x}, "more": y}),  # nothing says which of them is the object's own
        "inner": Rebuilt(Rebuilt({"w": y})),
        "one of two": Rebuilt({"w": y}, "text"),
        "two": Rebuilt({"w": y}, {"w": x}),
        "last": x,
    }
    checkpoint = saved(value, tmp_path / "x.pt")
    check(
        checkpoint,
        {
            "first": w,
            "mapping.w": w,
            "alone": x,
            "items.0": w,
            "items.2.0": x,
            "state.w": x,
            "dict.a.b": y,
            "both.state.w": x,
            "both.more": y,
            "inner.w": y,
            "one of two.w": y,
            "two.1.w": y,
            "two.2.w": x,
            "last": x,
        },
    )
    check(saved(Rebuilt({"w": w, "deep": {"x": x}}), tmp_path / "root.pt"), {"w": w, "deep.x": x})


def test_an_optimizers_state_that_a_function_rebuilds_keeps_its_place(tmp_path: Path) -> None:
    state = {"state": {0: {"exp_avg": torch.randn(2)}}, "param_groups": [{"params": [0]}]}
    checkpoint = saved({"o": Rebuilt(state)}, tmp_path / "x.pt")
    assert list(checkpoint) == ["o.state.0.exp_avg"]


def test_what_a_bound_method_belongs_to_is_named_where_it_stands(tmp_path: Path) -> None:
    net = nn.Linear(2, 2)
    for value in ({"hook": net.extra_repr, "net": net}, {"net": net, "hook": functools.partial(net.extra_repr, 1)}):
        check(saved(value, tmp_path / "x.pt"), {f"net.{name}": each for name, each in net.state_dict().items()})
    check(saved({"hook": net.extra_repr}, tmp_path / "x.pt"), {f"hook.{name}": each for name, each in net.state_dict().items()})


def test_states_of_random_generators_are_no_weights(tmp_path: Path) -> None:
    generators = {
        "rng": torch.Generator(),
        "legacy": np.random.RandomState(1),
        "pcg": np.random.default_rng(1),
        "mt": np.random.Generator(np.random.MT19937(1)),
    }
    value = {"w": torch.ones(2), **generators}
    checkpoint = saved(value, tmp_path / "x.pt")
    assert list(checkpoint.part("model")) == ["w"]
    assert {name.split(".")[0] for name in checkpoint if name != "w"} == set(generators)
    assert {part.name: part.kind for part in checkpoint.parts} == {"model": "model", "random": "random"}


class Slotted:
    """An object whose attributes are slots, beside some that are not."""

    __slots__ = ("__dict__", "inner")

    def __init__(self, inner: Any, **rest: Any) -> None:
        self.inner = inner
        vars(self).update(rest)


tensors = st.integers(0, 4).flatmap(lambda size: st.integers(0, 2**31).map(lambda seed: (size, seed)))


def tensor_of(drawn: tuple[int, int]) -> torch.Tensor:
    return torch.randn(drawn[0] + 1, generator=torch.Generator().manual_seed(drawn[1]))


def built(tree: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    """The objects that *tree* stands for, and the plain names of the tensors in them."""
    kind, content = tree
    if kind == "tensor":
        tensor = tensor_of(content)
        return tensor, {"": tensor}
    if kind == "wrapper":
        codes, scale = map(tensor_of, content)
        return Wrapper(codes, scale), {"qdata": codes, "scale": scale}
    if kind == "nested":
        parts = [tensor_of(each) for each in content]
        return torch.nested.nested_tensor(parts), {"": torch.cat(parts)}
    if kind == "rebuilt":
        inner, names = built(content)
        return Rebuilt(inner), names
    if kind == "persistent":
        layer = nn.Linear(2, 2)
        layer.weight = nn.Parameter(tensor_of(content))
        made = Persistent(layer)
        return made, {name: each.detach() for name, each in made.state_dict().items()}
    below = {key: built(each) for key, each in (content.items() if isinstance(content, dict) else enumerate(content))}
    names = {f"{key}.{name}" if name else str(key): each for key, (_, inner) in below.items() for name, each in inner.items()}
    values = {key: value for key, (value, _) in below.items()}
    if kind == "object":
        return Slotted(values.pop("inner", None), **values), names
    return (values if kind == "dict" else list(values.values())), names


keys = st.sampled_from(["weight", "bias", "layer", "inner", "state_of", "0", "w"])
trees = st.recursive(
    st.tuples(st.just("tensor"), tensors)
    | st.tuples(st.just("wrapper"), st.tuples(tensors, tensors))
    | st.tuples(st.just("nested"), st.lists(tensors, min_size=1, max_size=3))
    | st.tuples(st.just("persistent"), tensors),
    lambda inner: (
        st.tuples(st.just("dict"), st.dictionaries(keys, inner, min_size=1, max_size=3))
        | st.tuples(st.just("list"), st.lists(inner, min_size=1, max_size=3))
        | st.tuples(st.just("object"), st.dictionaries(keys, inner, min_size=1, max_size=3))
        | st.tuples(st.just("rebuilt"), inner)
    ),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=st.tuples(st.just("dict"), st.dictionaries(keys, trees, min_size=1, max_size=4)))
def test_names_are_those_of_the_places_whatever_wraps_the_tensors(tree: Any, tmp_path: Path) -> None:
    value, expected = built(tree)
    checkpoint = saved(value, tmp_path / "x.pt")
    assert set(checkpoint) == set(expected)
    assert [name for name in expected if not same(checkpoint[name], expected[name])] == []
    assert set(skips(checkpoint).values()) <= {NESTED}


def test_objects_of_slots_have_the_names_of_their_slots(tmp_path: Path) -> None:
    one, two = torch.randn(2), torch.randn(3)
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"o": Slotted(one, extra=two)}))
    check(opened(tmp_path / "x.pkl"), {"o.extra": two, "o.inner": one})
