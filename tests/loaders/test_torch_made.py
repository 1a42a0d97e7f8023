"""Checkpoints that torch writes here, in each of its formats, read back equal."""

from __future__ import annotations

import argparse
import collections
import gzip
import io
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from tests.support.loaders.opened import bits, named, opened, same, torch_bytes

from torch2grid_core import Checkpoint, LoadError

DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128, torch.bool),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.uint32, torch.uint64),
    *(torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz),
]
SAVERS: dict[str, Callable[[Any, Path], None]] = {
    "zip": lambda value, path: torch.save(value, path),
    "zip, protocol 4": lambda value, path: torch.save(value, path, pickle_protocol=4),
    "legacy": lambda value, path: torch.save(value, path, _use_new_zipfile_serialization=False),
    "legacy, protocol 5": lambda value, path: torch.save(value, path, _use_new_zipfile_serialization=False, pickle_protocol=5),
    "pickle": lambda value, path: path.write_bytes(pickle.dumps(value)),
    "pickle, protocol 0": lambda value, path: path.write_bytes(pickle.dumps(value, 0)),
}


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of sparse, quantized and nested kinds of tensors being new or old
        yield


def saved(value: Any, path: Path, how: str = "zip") -> Checkpoint:
    SAVERS[how](value, path)
    return opened(path)


def check(value: Any, path: Path, how: str = "zip") -> Checkpoint:
    checkpoint = saved(value, path, how)
    expected = dict(named(value))
    assert list(checkpoint) == list(expected)
    assert [name for name in expected if not same(checkpoint[name], expected[name])] == []
    return checkpoint


