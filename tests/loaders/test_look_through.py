"""What is seen of objects that wrap tensors, built by hand: older layouts, and ones that only look like a wrapper."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from torch2grid_builtin._inert import limits, shards
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.packed import SETTINGS
from torch2grid_builtin._inert.values import Bag, Global, NumpyArray, Pairs, Stub, Tensor
from torch2grid_builtin._inert.walk import collect
from torch2grid_core import LazyTensor
from torch2grid_core.sources import BytesStorage

BYTES = BytesStorage(np.arange(64, dtype=np.float32).tobytes())


def t(*shape: int) -> Tensor:
    return Tensor(LazyTensor("", shape or (1,), np.dtype(np.float32), BYTES))


def pairs(**entries: Any) -> Pairs:
    return Pairs("dict", list(entries.items()))


def stub(path: str, *args: Any, state: Any = None, how: str = "new") -> Stub:
    module, _, name = path.rpartition(".")
    made = Stub(Global(module, name), args, how)
    made.state = None if state is None else [state]
    return made


def notes(root: Any) -> dict[str, str]:
    return {name: tensor.note for name, tensor in collect(root, "me").tensors.items()}


def skips(root: Any) -> dict[str, str]:
    return {skip.name: skip.reason for skip in collect(root, "me").skipped}


def shard(dim: Any = 0, kind: str = "Shard") -> Stub:
    return stub(f"torch.distributed._tensor.placement_types.{kind}", state=pairs(dim=dim))


def spread(mesh: Any, placements: Any, shape: Any = (8, 3), local: Any = None, **rest: Any) -> Pairs:
    spec = stub("x.DTensorSpec", state=pairs(mesh=mesh, placements=placements, tensor_meta=stub("x.TensorMeta", shape)))
    state = (None, pairs(_local_tensor=local or t(2, 3), _spec=spec, **rest))
    return pairs(w=stub("torch.distributed._tensor.api.DTensor", state=state), b=t())


def mesh(**attributes: Any) -> Stub:
    return stub("torch.distributed.device_mesh.DeviceMesh", state=pairs(**attributes))


def layout(**attributes: Any) -> Stub:
    return stub("torch.distributed._mesh_layout._MeshLayout", state=pairs(**attributes))


def test_meshes_of_all_versions_say_which_rank_it_is() -> None:
    axes = [layout(shape=2, stride=4), layout(shape=(2, 2), stride=(2, 1)), layout(shape=(), stride=())]
    for found, said in (
        (mesh(mesh=t(2, 4), _coordinate_on_dim=[1, 2]), "rank 6 of 8"),
        (mesh(_layout=layout(shape=(2, 4), stride=(4, 1)), _rank_map=t(8), _coordinate_on_dim=(1, 2)), "rank 6 of 8"),
        (mesh(_layout=layout(shape=8, stride=1), _rank_map=t(8), _coordinate_on_dim=(6,)), "rank 6 of 8"),
        (mesh(_layout=layout(axes=tuple(axes)), _rank_map=t(8), _coordinate_on_dim=(1, 2, 0)), "rank 6 of 8"),
        (mesh(mesh=t(8), _coordinate_on_dim=[8]), "one rank of several"),
        (mesh(mesh=t(8), _coordinate_on_dim=None), "one rank of several"),
        (mesh(mesh=t(8), _coordinate_on_dim=[1, 2]), "one rank of several"),
        (mesh(mesh=t(8), _coordinate_on_dim=["x"]), "one rank of several"),
        (mesh(_layout="text", _coordinate_on_dim=(1,)), "one rank of several"),
        (mesh(_layout=layout(axes=("text",)), _coordinate_on_dim=(1,)), "one rank of several"),
        (mesh(), "one rank of several"),
        ("text", "one rank of several"),
    ):
        root = spread(found, (shard(),))
        assert notes(root) == {"w": f"{said}, dimension 0, 8×3 in all", "b": ""}
        assert set(skips(root).values()) <= {shards.MESH}


def test_placements_that_lie_are_passed_over() -> None:
    where = mesh(mesh=t(4), _coordinate_on_dim=[3])
    for placements, said in (
        ([shard(1)], "rank 3 of 4, dimension 1, 8×3 in all"),
        ((shard(0), shard(1), shard(0)), "rank 3 of 4, dimensions 0 and 1, 8×3 in all"),
        ((stub("x.Shard", 1),), "rank 3 of 4, dimension 1, 8×3 in all"),
        ((stub("x._Partial"),), "rank 3 of 4, a partial sum"),
        ((shard("x"), shard(-1), shard(10**9), shard(None)), "rank 3 of 4, whole"),
        ("text", "rank 3 of 4, whole"),
        ((1, None, "x"), "rank 3 of 4, whole"),
    ):
        assert notes(spread(where, placements))["w"] == said
    assert notes(spread(where, (shard(),), shape="text"))["w"] == "rank 3 of 4, dimension 0, a scalar in all"
    assert notes(spread(where, (shard(),), extra=t(), more=[t()])) == {
        "w": "rank 3 of 4, dimension 0, 8×3 in all",
        "b": "",
        "w.extra": "",
        "w.more.0": "",
    }


def test_what_is_called_a_wrapper_and_is_none_is_an_object() -> None:
    for root, expected in (
        (stub("x.DTensor", state=pairs(_local_tensor=t())), ["_local_tensor"]),
        (stub("x.DTensor", state=pairs(_local_tensor=t(), _spec=pairs(a=t()))), ["_local_tensor", "_spec.a"]),
        (stub("x.ShardedTensor", state=([t()],)), ["0.0"]),
        (stub("x.ShardedTensor", state=pairs(w=t())), ["w"]),
        (stub("x._rebuild_nested_tensor", t(), t(), how="call"), ["0", "1"]),
        (stub("torch._utils._rebuild_nested_tensor", how="call"), []),
        (stub("torch.nested._internal.nested_tensor._rebuild_njt", t(), how="call"), ["tensor"]),
        (stub("torch.utils.mkldnn.MkldnnLinear", state=pairs(a=t())), ["a"]),
        (stub("x.Generator", state=pairs(weight=t())), ["weight"]),  # the generator of a GAN
        (stub("x.quantized.Conv2d", state=(*range(10), t())), ["10"]),
        (stub("x.Conv2d", state=(*range(10), t(), t(), 1.0, 0, True)), ["10", "11"]),
    ):
        assert list(notes(root)) == expected, root.path
        assert not skips(root)


def test_shards_without_a_size_or_a_rank() -> None:
    about = stub("x.ShardedTensorMetadata", state=pairs(size=(8, 3)))
    one = stub("x.Shard", state=pairs(tensor=t(2, 3), metadata=stub("x.ShardMetadata", state=pairs(shard_sizes=[2, 3]))))
    bare, odd = stub("x.Shard", state=pairs(tensor=t(8, 1))), stub("x.Shard", state=pairs(else_=t(2)))
    group = stub("x.ProcessGroupState", state=pairs(local_rank=7, local_world_size=2, global_rank=1, global_world_size=4))

    def sharded(*shards: Any, group: Any = None, more: Any = False) -> Pairs:
        return pairs(w=stub("x.ShardedTensor", state=(list(shards), about, group, None, more)))

    assert notes(sharded(one)) == {"w": "one rank of several, dimension 0, 8×3 in all"}
    assert notes(sharded(one, group=group)) == {"w": "rank 1 of 4, dimension 0, 8×3 in all"}
    assert notes(sharded(bare, group=group)) == {"w": "rank 1 of 4, dimension 1, 8×3 in all"}
    assert notes(sharded(one, odd)) == {"w": "one rank of several, dimension 0, 8×3 in all", "w.1.else_": ""}
    assert notes(sharded(odd, more=[t()])) == {"w.0.else_": "", "w.0": ""}
    assert skips(sharded()) == {"w": "the rank of this file holds no shard of it, 8×3 in all"}


def script(kind: str, state: Any, archive: bool = False) -> Stub:
    if archive:
        return stub(f"__torch__.torch.classes.{kind}", state=state)
    return stub("torch.ScriptObject", state=(state, f"__torch__.torch.classes.{kind}"))


@pytest.mark.parametrize("archive", [False, True])
def test_packed_objects_of_all_versions(archive: bool) -> None:
    def listed(*items: Any) -> Any:
        return stub("torch.jit._pickle.build_tensorlist", list(items), how="call") if archive else list(items)

    def named(kind: str, state: Any) -> list[str]:
        return list(notes(pairs(x=script(kind, state, archive))))

    linear = "quantized.LinearPackedParamsBase"
    assert named(linear, (t(), t())) == ["x.weight", "x.bias"]
    assert named(linear, (t(), None)) == ["x.weight"]
    assert named(linear, (t(), t(), t())) == ["x.0", "x.1", "x.2"]
    assert named(linear, t()) == ["x"]
    for kind in ("quantized.Conv2dPackedParamsBase", "quantized.Conv3dPackedParamsBase", "quantized.ConvPackedParamsBase"):
        assert named(kind, (3, [1, 2], listed(None, t(), t()))) == ["x.weight", "x.bias"]
        assert named(kind, ("2", listed(t(), t()), listed(None))) == ["x.weight"]
        assert skips(pairs(x=script(kind, ("2", listed(t(), t()), listed(t())), archive))) == {"x.settings": SETTINGS}
        assert named(kind, (3, [t()], listed(None, t(), t()))) == ["x.1.0", "x.2.1", "x.2.2"]
        assert named(kind, (4, t())) == ["x.1"]
    table = "quantized.EmbeddingPackedParamsBase"
    assert named(table, (1, listed(t()), [], [8])) == ["x.weight"]
    assert named(table, (1, listed(t(), t()), [], [8])) == ["x.1.0", "x.1.1"]
    assert named(table, (1, listed(t()), [t()], [8])) == ["x.1.0", "x.2.0"]
    assert named("rnn.Unheard", (t(), [t()])) == ["x.0", "x.1.0"]


def test_cells_that_hold_something_else_keep_their_own_names() -> None:
    def cell(*fields: Any) -> Stub:
        return script("rnn.CellParamsBase", fields)

    one, two = (
        script("quantized.LinearPackedParamsBase", (t(9, 4), t(9))),
        script("quantized.LinearPackedParamsBase", (t(9, 3), None)),
    )
    good = cell("quantized_dynamic", [t(9), t(9)], [], [1], [one, two])
    key = "_all_weight_values.0.param"
    assert list(notes(Pairs("dict", [(key, good)]))) == [
        "weight_ih_l0",
        "weight_hh_l0",
        "bias_ih_l0",
        "bias_ih_l0#2",
        "bias_hh_l0",
    ]
    for bad in (
        cell("quantized", [t()], [], [], [one, two]),
        cell("quantized", [], [t()], [], [one, two]),
        cell("quantized", [], [], [], [one]),
        cell("quantized", [], [], [], [one, t()]),
        cell("quantized", [], [t()], []),
        script("rnn.Other", (t(),)),
        t(),
    ):
        given, plain = notes(Pairs("dict", [(key, bad)])), notes(Pairs("dict", [("w", bad)]))
        assert [name.replace(key, "w") for name in given] == list(plain)
        assert len(given) == len(plain) > 0
        # Where one is not known, those beside it keep their names, too: their numbers would be wrong.
        both = notes(Pairs("dict", [("a." + key, good), ("a." + key.replace("0", "1"), bad), ("b." + key, good)]))
        assert "b.weight_ih_l0" in both
        assert not any("_l0" in name or "_l1" in name for name in both if name.startswith("a."))


def test_plumbing_is_hidden_however_deep_and_paid_for() -> None:
    inner = Bag([[t()], stub("x.Y", t(), state=(pairs(a=t()), None))])
    held = Tensor(t().lazy, "", pairs(of=t()))
    array = NumpyArray()
    array.objects = [t()]
    keyed = Pairs("dict", [(t(), held), ("array", array), ("inner", inner)])
    keyed.state = [t()]
    found = mesh(_rank_map=t(), more=keyed, loop=[])
    found.state[0].get("loop").append(found)
    root = pairs(first=found, w=t(), again=[found])
    assert list(notes(root)) == ["w"]
    assert set(skips(root)) == {
        *("first._rank_map", "first.more.0", "first.more.0.key", "first.more.0.of", "first.more.array", "first.more.array.0"),
        *("first.more.inner.0.0", "first.more.inner.1.0", "first.more.inner.1.a", "first.more.0#2"),
    }
    assert set(skips(root).values()) == {shards.MESH}
    work = limits.Work()
    work.left = 100
    with pytest.raises(Malformed, match="repeats its objects more often"):
        collect(pairs(m=mesh(ranks=list(range(1000)))), "me", work)


def test_looking_for_tensors_in_arguments_is_paid_for_once() -> None:
    plain = [Pairs("dict", [(str(index), [index]) for index in range(100)])]
    calls = [stub("x.f", plain, 1, how="call") for _ in range(50)]
    work = limits.Work()
    before = work.left
    assert list(collect([*calls, t()], "me", work).tensors) == ["50"]
    assert before - work.left < 10_000  # 100 entries that are looked into once, not 50 times


def test_a_long_chain_of_calls_is_followed_once() -> None:
    inner: Any = t()
    for _ in range(limits.DEPTH - 10):
        inner = stub("x.f", inner, [None] * 20, how="call")
    work = limits.Work()
    assert list(collect(pairs(w=inner), "me", work).tensors) == ["w"]
    assert limits.WORK_ALWAYS - work.left < 100 * limits.DEPTH


def test_notes_of_many_shards_are_paid_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WORK_ALWAYS", 1 << 20)
    where = mesh(mesh=t(4), _coordinate_on_dim=[3])
    wide = spread(where, tuple(shard() for _ in range(64)), shape=(2**62,) * 64).get("w")
    assert len(notes(pairs(w=wide))["w"]) < 300
    spec = wide.state[0][1].get("_spec")
    shards_ = [stub("x.DTensor", state=pairs(_local_tensor=t(), _spec=spec)) for _ in range(2000)]
    with pytest.raises(Malformed, match="repeats its objects more often"):
        collect(shards_, "me")
    assert len(collect(shards_[:100], "me").tensors) == 100
