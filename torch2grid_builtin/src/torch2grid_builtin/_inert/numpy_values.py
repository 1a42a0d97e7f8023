"""Numpy's constructors as data: dtypes, arrays, scalars. Format: ``numpy/_core/src/multiarray``, ``numpy.lib.format``."""

from __future__ import annotations

import math
import re
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from torch2grid_builtin._inert.filled import object_in
from torch2grid_builtin._inert.limits import ARRAY, DIMENSIONS
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.python_values import LATIN, decoded, latin1
from torch2grid_builtin._inert.torch_dtypes import WIDEST
from torch2grid_builtin._inert.torch_values import checked, integers
from torch2grid_builtin._inert.values import (
    ML_DTYPES,
    SCALAR,
    Global,
    LongBytes,
    NumpyArray,
    NumpyDtype,
    OldString,
    Pairs,
    Stub,
    Tensor,
    fortran_strides,
    is_extended,
    numpy_dtype,
    text,
)
from torch2grid_core import LazyTensor
from torch2grid_core.sources import BytesStorage, ByteSwapped, Storage

if TYPE_CHECKING:
    from torch2grid_builtin._inert.limits import Work
    from torch2grid_builtin._inert.machine import Machine

_HAS_OBJECTS = 1  # NPY_ITEM_REFCOUNT, of the flags of a dtype
_OF_OBJECTS = 3  # and NPY_LIST_PICKLE: an array's objects are in a list, not in its bytes
_CODES = re.compile(
    r"[<>=|]?[?a-zA-Z]\d{0,10}(?:\[\w{1,10}\])?|[a-z]\w{2,30}"
)  # of one element, as numpy and ml_dtypes write it
_PLAIN = frozenset([str, bytes, OldString, LongBytes, int, float, bool, type(None)])
_FLAGS_STATED = 3  # version of a dtype's state that states flags; earlier ones are worked out by numpy
_MASKED = frozenset(["numpy.ma.MaskedArray", "numpy.ma.core.MaskedArray", "numpy.ndarray"])
_UTF = ("utf-8", "utf8", "ascii", "us-ascii")
_ENCODE, _SCALAR = Global("_codecs", "encode"), Global("numpy.core.multiarray", "scalar")
_DTYPE = Global("numpy", "dtype")
_CODE = 100  # characters of a dtype's code that are kept: those of numbers are short
_OTHER_ORDER = ">" if sys.byteorder == "little" else "<"


def storage_of(work: Work, value: Any) -> Storage:
    """The bytes of a pickled byte string, wherever it is. Raises ``Malformed`` for anything else."""
    if isinstance(value, bytes):
        return BytesStorage(bytes(value))
    if type(value) is str:  # Python 2 bytes in a protocol that has none
        return BytesStorage(latin1(work, value))
    if isinstance(value, LongBytes):
        return decoded(work, value) if value.is_text else value.storage
    raise Malformed("a numpy array without its bytes")