def random_tensor(dtype: torch.dtype, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    width = torch.empty(0, dtype=dtype).element_size()
    numbers = torch.randint(0, 256, (*shape, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    if dtype == torch.bool:
        return (numbers[..., 0] & 1).bool()
    return numbers.view(dtype).reshape(shape)


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    shape = tuple(draw(st.lists(st.integers(0, 5), max_size=4)))
    made = random_tensor(draw(st.sampled_from(DTYPES)), shape, draw(st.integers(0, 2**31)))
    view = draw(st.sampled_from(["whole", "transposed", "slice", "expanded", "every second"]))
    if view == "transposed" and made.ndim > 1:
        return made.transpose(0, -1)
    if view == "slice" and made.ndim and made.shape[0] > 1:
        return made[1:]
    if view == "expanded" and made.ndim:
        return made[:1].expand(3, *made.shape[1:]) if made.shape[0] else made
    if view == "every second" and made.ndim:
        return made[..., ::2]
    return made


names = st.text(st.characters(codec="utf-8", exclude_characters="."), min_size=1, max_size=8)
trees = st.recursive(
    tensors() | st.integers() | st.floats(allow_nan=False) | st.none() | st.text(max_size=5) | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(names, inner, max_size=4)
        | st.dictionaries(names, inner, max_size=3).map(collections.OrderedDict)
    ),
    max_leaves=10,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=trees, shared=tensors(), how=st.sampled_from(sorted(SAVERS)))
def test_a_random_checkpoint_reads_back_equal(tree: Any, shared: torch.Tensor, how: str, tmp_path: Path) -> None:
    part = shared[..., :1] if shared.ndim else shared.reshape(1)
    value = {"shared one": shared, "tree": tree, "shared two": shared, "a view": [part, (part,)]}
    checkpoint = check(value, tmp_path / "checkpoint", how)
    if shared.numel():
        assert checkpoint.aliases.get("shared two") == "shared one"


@pytest.mark.parametrize("how", sorted(SAVERS))
def test_every_dtype_in_every_format(how: str, tmp_path: Path) -> None:
    value = {str(dtype): random_tensor(dtype, (3, 4), seed) for seed, dtype in enumerate(DTYPES)}
    check(value, tmp_path / "x", how)


def test_views_of_one_storage_share_it(tmp_path: Path) -> None:
    base = torch.arange(24.0)
    for how in ("zip", "legacy"):
        checkpoint = check({"all": base, "t": base.view(4, 6).t(), "mid": base[5:9]}, tmp_path / "x", how)
        assert checkpoint.aliases == {"t": "all", "mid": "all"}


@pytest.mark.parametrize("dtype", [torch.quint8, torch.qint8, torch.qint32])
def test_quantized_tensors_are_dequantised(dtype: torch.dtype, tmp_path: Path) -> None:
    numbers = torch.randn(3, 4, 2, 5, generator=torch.Generator().manual_seed(1))
    whole = torch.quantize_per_tensor(numbers, 0.1, 3, dtype)
    scales, zeros = torch.tensor([0.1, 0.02, 0.3, 0.4]), torch.tensor([0, 1, 2, 3])
    channels = torch.quantize_per_channel(numbers, scales, zeros, 1, dtype)
    last = torch.quantize_per_channel(numbers.to(memory_format=torch.channels_last), scales, zeros, 1, dtype)
    checkpoint = saved({"whole": whole, "channels": channels, "last": last}, tmp_path / "x")
    for name, tensor in (("whole", whole), ("channels", channels), ("last", last)):
        np.testing.assert_array_equal(checkpoint[name].numpy(), tensor.dequantize().numpy())
        assert "dequantised" in checkpoint[name].note
        sums = [float(chunk.sum()) for chunk in checkpoint[name].chunks(64)]
        assert sum(sums) == pytest.approx(float(tensor.dequantize().sum()), rel=1e-4)


@pytest.mark.parametrize("scheme", [torch.per_channel_affine, torch.per_channel_affine_float_qparams])
@pytest.mark.parametrize("dtype", [torch.quint8, torch.qint8, torch.qint32])
def test_channels_are_dequantised_bit_by_bit(dtype: torch.dtype, scheme: Any, tmp_path: Path) -> None:
    floating = scheme is torch.per_channel_affine_float_qparams
    if floating and dtype is torch.qint32:
        pytest.skip("PyTorch itself cannot dequantise these")
    rng, tensors = np.random.default_rng(3), {}
    code = {torch.quint8: np.uint8, torch.qint8: np.int8, torch.qint32: np.int32}[dtype]
    for number in range(20):
        shape = tuple(map(int, rng.integers(1, 7, rng.integers(1, 5))))
        axis = int(rng.integers(0, len(shape)))
        bounds = np.iinfo(code)
        codes = torch.from_numpy(rng.integers(bounds.min, bounds.max, shape, dtype=code, endpoint=True))
        scales = torch.from_numpy(rng.random(shape[axis]) * 0.1)  # in float64, which float32 cannot hold
        zeros = torch.from_numpy(rng.integers(0, bounds.max, shape[axis]))
        if floating:
            scales, zeros = scales.float(), torch.from_numpy(rng.normal(size=shape[axis]).astype(np.float32))
        untyped = torch.storage.TypedStorage(wrap_storage=codes.untyped_storage(), dtype=dtype, _internal=True)
        parameters = (scheme, scales, zeros, axis)
        tensors[str(number)] = torch._utils._rebuild_qtensor(untyped, 0, shape, codes.stride(), parameters, False, {})
    checkpoint = saved(tensors, tmp_path / "x")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = torch.load(tmp_path / "x", weights_only=True)
    for name, tensor in loaded.items():
        assert bits(checkpoint[name]) == torch_bytes(tensor.dequantize()), (name, tensor.shape)


@pytest.mark.parametrize("kind", ["coo", "csr", "csc", "bsr", "bsc"])
def test_sparse_tensors_are_drawn_by_their_values(kind: str, tmp_path: Path) -> None:
    dense = torch.eye(4) * torch.arange(1.0, 5.0)
    sparse = {
        "coo": dense.to_sparse,
        "csr": dense.to_sparse_csr,
        "csc": dense.to_sparse_csc,
        "bsr": lambda: dense.to_sparse_bsr((2, 2)),
        "bsc": lambda: dense.to_sparse_bsc((2, 2)),
    }[kind]()
    checkpoint = saved({"s": sparse, "d": dense}, tmp_path / "x")
    assert list(checkpoint) == ["s", "d"]
    assert bits(checkpoint["s"]) == sparse.coalesce().values().numpy().tobytes() if kind == "coo" else True
    assert sorted(set(checkpoint["s"].numpy().flatten().tolist()) - {0.0}) == [1.0, 2.0, 3.0, 4.0]
    assert f"sparse_{kind} of size [4, 4]" in checkpoint["s"].note


def test_conjugate_and_negative_views(tmp_path: Path) -> None:
    numbers = torch.tensor([1 + 2j, 3 - 4j])
    checkpoint = check({"conj": numbers.conj(), "neg": torch._neg_view(torch.arange(3.0))}, tmp_path / "x")
    assert (checkpoint["conj"].note, checkpoint["neg"].note) == ("conjugate view", "negative view")


def test_parameters_buffers_and_subclasses(tmp_path: Path) -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.tag = torch.zeros(3)  # type: ignore[attr-defined]
    buffer = torch.nn.Buffer(torch.full((2, 2), 7.0))
    checkpoint = saved({"p": parameter, "b": buffer}, tmp_path / "x")
    assert {name: tensor.shape for name, tensor in checkpoint.items()} == {"p": (2,), "b": (2, 2), "p.tag": (3,)}


class Inner(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 2)
        self.register_buffer("kept", torch.arange(3))
        self.register_buffer("not_kept", torch.ones(1), persistent=False)
        self.register_parameter("nothing", None)


class Outer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = Inner()
        self.again = self.first
        self.stack = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
        self.rnn = torch.nn.LSTM(3, 4)
        self.loose = [torch.zeros(5), self.first]
        self.array = np.arange(4.0)


@pytest.mark.parametrize("how", ["zip", "legacy", "pickle"])
def test_a_whole_module_is_its_state_dict_and_what_else_it_holds(how: str, tmp_path: Path) -> None:
    module = Outer()
    checkpoint = saved(module, tmp_path / "x", how)
    state = module.state_dict()
    extra = {"first.not_kept", "again.not_kept", "loose.0", "array"}
    assert set(checkpoint) == set(state) | extra
    assert [name for name in checkpoint if name not in extra] == list(state)
    assert all(same(checkpoint[name], state[name]) for name in state)
    assert checkpoint.aliases["again.linear.weight"] == "first.linear.weight"
    assert checkpoint.parts == ()


def test_a_training_checkpoint_has_parts(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(30, 20), torch.nn.Linear(20, 2))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 30)).sum().backward()
    optimizer.step()
    value = {
        "epoch": 3,
        "ema": model.state_dict(),
        "net": model.state_dict(),
        "opt": optimizer.state_dict(),
        "best": torch.tensor(0.5),
        "args": argparse.Namespace(lr=0.1),
    }
    checkpoint = saved(value, tmp_path / "x")
    assert [(part.name, part.prefix, part.kind) for part in checkpoint.parts] == [
        ("model", "net.", "model"),
        ("optimizer", "opt.", "optimizer"),
        ("ema", "ema.", "copy"),
    ]
    assert checkpoint.default_part == "model"
    assert list(checkpoint.part("model")) == [*model.state_dict(), "best"]
    assert list(checkpoint.part("ema")) == list(model.state_dict())
    assert checkpoint.part("all") is checkpoint
    assert checkpoint.not_run == ()
    assert checkpoint.metadata["epoch"] == "3"


