"""Constructors of the allow-list with arguments that no writer gives: each is refused or told, and none is believed."""

from __future__ import annotations

import codecs
import collections
import copyreg
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.loaders.machines import machine

from torch2grid_builtin._inert.constructors import CONSTRUCTORS
from torch2grid_builtin._inert.interpreter import Interpreter
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.stream import PickleStream
from torch2grid_builtin._inert.values import Bag, NumpyArray, Pairs, Stub
from torch2grid_core.sources import BytesStorage

multiarray = np._core.multiarray


class Call:
    """Pickled as a call of *function*, which is looked up by name and never called here."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


class Build(Call):
    """The same, with a state that follows."""

    def __init__(self, function: Any, arguments: tuple[Any, ...], state: Any) -> None:
        super().__init__(function, *arguments)
        self.state = state

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments, self.state


def load(value: Any) -> Any:
    return Interpreter(PickleStream(BytesStorage(pickle.dumps(value, 2))), CONSTRUCTORS).load()


def array(state: Any) -> Build:
    return Build(multiarray._reconstruct, (np.ndarray, (0,), b"b"), state)


def dtype(code: str, *state: Any) -> Build | Call:
    return Build(np.dtype, (code, False, True), state) if state else Call(np.dtype, code, False, True)


F4 = dtype("f4", 3, "<", None, None, None, -1, -1, 0)

REFUSED: dict[str, tuple[Any, str]] = {
    "array without dtype": (array((1, (2,))), "without shape and dtype"),
    "array without bytes": (array((1, (2,), F4, False, None)), "without its bytes"),
    "array of other length": (array((1, (2,), F4, False, b"\0" * 12)), "more than it needs"),
    "array cut short": (array((1, (2,), F4, False, b"\0" * 4)), r"size \[2\]"),
    "array beyond addresses": (array((1, (2**40, 2**40), F4, False, b"")), "a numpy array of shape"),
    "dtype with state of text": (Build(np.dtype, ("f4", False, True), "no"), "state is not a tuple"),
    "buffer": (Call(np._core.numeric._frombuffer, b"", F4), "too few parts"),
    "latin of the euro": (Call(codecs.encode, "€", "latin1"), "beyond one byte"),
    "bytes of the euro": (Call(bytearray, "€", "latin-1"), "beyond one byte"),
    "mapping of numbers": (Call(dict, [1, 2]), "a dict made of something else than pairs"),
    "ordered of triples": (Call(collections.OrderedDict, [(1, 2, 3)]), "OrderedDict made of something else"),
    "object of nothing": (Call(copyreg._reconstructor, dict), "too few parts"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused(case: str) -> None:
    value, told = REFUSED[case]
    with pytest.raises(Malformed, match=told):
        load(value)


ARRAYS: dict[str, tuple[Any, str]] = {
    "records": (array((1, (1,), dtype("V8", 3, "|", None, ("a",), {}, 8, 1, 0), False, b"\0" * 8)), "not numbers"),
    "texts": (array((1, (1,), dtype("U1"), False, b"\0" * 4)), "not numbers"),
    "extended": (array((1, (1,), dtype("f16"), False, b"\0" * 16)), "extended precision (16 bytes"),
    "no dtype": (array((1, (1,), 7, False, b"\0")), "without a dtype"),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_an_array_of_no_numbers_is_left_out_with_a_reason(case: str) -> None:
    value, told = ARRAYS[case]
    found = load(value)
    assert isinstance(found, NumpyArray)
    assert found.tensor is not None
    assert found.tensor.lazy is None
    assert told in found.tensor.reason


def test_arrays_that_are_written_otherwise() -> None:
    numbers = np.arange(4, dtype="<f4")
    swapped = dtype("f4", 3, ">", None, None, None, -1, -1, 0)
    for value in (
        array((1, (4,), swapped, False, numbers.astype(">f4").tobytes())),
        array(((1, (4,), F4, False, numbers.tobytes()), {"of": "a subclass"})),
        array((1, (4,), np.float32, False, numbers.tobytes())),  # the class where the dtype belongs
        array((1, (4,), F4, False, numbers.tobytes().decode("latin-1"))),  # Python 2 in a protocol without bytes
        Call(np._core.numeric._frombuffer, numbers.tobytes(), F4, (4,), "C"),
    ):
        found = load(value)
        assert found.tensor.lazy.dtype == np.float32
        np.testing.assert_array_equal(found.tensor.lazy.numpy(), numbers)
    columns = load(array((1, (2, 2), F4, True, numbers.tobytes())))
    np.testing.assert_array_equal(columns.tensor.lazy.numpy(), numbers.reshape(2, 2).T)
    masked = load(Build(np.ma.core._mareconstruct, (np.ma.MaskedArray,), (1, (4,), F4, False, numbers.tobytes())))
    assert masked.note == "masked array, its mask left out"
    objects = load(array((1, (2,), dtype("O8"), False, ["a", "b"])))
    assert (objects.tensor, objects.objects) == (None, ["a", "b"])
    assert load(Call(multiarray.scalar, dtype("O8"), "any")).objects == ["any"]
    assert isinstance(load(Call(multiarray.scalar, 3)), Stub)


def test_plain_containers_of_odd_arguments() -> None:
    pairs = [("a", 1), ("b", 2)]
    for made in (Call(dict, pairs), Call(dict, {"a": 1, "b": 2}), Call(collections.Counter, {"a": 1, "b": 2})):
        found = load(made)
        assert isinstance(found, Pairs)
        assert dict(found.entries()) == {"a": 1, "b": 2}
    assert dict(load(Call(collections.defaultdict, list, {"k": 3})).entries()) == {"k": 3}
    for empty in (Call(dict), Call(collections.defaultdict, list)):
        assert list(load(empty).entries()) == []
    assert load(Call(set, {1, 2})).items == [1, 2]
    assert isinstance(load(Call(frozenset)), Bag)
    assert (load(Call(list, (1, 2))), load(Call(list))) == ([1, 2], [])
    assert (load(Call(tuple, [1, 2])), load(Call(tuple))) == ((1, 2), ())
    for odd in (
        Call(dict, 7),
        Call(list, "ab"),
        Call(tuple, 7),
        Call(list, {1: 2}),
    ):  # asked for items that the file does not show
        reader = machine(pickle.dumps(odd, 2))
        assert isinstance(reader.load(), Stub)
        assert [asked.kind for asked in reader.actions.sorted()] == ["call"]
    assert load(Call(collections.deque, [1, 2])) == [1, 2]
    assert (load(Call(float, 1.5)), load(Call(bool, True))) == (1.5, True)
    assert isinstance(load(Call(complex, 1.0, 2.0)), Stub)
    assert isinstance(load(Call(float, "5")), Stub)
    assert (load(Call(bytearray, "ab", "latin-1")), load(Call(bytearray, b"ab")), load(Call(bytes))) == (b"ab", b"ab", b"")
    assert load(Call(codecs.encode, "ab", "latin1")) == b"ab"
    assert isinstance(load(Call(codecs.encode, "ab", "rot13")), Stub)
    assert isinstance(load(Call(codecs.encode, 7)), Stub)
    assert load(Call(torch.Size, [1, 2])) == (1, 2)
    assert load(Call(torch.Size)) == ()


def test_objects_of_old_protocols_keep_what_they_hold() -> None:
    assert load(Call(copyreg._reconstructor, Call, dict, {"a": 1})).pairs == [("a", 1)]
    assert load(Call(copyreg._reconstructor, Call, list, [1, 2])).items == [1, 2]
    assert load(Call(copyreg._reconstructor, Call, int, 7)).args == (7,)
    assert load(Call(copyreg._reconstructor, Call, object, None)).args == ()
    with pytest.raises(Malformed, match="without a class"):
        Interpreter(PickleStream(BytesStorage(b"ccopyreg\n__newobj__\n)R.")), CONSTRUCTORS).load()


def test_a_storage_inside_a_pickle_is_read_or_left_alone() -> None:
    inner = pickle.dumps("nothing of PyTorch")
    for given in (inner, 7):
        reader = machine(pickle.dumps(Call(torch.storage._load_from_bytes, given), 2))
        assert isinstance(reader.load(), Stub)
        (asked,) = reader.actions.sorted()  # it would load whatever it is given
        assert (asked.kind, asked.name, asked.severity) == ("call", "_load_from_bytes", "error")