def make_array(work: Work, dtype: Any, shape: Any, fortran: Any, data: Any, note: str = "") -> Tensor:
    """A tensor of a numpy array's parts. Raises ``Malformed`` where it needs fewer or more bytes."""
    work.spend(ARRAY)
    lengths = integers(shape, "shape")
    if isinstance(dtype, Global):
        dtype = NumpyDtype(_SCALARS.get(dtype.name, dtype.name))
    if not isinstance(dtype, NumpyDtype):
        return Tensor(None, "a numpy array without a dtype")
    number = numpy_dtype(dtype.code)
    if number is None or dtype.fields:
        return Tensor(None, f"a numpy array of dtype {'a structure' if dtype.fields else repr(dtype.code[:40])}, not numbers")
    if is_extended(number):
        return Tensor(None, f"a numpy array of extended precision ({number.itemsize} bytes a number)")
    storage = storage_of(work, data)
    if dtype.order == _OTHER_ORDER and number.itemsize > 1:
        storage = ByteSwapped(storage, number.itemsize // (2 if number.kind == "c" else 1))
    strides = fortran_strides(lengths) if fortran is True or fortran == 1 else None
    if math.prod(lengths) >= 2**63:
        raise Malformed(f"a numpy array of shape {list(lengths)}")
    if math.prod(lengths) * number.itemsize < storage.size:
        raise Malformed(f"a numpy array of shape {list(lengths)} with {storage.size} bytes, more than it needs")
    return Tensor(checked(LazyTensor("", lengths, number, storage, 0, strides, note)))


def build_array(machine: Machine, array: NumpyArray, state: Any) -> None:
    """``ndarray.__setstate__((version, shape, dtype, fortran, data))``, and with mask and fill value. Raises ``Malformed``.

    numpy asks what it makes an array of for its numbers, and where they lie in memory: a fill value that may answer is a call.
    """
    if array.follows is not None:
        follows, array.follows = array.follows, None
        follows(state)
        return
    if type(state) is tuple and len(state) == 2 and type(state[0]) is tuple:
        state = state[0]  # a subclass that adds its attributes
    if type(state) is not tuple or len(state) < 4:
        raise Malformed("a numpy array without shape and dtype")
    shape, dtype, fortran, data = state[1:5] if len(state) >= 5 else state
    beside = state[5:]
    if (
        any(type(each) not in _PLAIN and type(each) is not NumpyArray for each in beside)
        or object_in(machine, beside) is not None
    ):
        callee = Global("numpy.ma", "MaskedArray.__setstate__")
        machine.actions.note("call", callee, Stub(callee, (state,)), certain=True)
    if isinstance(dtype, NumpyDtype) and dtype.code[:1] == "O":
        array.objects = data
        return
    array.tensor = make_array(machine.work, dtype, shape, fortran, data, array.note)


def build_dtype(machine: Machine, dtype: NumpyDtype, state: Any) -> None:
    """``dtype.__setstate__((version, order, subarray, names, fields, …))``. Raises ``Malformed``.

    numpy believes what the state says of itself. One that denies the objects in it, or reaches beyond itself, makes pointers
    of the bytes of an array: it is in the record as a call.
    """
    if type(state) is not tuple or len(state) < 2:
        raise Malformed("a numpy dtype whose state is not a tuple")
    parts = _parts(state, machine.work)
    wrong = dtype.settled or parts is None or object_in(machine, state) is not None
    wrong = wrong or (dtype.code[:1] != "V" and any(part is not None for part in state[2:5]))
    dtype.order = (text(state[1]) or "")[:_CODE]
    dtype.fields = any(part is not None for part in state[2:5])
    dtype.width, dtype.settled = None, True
    objects = dtype.objects or any(inner.objects for inner, _, _ in parts or ())
    flags = state[7] if len(state) > 7 and type(state[7]) is int else 0
    if len(state) > 7 and type(state[5]) is int and type(state[7]) is int:
        dtype.width = state[5]
    for inner, place, length in parts or ():
        inner.settled = True
        wrong = wrong or (type(dtype.width) is int and place + length * _width(inner) > dtype.width)
    stated = type(state[0]) is not int or state[0] >= _FLAGS_STATED
    wrong = wrong or (stated and flags & _OF_OBJECTS != (_OF_OBJECTS if objects else 0))
    dtype.objects = objects or bool(flags & _HAS_OBJECTS)
    if wrong:
        callee = Global("numpy", "dtype.__setstate__")
        machine.actions.note("call", callee, Stub(callee, (state,)), certain=True)


def _parts(state: tuple[Any, ...], work: Work) -> list[tuple[NumpyDtype, int, int]] | None:
    """(dtype, its place, how many of it) of the fields and the subarray in a dtype's state; ``None`` where one is no dtype."""
    found: list[tuple[Any, Any, int]] = []
    subarray, fields = (*state[2:3], None)[0], (*state[4:5], None)[0]
    if subarray is not None:
        if type(subarray) is not tuple or len(subarray) != 2:
            return None
        lengths = subarray[1] if type(subarray[1]) is tuple else (subarray[1],)
        if len(lengths) > DIMENSIONS or not all(type(length) is int and 0 <= length < WIDEST for length in lengths):
            return None
        found.append((subarray[0], 0, math.prod(lengths)))
    if fields is not None:
        if not isinstance(fields, Pairs):
            return None
        work.pairs(len(fields.pairs))
        for _, field in fields.pairs:
            if type(field) is not tuple or len(field) < 2:
                return None
            found.append((field[0], field[1], 1))
    if all(type(inner) is NumpyDtype and type(place) is int and place >= 0 for inner, place, _ in found):
        return found
    return None


def _width(dtype: NumpyDtype) -> int:
    """Bytes of an element, 0 where they are not known."""
    if dtype.width is not None and dtype.width > 0:
        return dtype.width
    digits = dtype.code[1:]
    return int(digits) * (4 if dtype.code[:1] == "U" else 1) if digits.isdecimal() and len(digits) < 10 else 0


def reconstruct(machine: Machine, args: tuple[Any, ...]) -> NumpyArray:
    """``_reconstruct(type, shape, typecode)``: an array whose state follows."""
    if args and isinstance(args[0], Global) and args[0].path == "numpy.memmap":
        args[0].excused = True  # numpy.memmap: an array in memory, made of bytes that are in the pickle
    kind = args[0].name if args and isinstance(args[0], Global) else "ndarray"
    return NumpyArray("" if kind in ("ndarray", "memmap") else f"numpy {kind[:40]}")


def mareconstruct(machine: Machine, args: tuple[Any, ...]) -> NumpyArray:
    """``numpy.ma.core._mareconstruct(…)``: a masked array, whose numbers are read and whose mask is not.

    It makes an object of its first argument, with others.
    """
    of_numpy = len(args) >= 2 and all(isinstance(each, Global) and each.path in _MASKED for each in args[:2])
    if not of_numpy or object_in(machine, args[2:]) is not None:
        machine.calls(machine.callee, args)
    return NumpyArray("masked array, its mask left out")


def dtype_of(machine: Machine, args: tuple[Any, ...]) -> NumpyDtype:
    """``numpy.dtype(code, align, copy)``.

    Of a type that it does not know, of several codes and of another dtype, numpy makes one of objects, too: that is a call.
    """
    code = args[0] if args else ""
    if isinstance(code, Global):
        known = code.module in _OF_CODES and code.name in _OF_CODES[code.module]
        code = _SCALARS.get(code.name, code.name)
    else:
        known = _CODES.fullmatch(text(code) or "") is not None
    if not known:
        machine.calls(_DTYPE, args)
    name = (text(code) or "V")[:_CODE]
    dtype = NumpyDtype(name.lstrip("<>=|"))
    dtype.order = name[0] if name.startswith(("<", ">")) else ""
    return dtype


def scalar(machine: Machine, args: tuple[Any, ...]) -> Any:
    """``numpy.core.multiarray.scalar(dtype, bytes)``: a number, as an array without dimensions."""
    if len(args) != 2 or not isinstance(args[0], NumpyDtype):
        return Stub(_SCALAR, args, "judged")
    made = NumpyArray(SCALAR)
    if args[0].code[:1] == "O":
        made.objects = [args[1]]
    else:
        made.tensor = make_array(machine.work, args[0], (), False, args[1], made.note)
    return made


def frombuffer(machine: Machine, args: tuple[Any, ...]) -> NumpyArray:
    """``numpy._core.numeric._frombuffer(buffer, dtype, shape, order)`` (protocol 5)."""
    if len(args) < 4:
        raise Malformed("broken pickle: a numpy array with too few parts")
    array = NumpyArray()
    array.tensor = make_array(machine.work, args[1], args[2], text(args[3]) == "F", args[0])
    return array


def bytes_of(machine: Machine, args: tuple[Any, ...]) -> Any:
    """``_codecs.encode(text, 'latin1')``: how Python 3 writes bytes in protocols that have none.

    Encodings are modules: but for those of plain texts, naming one is a call, as is a way with what it has no byte for.
    """
    encoding = text(args[1]) if len(args) > 1 else "utf-8"
    if len(args) not in (1, 2) or type(args[0]) not in (str, LongBytes) or encoding not in (*LATIN, *_UTF):
        return machine.calls(_ENCODE, args)
    if isinstance(args[0], LongBytes):
        if not args[0].is_text:
            return args[0]
        found: Any = LongBytes(decoded(machine.work, args[0]) if encoding in LATIN else args[0].storage, False)
    elif encoding in LATIN:
        found = latin1(machine.work, args[0])
    else:
        machine.work.text(len(args[0]))
        found = args[0].encode("utf-8", "surrogatepass")
    machine.keep(found)
    return found


_SCALARS = {name: np.dtype(name).str[1:] for name in ("float64", "float32", "float16", "complex128", "complex64")}
_SCALARS |= {name: np.dtype(name).str[1:] for name in ("int64", "int32", "int16", "int8")}
_SCALARS |= {name: np.dtype(name).str[1:] for name in ("uint64", "uint32", "uint16", "uint8")}
_SCALARS |= {"void": "V", "record": "V"}
_SCALARS |= {"bool_": "b1", "bool": "b1", "object_": "O8", "str_": "U1", "bytes_": "S1"}

# Types that a dtype is made of, by their modules.
_PYTHON = frozenset(("bool", "int", "float", "complex", "str", "bytes", "object", "unicode", "long"))
_OF_CODES = {"builtins": _PYTHON, "__builtin__": _PYTHON, "ml_dtypes": frozenset(ML_DTYPES), "numpy": frozenset(_SCALARS)}
_OF_CODES["numpy"] |= frozenset(("unicode_", "longdouble", "datetime64", "timedelta64", "intp", "uintp", "intc", "uintc"))
_OF_CODES["numpy"] |= frozenset(("longlong", "ulonglong"))

CONSTRUCTORS: dict[tuple[str, str], Any] = {("numpy", "dtype"): dtype_of, ("_codecs", "encode"): bytes_of}
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    CONSTRUCTORS |= {(_module, "_reconstruct"): reconstruct, (_module, "scalar"): scalar}
for _module in ("numpy.core.numeric", "numpy._core.numeric"):
    CONSTRUCTORS |= {(_module, "_frombuffer"): frombuffer}
CONSTRUCTORS |= {("numpy.ma.core", "_mareconstruct"): mareconstruct, ("numpy.ma", "_mareconstruct"): mareconstruct}
