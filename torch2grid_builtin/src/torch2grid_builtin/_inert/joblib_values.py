"""Arrays as joblib writes them: raw numbers in the midst of a pickle. Format: ``joblib/numpy_pickle.py``.

``NumpyArrayWrapper`` is pickled in place of an array. Behind the ``BUILD`` that gives it its state (class, shape, order, dtype)
stand one byte with the length of a padding, the padding (both since joblib 1.2), and the numbers; an array of Python objects is
a pickle of its own there.
"""

from __future__ import annotations

import math
import re
from functools import partial
from typing import Any

import numpy as np

from torch2grid_builtin._inert import limits
from torch2grid_builtin._inert.constructors import CONSTRUCTORS, WITHOUT_STORAGES
from torch2grid_builtin._inert.interpreter import Interpreter
from torch2grid_builtin._inert.machine import Machine
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.numpy_values import make_array
from torch2grid_builtin._inert.torch_values import integers
from torch2grid_builtin._inert.values import ML_DTYPES, Global, LongBytes, NumpyArray, NumpyDtype, Pairs, Stub, Tensor, text

MODULE = "joblib.numpy_pickle"
_STATE = ("subclass", "shape", "order", "dtype", "allow_mmap", "numpy_array_alignment_bytes")
_NOT_READ = "the file is damaged, or of a joblib that is not known"


def array_wrapper(machine: Machine, args: tuple[Any, ...]) -> NumpyArray:
    """``NumpyArrayWrapper``: an array whose numbers are in the stream behind its state."""
    if args:
        machine.calls(Global(MODULE, "NumpyArrayWrapper"), args)
    made = NumpyArray()
    made.follows = partial(_read, machine, made)
    return made


def _read(machine: Machine, array: NumpyArray, state: Any) -> None:
    """Take the array off the stream of *machine*, which stands behind the ``BUILD`` of *state*. Raises ``Malformed``."""
    if not isinstance(state, Pairs):
        raise Malformed("an array of joblib without shape and dtype", _NOT_READ)
    machine.work.pairs(len(state.pairs))
    machine.stream.close()  # the numbers stand between two frames
    known = all(text(key) in _STATE for key, _ in state.pairs) and type(state.get("subclass")) in (Global, type(None))
    if not known:  # an attribute that joblib would call in place of a method
        machine.actions.note("state", Global(MODULE, "NumpyArrayWrapper"), certain=True)
    dtype, shape = state.get("dtype"), integers(state.get("shape"), "shape")
    if not isinstance(dtype, NumpyDtype):
        raise Malformed("an array of joblib without a dtype", _NOT_READ)
    if dtype.objects:
        _read_objects(machine, array)
        return
    alignment = state.get("numpy_array_alignment_bytes")
    if alignment is not None:
        (padding,) = machine.stream.raw(1)
        machine.stream.skip(padding)
    size = math.prod(shape) * _width(dtype)
    data = LongBytes(machine.stream.skip(size), False, machine.spool)
    kind = state.get("subclass")
    name = kind.name[:40] if isinstance(kind, Global) else "ndarray"
    note = "" if name in ("ndarray", "memmap") else f"numpy {name}"
    array.tensor = make_array(machine.work, dtype, shape, text(state.get("order")) == "F", data, note)


def _width(dtype: NumpyDtype) -> int:
    """Bytes of one element, of text and structures too. Raises ``Malformed`` where that is not known."""
    if dtype.code in ML_DTYPES:
        return ML_DTYPES[dtype.code].itemsize
    if not re.fullmatch(r"[biufcmMSUV]\d{0,9}", dtype.code):
        raise Malformed(f"an array of joblib of dtype {dtype.code[:40]!r}, of unknown length", _NOT_READ)
    if dtype.code == "V" and dtype.width is not None and dtype.width > 0:
        return dtype.width  # of records, whose length is stated there alone
    try:
        width = np.dtype(dtype.code).itemsize
    except TypeError as error:
        raise Malformed(f"an array of joblib of dtype {dtype.code[:40]!r}, of unknown length", _NOT_READ) from error
    if (dtype.fields or dtype.code[0] in "SUV") and dtype.width != width:  # numpy takes that of the state
        raise Malformed(f"an array of joblib of dtype {dtype.code[:40]!r}, of another length than stated", _NOT_READ)
    return width


def _read_objects(machine: Machine, array: NumpyArray) -> None:
    """An array of Python objects: a pickle inside the pickle, in the same stream, which joblib gives to ``pickle`` itself."""
    inner = Interpreter(machine.stream, CONSTRUCTORS, inside=machine)
    if inner.depth > limits.PICKLES:
        raise Malformed("pickles are nested in pickles", "the file is hostile")
    machine.work.spend(limits.INNER)
    value = inner.load()
    machine.containers, machine.tuples = inner.containers, inner.tuples
    if isinstance(value, NumpyArray):
        array.objects, array.tensor = value.objects, value.tensor
    else:
        array.tensor = Tensor(None, "an array of Python objects, not numbers")


OF_JOBLIB: dict[tuple[str, str], Any] = {**CONSTRUCTORS, (MODULE, "NumpyArrayWrapper"): array_wrapper}
# To pickle, which takes the numbers of such an array for opcodes, its class is one like any other.
AS_PICKLE: dict[tuple[str, str], Any] = {
    **WITHOUT_STORAGES,
    (MODULE, "NumpyArrayWrapper"): lambda machine, args: Stub(Global(MODULE, "NumpyArrayWrapper"), args, "new"),
}
