"""The names of tensors in what a pickle became: built by hand, so that every place that can hold one is tried."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from torch2grid_builtin._inert import limits, walk
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.values import (
    Bag,
    DtypeName,
    Global,
    NumpyArray,
    OldString,
    Pairs,
    StorageRef,
    Stub,
    Tensor,
    key_text,
)
from torch2grid_builtin._inert.walk import collect
from torch2grid_core import LazyTensor
from torch2grid_core.sources import BytesStorage, Skip

BYTES = BytesStorage(np.arange(8, dtype=np.float32).tobytes())
F4 = np.dtype(np.float32)
AGAIN = "the file sets this key again; the last value is shown"


def t(size: int = 1) -> Tensor:
    return Tensor(LazyTensor("", (size,), F4, BYTES))


def pairs(**entries: Any) -> Pairs:
    return Pairs("dict", list(entries.items()))


def stub(name: str = "Thing", *args: Any, state: Any = None, **rest: Any) -> Stub:
    made = Stub(Global("pkg", name), args, "new")
    made.state = None if state is None else [state]
    for key, value in rest.items():
        setattr(made, key, value)
    return made


def names(root: Any) -> list[str]:
    found = collect(root, "me")
    assert all(tensor.name == name for name, tensor in found.tensors.items())
    return list(found.tensors)


def skips(root: Any) -> list[tuple[str, str]]:
    found = collect(root, "me")
    assert all(skip.by == "me" for skip in found.skipped)
    return [(skip.name, skip.reason) for skip in found.skipped]


def test_containers_give_keys_and_places() -> None:
    root = pairs(a=t(), b=[t(), 5, "x", [1, 2], (t(), [t()])], c=pairs(), d=Bag([t()]), e=3, f=pairs(g=pairs(h=t())))
    assert names(root) == ["a", "b.0", "b.4.0", "b.4.1.0", "d.0", "f.g.h"]
    assert names([t(), (), t()]) == ["0", "2"]
    assert names((t(),)) == ["0"]
    assert names(Bag([3, t()])) == ["1"]
    assert names(t()) == ["tensor"]
    assert names(7) == names([1, 2]) == names(pairs()) == []


def test_what_lies_beside_a_mapping_comes_last() -> None:
    inner, root = pairs(w=t()), pairs(x=t())
    inner.state = pairs(tag=t())
    root.state = [t()]
    root.pairs += [("inner", inner), ("y", t())]
    assert names(root) == ["x", "inner.w", "y", "0", "inner.tag"]


def test_a_key_that_is_a_tensor_is_named_by_its_place() -> None:
    root = Pairs("dict", [("a", 1), (t(), t()), ((t(), 2), 3), ("b", t())])
    assert names(root) == ["1", "b", "1.key", "2.key.0"]
    keyed = Pairs("dict", [(t(), t())])
    holder = stub("Thing", pairs=[(t(), 1)], state=Pairs("dict", [(t(), 2)]))
    root = pairs(o=keyed, b=Bag([keyed]), s=holder, m=module(keyed, None, pairs()))
    assert names(root) == ["o.0", "b.0.0", "m.0", "o.0.key", "s.0.key", "s.0.key#2"]


def test_a_key_that_is_set_again_is_said() -> None:
    first, second, other = t(1), t(2), t(3)
    key = DtypeName("a key that has no text: named by its place among those that are set again")
    root = pairs(
        outer=Pairs(
            "dict",
            [("w", first), ("x", other), ("w", second), ("n", 1), ("n", 2), ("l", [first]), ("l", 0), (key, first), (key, 0)],
        )
    )
    found = collect(root, "me")
    assert {name: tensor.shape for name, tensor in found.tensors.items()} == {"outer.w": (2,), "outer.x": (3,)}
    reason = AGAIN
    assert found.skipped == [Skip("outer.w", reason, "me"), Skip("outer.l", reason, "me"), Skip("outer.3", reason, "me")]


def module(parameters: Pairs, buffers: Any, modules: Pairs, **rest: Any) -> Stub:
    return stub("Module", state=pairs(training=True, **rest, _modules=modules, _buffers=buffers, _parameters=parameters))


def test_a_module_has_the_names_of_its_state_dict() -> None:
    leaf = module(pairs(weight=t(), bias=None), pairs(mean=t()), pairs())
    root = module(pairs(w=t()), None, pairs(first=leaf, again=leaf), hooks=pairs(h=t()), loose=t(), args=[t(), leaf])
    assert names(root) == ["w", "first.weight", "first.mean", "again.weight", "again.mean", "hooks.h", "loose", "args.0"]
    assert names(pairs(model=root))[:2] == ["model.w", "model.first.weight"]
    # Without children or parameters it is an object like another.
    assert names(stub(state=pairs(_parameters=pairs(w=t()), _modules=None))) == ["_parameters.w"]
    assert names(stub(state=pairs(_parameters=None, _modules=pairs(w=t())))) == ["_modules.w"]


def test_an_object_has_entries_items_attributes_and_then_the_rest() -> None:
    thing = stub("Thing", t(), [t()], pairs=[("p", t())], items=[5, t()], kwargs=pairs(k=t()))
    thing.state = [pairs(a=t(), b=7), (None, pairs(slot=t())), [t()]]
    thing.function = stub("function", pairs(inside=t()))
    assert names(pairs(o=thing)) == ["o.p", "o.1", "o.a", "o.slot", "o.0", "o.0#2", "o.1.0", "o.k", "o.0.inside"]
    assert names(stub("Thing", t())) == ["0"]
    assert names(stub("Thing", 3, "x")) == []


def test_shared_tensors_keep_all_their_names() -> None:
    one, inner = t(), pairs(w=t())
    root = pairs(a=one, b=[one], c=inner, d=inner)
    assert names(root) == ["a", "b.0", "c.w", "d.w"]
    # What lies beside the point names only what has no name yet.
    beside = stub("Thing", one, inner, t(), pairs(x=one, y=t(), z=inner))
    assert names(pairs(a=one, c=inner, o=beside)) == ["a", "c.w", "o.2", "o.3.y"]


def test_an_object_inside_itself_is_entered_once() -> None:
    inner: list[Any] = [t()]
    root = pairs(a=inner, b=inner)
    inner += [inner, root]
    assert names(root) == ["a.0", "b.0"]
    loop = stub("Thing", state=pairs(w=t()))
    loop.args = (loop, root)
    assert names(pairs(o=loop)) == ["o.w", "o.1.a.0"]  # what lies beside the point is named once


def test_what_is_nested_too_deep_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DEPTH", 3)
    root = pairs(a=pairs(b=pairs(w=t(), c=pairs(x=t()))), d=t())
    assert names(root) == ["a.b.w", "d"]
    assert skips(root) == [("a.b.c", "nested deeper than 3 levels")]


def test_too_many_tensors_and_too_long_names_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "NAMES", 3)
    assert len(names([t(), t(), t()])) == 3
    with pytest.raises(Malformed, match="more than 3 tensors"):
        names([t(), t(), t(), t()])
    monkeypatch.setattr(limits, "NAME_CHARACTERS", 11)
    assert names(pairs(hello=t(), worlds=t())) == ["hello", "worlds"]
    with pytest.raises(Malformed, match="too long together"):
        names(pairs(hello=t(), worldly=t()))
    with pytest.raises(Malformed, match="too long together"):
        skips(pairs(hello=Tensor(None, "no"), worldly=Tensor(None, "no")))


def test_an_object_that_is_repeated_very_often_is_named_some_of_the_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "_AGAIN", 4)
    monkeypatch.setattr(walk, "_AGAIN_EACH", 0)
    inner, barren = pairs(w=t()), pairs(n=[pairs()])
    for count, told in ((3, False), (4, True)):  # two more times a mapping and a tensor in it
        found = collect([inner] * count + [barren] * 9, "me")
        assert list(found.tensors) == ["0.w", "1.w", "2.w"]
        assert bool(found.notes) == told
    assert found.notes == ["objects that the file repeats very often are named only some of the times"]


def test_names_are_in_proportion_to_what_there_is() -> None:
    """A name that stands in the file is given; those that containers in containers make are given to a part."""
    tied = t()
    assert len(collect(pairs(**{f"k{index}": tied for index in range(10_000)}), "me").tensors) == 10_000
    for wide, deep in ((2, 40), (200, 4), (2, 14)):
        nested: Any = t()
        for _ in range(deep):
            nested = [nested] * wide
        found = collect(nested, "me")
        assert wide <= len(found.tensors) <= 5000
        assert found.notes == ["objects that the file repeats very often are named only some of the times"]
    shared = pairs(**{f"w{index}": t() for index in range(1000)})
    found = collect([shared] * 12, "me")  # as a model that several parts of a training loop hold
    assert (len(found.tensors), found.notes) == (12_000, [])


def test_a_container_of_skipped_entries_is_told_each_time() -> None:
    inner = [Tensor(None, "why")]
    assert skips(pairs(a=inner, b=inner)) == [("a.0", "why"), ("b.0", "why")]
    both = [Tensor(None, "why"), t()]
    assert skips(pairs(a=both, b=both)) == [("a.0", "why"), ("b.0", "why")]
    assert names(pairs(a=both, b=both, c=[both], d=[both])) == ["a.1", "b.1", "c.0.1", "d.0.1"]


def test_arrays_storages_and_what_cannot_be_read() -> None:
    numbers, missing, objects = NumpyArray(), NumpyArray(), NumpyArray()
    numbers.tensor = t(3)
    objects.objects = [1, t(), [t()]]
    attributed, failed = t(), Tensor(None, "too new")
    attributed.state, failed.state = pairs(scale=t()), pairs(kept=t())
    storage = StorageRef(BYTES, "float32", 8)
    root = pairs(n=numbers, m=missing, o=objects, s=storage, a=attributed, f=failed)
    assert names(root) == ["n", "s", "a", "o.1", "o.2.0", "a.scale", "f.kept"]
    assert collect(root, "me").tensors["s"].shape == (8,)
    assert collect(root, "me").tensors["n"].shape == (3,)
    assert skips(root) == [
        ("m", "a numpy array whose content is missing"),
        ("o", "a numpy array of Python objects, not numbers"),
        ("f", "too new"),
    ]


def test_one_value_alone_may_hold_more() -> None:
    objects, attributed = NumpyArray(), t()
    objects.objects = [1, t(), [t()]]
    attributed.state = pairs(scale=t())
    assert names(objects) == ["tensor.1", "tensor.2.0"]
    assert skips(objects) == [("tensor", "a numpy array of Python objects, not numbers")]
    assert names(attributed) == ["tensor", "tensor.scale"]


def test_names_that_meet_are_numbered() -> None:
    root = [pairs(**{"a.b": t(), "a": pairs(b=t()), "a#2": t()}), pairs(x=t())]
    root[0].pairs += [("a.b#2", t()), (Pairs(), t())]
    inner = root[0]
    assert names(inner) == ["a.b", "a.b#2", "a#2", "a.b#2#2", "4"]
    same = Pairs("dict", [("0", t()), (0, t()), (0.0, t()), (OldString(b"0"), t()), (Global("", ""), t())])
    assert names(same) == ["0", "0#3", "."]
    assert skips(same) == [("0", AGAIN), ("0#2", AGAIN)]  # the text of Python 2, and the equal number
    assert skips([Pairs("dict", [("0", Tensor(None, "x")), (0, Tensor(None, "z"))])]) == [("0.0", "x"), ("0.0#2", "z")]
    assert names(pairs(**{"": t()})) == ["tensor"]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("text", "text"),
        (OldString(b"bytes"), "bytes"),
        (OldString(b"\xff"), "ÿ"),
        (b"bytes", "b'bytes'"),
        (5, "5"),
        (True, "True"),
        (2.0, "2"),
        (0.5, "0.5"),
        (2**600, "<integer of 601 bits>"),
        (("a",), "(a)"),
        (("a", 1), "(a, 1)"),
        ((True, "b", 3, "c"), "(True, b, 3, c)"),
        (("a",) * 5, "9"),
        ((), "9"),
        (("a", 1.5), "9"),
        (None, "9"),
        (Global("torch", "float32"), "torch.float32"),
        (DtypeName("float32"), "9"),
    ],
)
def test_the_name_that_a_key_gives(key: Any, expected: str) -> None:
    assert key_text(key, 9) == expected


def refused(root: Any, most: int) -> None:
    """Walking *root* costs *most* units, neither more nor less."""
    work = limits.Work()
    work.left = most
    collect(root, "me", work)
    assert work.left == 0
    work.left = most - 1
    with pytest.raises(Malformed, match="repeats its objects more often"):
        collect(root, "me", work)


def test_each_entry_is_paid_for() -> None:
    pair, name, later, skip = limits.PAIR, 1, limits.KEPT, limits.SKIPPED
    refused([1, 2, 3], 3)
    refused((1, 2, 3), 3)
    refused(Bag([1, 2, 3]), 3)
    refused(pairs(a=1, b=2), 2 * pair)
    refused([t(), 2], 2 + name)
    refused([[1, 2], 3], 2 + 2)  # looked into, and not entered
    refused([[t(), 2], 3], 2 + 2 + 2 + 2 * name)
    refused(pairs(**{"a" * 20: t()}), 2 * pair + 1 + 20 // 8)  # its keys say what it is
    refused([Tensor(None, "why")], 1 + name + skip)
    refused(stub("Thing", 1, 2, items=[3], pairs=[("a", 1)]), 1 + 2 + 1 + pair)
    refused(stub("Thing", state=pairs(a=1, b=2)), 1 + 1 + 2 * pair)
    refused(stub("Thing", [1]), 1 + 1 + later + name + 1)
    refused(module(pairs(w=1), pairs(m=1, n=2), pairs()), 1 + 1 + 4 * pair + 3 * pair)


def test_a_list_of_plain_values_is_looked_at_once() -> None:
    for count in (17, 18, 1000):
        plain = [None] * count
        refused([plain] * 50, 50 + count)
        refused([tuple(plain)] * 50, 50 + count)
    short = [None] * 16
    refused([short] * 50, 50 + 50 * 16)
    held = [*[None] * 99, t()]
    refused([held, held], 2 + 100 + 2 * 100 + 4)
    inside: list[Any] = [None] * 17
    refused([inside, [inside, t()]], 2 + 17 + 2 + 2 + 2)


def test_what_is_repeated_very_often_is_refused_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WORK_ALWAYS", 1 << 21)
    for shared in ([None] * 1_000_000, pairs(a=pairs(n=None))):
        assert names([shared] * 100_000 + [t()]) == ["100000"]
    for held in ([*[None] * 100_000, t()], Pairs("dict", [("a", t()), *[(7, None)] * 100_000])):
        with pytest.raises(Malformed, match="repeats its objects more often"):
            names([held] * 100_000)


def test_long_names_of_containers_are_paid_for() -> None:
    root: Any = [t()]
    for _ in range(900):
        root = Pairs("dict", [("k" * 65_000, root)])
    with pytest.raises(Malformed, match="repeats its objects more often"):
        names(root)


def test_a_tensor_knows_the_class_of_the_module_that_holds_it() -> None:
    def module(of: Global, **state: Any) -> Stub:
        made = Stub(of, (), "new")
        made.state = [pairs(**state)]
        return made

    def classes(root: Any) -> dict[str, str]:
        return {name: tensor.module_class for name, tensor in collect(root, "me").tensors.items()}

    conv = module(
        Global("torch.nn.modules.conv", "Conv1d"),
        _parameters=pairs(weight=t()),
        _buffers=pairs(seen=t()),
        _modules=pairs(),
        x=t(),
    )
    net = module(Global("__main__", "Net"), _parameters=pairs(p=t()), _buffers=pairs(), _modules=pairs(c=conv, again=conv))
    inside = "torch.nn.modules.conv.Conv1d"
    assert classes({"dict": net}["dict"]) == {
        "p": "__main__.Net",
        "c.weight": inside,
        "c.seen": inside,
        "again.weight": inside,
        "again.seen": inside,
        "c.x": "",
    }
    scripts = {
        "__torch__.torch.nn.modules.conv": inside,
        "__torch__.torch.nn.modules.conv.___torch_mangle_12": inside,
        "__torch__.___torch_mangle_3": "Conv1d",
    }
    for module_name, wanted in scripts.items():
        assert classes(module(Global(module_name, "Conv1d"), weight=t(), bias=t())) == {"weight": wanted, "bias": wanted}
    assert classes(pairs(a=t(), b=[t()])) == {"a": "", "b.0": ""}
    assert classes(stub(args=(t(),))) == {"0": ""}
    long = classes(module(Global("m" * 1_000_000, "n" * 1_000_000), weight=t()))["weight"]
    assert len(long) < 1000