def test_a_pickled_optimizer_has_its_state(tmp_path: Path) -> None:
    parameter = torch.nn.Parameter(torch.ones(4))
    optimizer = torch.optim.Adam([parameter])
    parameter.sum().backward()
    optimizer.step()
    shapes = sorted(tensor.shape for tensor in saved({"o": optimizer}, tmp_path / "x").values())
    assert shapes == [(), (4,), (4,), (4,)]  # step, the parameter, and its two averages


def test_meta_tensors_are_skipped_and_said(tmp_path: Path) -> None:
    checkpoint = saved({"m": torch.empty(3, 2, device="meta"), "w": torch.ones(2)}, tmp_path / "x")
    assert list(checkpoint) == ["w"]
    assert [(skip.name, skip.by) for skip in checkpoint.skipped] == [("m", "torch-zip")]
    assert "meta tensor of size [3, 2]" in checkpoint.skipped[0].reason


def test_keys_that_are_no_text_and_names_that_meet(tmp_path: Path) -> None:
    one = torch.ones(1)
    value = {0: one, "0": one + 1, (1, "a"): one + 2, "a.b": one + 3, "a": {"b": one + 4}, True: one + 5}
    checkpoint = saved(value, tmp_path / "x")
    assert {name: float(tensor.numpy()[0]) for name, tensor in checkpoint.items()} == {
        "0": 1.0,
        "0#2": 2.0,
        "(1, a)": 3.0,
        "a.b": 4.0,
        "a.b#2": 5.0,
        "True": 6.0,
    }


def test_cycles_and_shared_containers(tmp_path: Path) -> None:
    inner: dict[str, Any] = {"w": torch.ones(2)}
    inner["self"] = inner
    outer = {"a": inner, "b": inner, "up": []}
    outer["up"].append(outer)  # type: ignore[attr-defined]
    assert list(saved(outer, tmp_path / "x")) == ["a.w", "b.w"]


def test_numbers_of_numpy_and_containers_of_python(tmp_path: Path) -> None:
    value = {
        "array": np.arange(6.0).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
        "scalar": np.float32(2.5),
        "in a deque": collections.deque([torch.ones(1)]),
        "in a counter": collections.Counter("abc"),
        "in a default dict": collections.defaultdict(list, {"k": [torch.ones(3)]}),
        "text": np.array(["a", "b"]),
        "objects": np.array([None, torch.zeros(4)], dtype=object),
        "bytes": b"\xff\x00",
        "slice": slice(1, 2),
    }
    for protocol in (2, 3, 4, 5):
        path = tmp_path / f"{protocol}.pkl"
        path.write_bytes(pickle.dumps(value, protocol))
        checkpoint = opened(path)
        assert checkpoint["array"].numpy().tolist() == value["array"].tolist()
        assert checkpoint["fortran"].numpy().tolist() == value["fortran"].tolist()
        assert checkpoint["scalar"].numpy() == np.float32(2.5)
        assert {"in a deque.0", "in a default dict.k.0", "objects.1"} <= set(checkpoint)
        assert {skip.name for skip in checkpoint.skipped} == {"text", "objects"}
        assert checkpoint.not_run == ()


