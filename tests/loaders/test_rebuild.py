"""PyTorch's rebuild functions as data, one by one: the numbers against numpy strides, and what is refused, to the byte."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, strategies as st
from tests.support.loaders.rebuilt import FLOATS, NUMBERS, STORAGE, built, made, of, ref, values

from torch2grid_builtin._inert import limits, torch_values as tv
from torch2grid_builtin._inert.constructors import CONSTRUCTORS
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.values import DtypeName, Global, NumpyArray, OldString, Pairs, StorageRef, Stub, Tensor
from torch2grid_core.sources import BytesStorage

TOP = 2**63


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), max_size=4),
    st.integers(0, 26),
    st.sampled_from([(0, 24), (3, 15), (23, 1)]),
)
def test_a_strided_view_is_numpys_or_does_not_fit(dims: list[tuple[int, int]], offset: int, slice_: tuple[int, int]) -> None:
    shape, steps = tuple(length for length, _ in dims), tuple(step for _, step in dims)
    first, numel = slice_
    where = StorageRef(STORAGE, "float32", numel, first=first)
    last = offset + sum((length - 1) * step for length, step in dims)
    if 0 not in shape and last >= numel:
        with pytest.raises(Malformed, match=r"needs \d+ bytes of a storage of \d+"):
            tv.make_tensor(where, offset, shape, steps)
        return
    lazy = made(tv.make_tensor(where, offset, shape, steps))
    assert (lazy.shape, lazy.dtype, lazy.name, lazy.note) == (shape, np.dtype(np.float32), "", "")
    if 0 in shape:
        assert lazy.numpy().shape == shape
        return
    base = NUMBERS[first : first + numel]
    expected = np.lib.stride_tricks.as_strided(base[offset:], shape, [4 * step for step in steps])
    np.testing.assert_array_equal(lazy.numpy(), expected)
    assert lazy.offset == first + offset
    compact = np.zeros(shape, dtype=np.int8)
    in_order = all(length == 1 or step == own for length, step, own in zip(shape, steps, compact.strides, strict=True))
    assert (lazy.strides is None) == in_order
    if lazy.strides is not None:
        assert lazy.strides == tuple(0 if length == 1 else step for length, step in zip(shape, steps, strict=True))


def test_sizes_are_integers_of_63_bits() -> None:
    assert tv.integers((2, 1, TOP - 1, 0), "size") == (2, 1, TOP - 1, 0)
    assert tv.integers([5], "size") == (5,)
    assert tv.integers(Stub(Global("torch", "Size"), ((3, 4),)), "size") == (3, 4)
    assert tv.integers(Stub(Global("torch", "Size"), ()), "size") == ()
    assert len(tv.integers((1,) * limits.DIMENSIONS, "size")) == limits.DIMENSIONS
    for wrong in (3, "ab", (1.0,), (None,), (2, True), Stub(Global("torch", "Other"), ((3,),)), {3: 4}):
        with pytest.raises(Malformed, match="whose size is not a tuple of integers"):
            tv.integers(wrong, "size")
    for wrong in ((-1,), (TOP,)):
        with pytest.raises(Malformed, match="negative or too large stride"):
            tv.integers(wrong, "stride")
    with pytest.raises(Malformed, match="a tensor of 65 dimensions, more than 64"):
        tv.integers((1,) * 65, "size")
    assert (tv.integer(0, "it"), tv.integer(TOP - 1, "it")) == (0, TOP - 1)
    for value in (-1, TOP, True, 1.0, None):
        with pytest.raises(Malformed, match="it is not a number that a tensor can have"):
            tv.integer(value, "it")


WRONG: list[tuple[tuple[Any, ...], str]] = [
    (("no storage", 0, (2,), (1,)), "without a storage"),
    ((Tensor(of(NUMBERS).lazy), 0, (2,), (1,)), "without a storage"),
    ((FLOATS, 0, (2, 2), (1,)), "2 dimensions with 1 strides"),
    ((FLOATS, -1, (2,), (1,)), "offset is not a number"),
    ((FLOATS, 0, (2**32, 2**31), (0, 0)), "more weights than an address can count"),
    ((FLOATS, 0, (25,), (1,)), "needs 100 bytes of a storage of 96"),
    ((FLOATS, 23, (2,), (1,)), "needs 100 bytes of a storage of 96"),
    ((StorageRef(STORAGE, "float32", 25), 0, (25,), (1,)), "cut short|beyond|bytes"),
    ((StorageRef(STORAGE, "qint8", 96), 0, (2,), (1,)), "quantized storage under a tensor that is not"),
    ((StorageRef(STORAGE, "", 96), 0, (25,), (1,), "float32"), "needs 100 bytes of a storage of 96"),
]


@pytest.mark.parametrize(("args", "reason"), WRONG)
def test_a_tensor_that_cannot_be_is_refused(args: tuple[Any, ...], reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        tv.make_tensor(*args)


def test_a_dtype_that_is_not_known_is_said() -> None:
    for name, reason in (
        ("", "dtype unknown is not known"),
        ("int1", "dtype int1 is not known"),
        ("float8_e4m3", "dtype float8_e4m3 is not known"),
        ("quint4x2", "quint4x2 is not read"),
        ("quint2x4", "quint2x4 is not read"),
    ):
        found = tv.make_tensor(StorageRef(STORAGE, name, 24), 0, (2,), (1,))
        assert (found.lazy, found.reason) == (None, reason)
    assert tv.make_tensor(Tensor(None, "why"), 0, (2,), (1,)).reason == "why"
    untyped = StorageRef(STORAGE, "", 96)
    assert values(tv.make_tensor(untyped, 2, (3,), (1,), "float32")) == [3, 4, 5]
    assert values(built("_rebuild_tensor_v3", untyped, 2, (3,), (1,), False, None, DtypeName("float32"))) == [3, 4, 5]
    assert values(built("_rebuild_tensor_v3", untyped, 0, (1,), (1,), False, None, Global("torch", "float"))) == [1]
    assert built("_rebuild_tensor_v3", FLOATS, 0, (1,), (1,), False, None, None).reason == "dtype unknown is not known"


@pytest.mark.parametrize("dtype", ["float64", "int16", "uint8", "bool", "bfloat16", "complex64", "complex128", "float8_e5m2"])
def test_bytes_of_the_other_order_are_turned(dtype: str) -> None:
    array = np.array([1, 0, 1, 1]).astype(getattr(np, dtype, None) or getattr(ml_dtypes, dtype))
    if array.dtype.kind == "c":
        array = (array * (1 + 2j)).astype(dtype)
    width = array.itemsize // (2 if array.dtype.kind == "c" else 1)
    turned = array.view(f"u{width}").byteswap()
    where = StorageRef(BytesStorage(turned.tobytes()), dtype, 4, swapped=True)
    assert made(tv.make_tensor(where, 0, (4,), (1,))).numpy().tobytes() == array.tobytes()
    assert values(tv.make_tensor(ref(array), 1, (2,), (2,))) == array[1::2].tolist()


def test_conjugate_and_negative_views() -> None:
    numbers = np.array([1 + 2j, 3 - 4j], dtype=np.complex64)
    for entries, expected, note in (
        ({"conj": True}, numbers.conj(), "conjugate view"),
        ({"neg": True}, -numbers, "negative view"),
        ({"conj": True, "neg": True}, -numbers.conj(), "conjugate view"),
        ({"neg": False}, -numbers, "negative view"),  # PyTorch looks at the keys alone
        ({"conj": False, OldString(b"neg"): False}, -numbers.conj(), "conjugate view"),
        ({}, numbers, ""),
        ({"other": False}, numbers, ""),
    ):
        flags = Pairs("dict", list(entries.items()))
        for lazy in (
            made(built("_rebuild_tensor_v2", ref(numbers), 0, (2,), (1,), False, Pairs(), flags)),
            made(built("_rebuild_tensor_v3", ref(numbers), 0, (2,), (1,), False, Pairs(), DtypeName("complex64"), flags)),
        ):
            assert lazy.numpy().tolist() == expected.tolist()
            assert lazy.note == note
    for flags in (Pairs("dict", [("neg", 1)]), Pairs("dict", [("conj", "")])):
        with pytest.raises(Malformed, match="in other words than true and false"):
            tv.make_tensor(FLOATS, 0, (2,), (1,), None, flags)
    with pytest.raises(Malformed, match="a conjugate view of float32, which is not complex"):
        tv.make_tensor(FLOATS, 0, (2,), (1,), None, Pairs("dict", [("conj", True)]))
    assert made(built("_rebuild_tensor_v2", FLOATS, 0, (2,), (1,), False, Pairs(), None)).note == ""
    assert made(built("_rebuild_tensor", FLOATS, 0, (2,), (1,))).note == ""


def test_packed_float4() -> None:
    raw = np.array([0x21, 0x43, 0x65, 0x87, 0x10, 0x32], dtype=np.uint8)
    where = StorageRef(BytesStorage(raw.tobytes()), "float4_e2m1fn_x2", 6)
    by_half = [0.5, 1, 1.5, 2, 3, 4, 6, 0, 0, 0.5, 1, 1.5]
    whole = made(tv.make_tensor(where, 0, (2, 3), (3, 1)))
    assert whole.numpy().astype(float).tolist() == [by_half[:6], by_half[6:]]
    assert (whole.note, whole.strides) == ("float4, two a byte", None)
    assert made(tv.make_tensor(where, 1, (2, 1), (3, 9))).numpy().astype(float).tolist() == [[1.5, 2], [0, 0.5]]
    assert made(tv.make_tensor(where, 1, (2, 2), (3, 1))).strides == (6, 1)
    for shape, steps in (((), ()), ((3, 2), (1, 3))):
        reason = tv.make_tensor(where, 0, shape, steps).reason
        assert reason == "packed float4 whose last dimension is not contiguous is not read"
    with pytest.raises(Malformed):
        tv.make_tensor(where, 0, (7,), (1,))


def test_a_storage_alone_is_a_tensor_of_one_dimension() -> None:
    assert values(tv.whole_storage(FLOATS)) == NUMBERS.tolist()
    assert values(tv.whole_storage(StorageRef(STORAGE, "float32", 4, first=2))) == [3, 4, 5, 6]
    assert made(tv.whole_storage(StorageRef(STORAGE, "", 96))).numpy().tobytes() == NUMBERS.tobytes()
    codes = np.array([-1, 2, 3], dtype=np.int32)
    lazy = made(tv.whole_storage(StorageRef(BytesStorage(codes.tobytes()), "qint32", 2, first=1)))
    assert (lazy.numpy().tolist(), lazy.note, lazy.dtype) == ([2, 3], "storage of qint32", np.dtype(np.int32))
    swapped = StorageRef(BytesStorage(codes.byteswap().tobytes()), "qint32", 3, True)
    assert values(tv.whole_storage(swapped)) == [-1, 2, 3]
    assert values(tv.whole_storage(StorageRef(BytesStorage(codes.astype(">f4").tobytes()), "float32", 3, True))) == [-1, 2, 3]


def test_too_few_arguments_are_refused() -> None:
    for name, count, what in (
        ("_rebuild_tensor", 3, "a tensor"),
        ("_rebuild_tensor_v2", 3, "a tensor"),
        ("_rebuild_tensor_v3", 6, "a tensor"),
        ("_rebuild_parameter", 0, "a parameter"),
        ("_rebuild_qtensor", 4, "a quantized tensor"),
        ("_rebuild_sparse_tensor", 1, "a sparse tensor"),
        ("_rebuild_device_tensor_from_numpy", 1, "a tensor"),
    ):
        with pytest.raises(Malformed, match=f"^broken pickle: {what} with {count} arguments$"):
            built(name, *[None] * count)
    with pytest.raises(Malformed, match=r"^broken pickle: a tensor subclass with 2 arguments$"):
        built("_rebuild_from_type_v2", None, None, module="torch._tensor")


def test_an_id_where_a_storage_belongs() -> None:
    assert values(built("_rebuild_tensor", ("storage", "anything"), 1, (2,), (1,))) == [2, 3]
    assert values(built("_rebuild_tensor", (b"storage",), 1, (2,), (1,))) == [2, 3]
    with pytest.raises(Malformed, match="without a storage"):
        built("_rebuild_tensor", ("other",), 1, (2,), (1,))


def test_parameters_are_their_data_with_their_state() -> None:
    data, state = of(NUMBERS), Pairs()
    assert built("_rebuild_parameter", data, True, Pairs()) is data
    with_state = built("_rebuild_parameter_with_state", data, True, Pairs(), state)
    assert (with_state.lazy, with_state.reason, with_state.state) == (data.lazy, "", state)
    assert built("_rebuild_parameter_with_state", Tensor(None, "why"), True, None, state).reason == "why"
    own = Tensor(data.lazy, "", Pairs())
    assert built("_rebuild_parameter_with_state", own, True, None, state) is own
    assert built("_rebuild_parameter", "text", True, None, state) == "text"
    kinds = (("torch.nn.parameter", "Parameter"), ("torch.nn.parameter", "Buffer"), ("torch.autograd.variable", "Variable"))
    for module, name in kinds:
        assert built(name, data, True, module=module) is data
        assert built(name, module=module).reason == "a parameter without data"
    assert built("_rebuild_device_tensor_from_cpu_tensor", data, DtypeName(str(data.lazy.dtype))) is data
    with pytest.raises(Malformed, match="a tensor with 1 arguments"):
        built("_rebuild_device_tensor_from_cpu_tensor", data)


def test_a_subclass_is_the_tensor_it_is_made_of() -> None:
    rebuild = Global("torch._utils", "_rebuild_tensor", CONSTRUCTORS["torch._utils", "_rebuild_tensor"])
    state = Pairs()
    for module, version in (("torch._tensor", "_v2"), ("torch._tensor", ""), ("torch.tensor", "")):
        found = built(
            f"_rebuild_from_type{version}", rebuild, Global("pkg", "Sub"), (FLOATS, 1, (2,), (1,)), state, module=module
        )
        assert values(found) == [2, 3]
        assert (found.state, found.reason) == (state, "")
    assert built("_rebuild_from_type_v2", rebuild, None, (FLOATS, 1, (2,), (1,)), module="torch._tensor").state is None
    unknown = built("_rebuild_from_type_v2", Global("pkg", "make"), None, (1,), state, module="torch._tensor")
    assert isinstance(unknown, Stub)
    assert (unknown.path, unknown.args, unknown.state) == ("pkg.make", (1,), [state])
    inner = Global("", "", lambda machine, args: Tensor(None, "why", "own"))
    assert built("_rebuild_from_type_v2", inner, None, (), state, module="torch._tensor").state == "own"
    again = Stub(Global("pkg", "x"), ())
    again.state = ["first"]
    keeps = Global("", "", lambda machine, args: again)
    assert built("_rebuild_from_type_v2", keeps, None, (), state, module="torch._tensor").state == ["first", state]
    wrapper = built("_rebuild_wrapper_subclass", Global("pkg", "Sub"), "dtype")
    assert (wrapper.path, wrapper.args, wrapper.how) == ("pkg.Sub", (), "tensor")
    assert built("_rebuild_wrapper_subclass").function is None


def test_what_has_no_numbers_says_so() -> None:
    meta = built("_rebuild_meta_tensor_no_storage", DtypeName("float32"), (3, 2))
    assert (meta.lazy, meta.reason) == (None, "a meta tensor of size [3, 2]: the file holds no numbers for it")
    assert "of size []" in built("_rebuild_meta_tensor_no_storage", DtypeName("float32")).reason
    assert built("_get_layout", "torch.sparse_coo", module="torch.serialization") == DtypeName("torch.sparse_coo")
    assert built("_get_layout", module="torch.serialization").path == "torch.serialization._get_layout"
    for value, size in (([2, 3], (2, 3)), ((2,), (2,)), (None, ()), ("ab", ())):
        assert built("Size", value, module="torch") == size
    assert built("Size", module="torch") == ()
    assert built("TypedStorage", FLOATS, module="torch.storage") is FLOATS
    empty = built("TypedStorage", module="torch.storage")
    assert (empty.path, empty.args, empty.how) == ("torch.storage.TypedStorage", (), "new")


def array(numbers: np.ndarray) -> NumpyArray:
    found = NumpyArray()
    found.tensor = of(numbers)
    return found


def test_tensors_of_other_devices_are_the_arrays_they_were_saved_as() -> None:
    numbers = np.array([1.0, -2.0], dtype=np.float32)
    plain = array(numbers)
    name = "_rebuild_device_tensor_from_numpy"
    assert built(name, plain, DtypeName("float32"), "cuda", False) is plain.tensor
    assert built(name, plain, None) is plain.tensor
    assert values(built(name, plain, Global("torch", "bfloat16"))) == [
        1.0,
        -2.0,
    ]  # numpy has none: stored as float32
    for other in (
        DtypeName("int32"),
        DtypeName("float64"),
        DtypeName("unheard"),
    ):  # PyTorch converts: they are in no file
        converted = built("_rebuild_xla_tensor", plain, other)
        assert converted.lazy is None
        assert "numbers of float32 that PyTorch makes" in converted.reason
    halves = array(numbers.astype(ml_dtypes.bfloat16).view(np.int16))
    assert built(name, halves, Global("torch", "bfloat16")).reason.startswith("numbers of int16 that PyTorch makes bfloat16")
    empty = NumpyArray()
    assert built(name, empty, DtypeName("int32")) is empty
    assert built(name, "text", DtypeName("int32")) == "text"