def test_long_arrays_stay_in_the_file(tmp_path: Path) -> None:
    value = {"w": np.arange(50_000, dtype=np.float64), "half": np.arange(60_000, dtype=np.float16).reshape(3, -1)}
    for protocol in (0, 2, 3, 5):
        (tmp_path / "x.pkl").write_bytes(pickle.dumps(value, protocol))
        checkpoint = opened(tmp_path / "x.pkl")
        assert all(same(checkpoint[name], value[name]) for name in value)
    torch.save(value, tmp_path / "x.pt")
    checkpoint = opened(tmp_path / "x.pt")
    assert all(same(checkpoint[name], value[name]) for name in value)


def repacked(path: Path, target: Path, method: int, prefix: str | None = None) -> None:
    """The records of a torch zip again in a zip of Python's own, packed or renamed."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w", method) as new:
        for name in old.namelist():
            new.writestr(name if prefix is None else prefix + name.split("/", 1)[1], old.read(name))


@pytest.mark.parametrize("prefix", [None, "", "another name/"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_that_was_packed_again(method: int, prefix: str | None, tmp_path: Path) -> None:
    value = {"w": torch.randn(100, 100), "b": torch.zeros(50_000), "empty": torch.empty(0)}
    torch.save(value, tmp_path / "x")
    repacked(tmp_path / "x", tmp_path / "y", method, prefix)
    checkpoint = opened(tmp_path / "y")
    assert all(same(checkpoint[name], value[name]) for name in value)


def test_a_big_endian_archive(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    value = {"f": torch.arange(6.0), "c": torch.tensor([1 + 2j, 3 - 4j]), "h": torch.arange(5, dtype=torch.int16)}
    torch.save(value, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(tmp_path / "big.pt", "w") as new:
        for name in old.namelist():
            data = old.read(name)
            width = {"archive/data/0": 4, "archive/data/1": 4, "archive/data/2": 2}.get(name)
            if width:
                data = np.frombuffer(data, f"u{width}").byteswap().tobytes()
            new.writestr(name, b"big" if name.endswith("byteorder") else data)
    checkpoint = opened(tmp_path / "big.pt")
    assert all(same(checkpoint[name], value[name]) for name in value)


def test_torchscript_has_the_names_of_its_state_dict(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).eval()
    torch.jit.trace(module, torch.ones(2, 3)).save(tmp_path / "x.pt")
    checkpoint = opened(tmp_path / "x.pt")
    state = module.state_dict()
    assert checkpoint.format == "TorchScript archive"
    assert set(state) <= set(checkpoint)
    assert all(same(checkpoint[name], state[name]) for name in state)


@pytest.mark.parametrize("how", ["zip", "legacy", "pickle"])
def test_gzip_of_any_of_them(how: str, tmp_path: Path) -> None:
    value = {"w": torch.randn(20, 20)}
    SAVERS[how](value, tmp_path / "x")
    (tmp_path / "x.gz").write_bytes(gzip.compress((tmp_path / "x").read_bytes()))
    checkpoint = opened(tmp_path / "x.gz")
    assert same(checkpoint["w"], value["w"])
    assert checkpoint.source == str(tmp_path / "x.gz")


def test_a_damaged_record_is_an_error_for_every_tensor_in_it(tmp_path: Path) -> None:
    base = torch.arange(1000.0)
    torch.save({"head": base[:3], "tail": base[990:], "all": base}, tmp_path / "x")
    raw = bytearray((tmp_path / "x").read_bytes())
    place = raw.index(np.float32(500.0).tobytes() + np.float32(501.0).tobytes())
    raw[place] ^= 1
    (tmp_path / "y").write_bytes(raw)
    for name in ("head", "tail", "all"):
        with pytest.raises(LoadError, match="CRC-32"):
            opened(tmp_path / "y")[name].numpy()
        with pytest.raises(LoadError, match="CRC-32"):
            list(opened(tmp_path / "y")[name].chunks(64))


def test_a_call_is_kept_and_not_made(tmp_path: Path) -> None:
    class Gadget:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "canary",))

    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"w": np.ones(2), "g": Gadget()}))
    checkpoint = opened(tmp_path / "x.pkl")
    assert list(checkpoint) == ["w"]
    assert any("Path.touch" in str(action) or "getattr" in str(action) for action in checkpoint.not_run)
    assert not (tmp_path / "canary").exists()
