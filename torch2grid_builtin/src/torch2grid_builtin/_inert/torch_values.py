"""PyTorch's constructors as data: tensors of every kind, parameters. Format: ``torch/_utils.py``, ``torch/_tensor.py``."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from torch2grid_builtin._inert import limits
from torch2grid_builtin._inert.filled import give_state, judge_attributes
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.opened import same_view
from torch2grid_builtin._inert.storages import Dequantised, Flipped, Float4
from torch2grid_builtin._inert.torch_dtypes import DTYPES, PACKED, QUANTISED, WIDEST, dtype_name, itemsize
from torch2grid_builtin._inert.values import TENSOR, DtypeName, Global, NumpyArray, Pairs, StorageRef, Stub, Tensor, text
from torch2grid_core import LazyTensor, LoadError
from torch2grid_core.sources import ByteSwapped, Storage

if TYPE_CHECKING:
    from torch2grid_builtin._inert.machine import Machine

_UNSIGNED = ("uint16", "uint32", "uint64")  # which PyTorch does not negate
_NUMBERS = ("data", "real", "imag", b"data", b"real", b"imag")  # attributes of a tensor that are what it holds


def integers(value: Any, what: str, work: limits.Work | None = None) -> tuple[int, ...]:
    """A size or stride. Raises ``Malformed`` for anything but integers that fit 64 bits, and where *work* is used up."""
    if type(value) is tuple and len(value) <= limits.DIMENSIONS:  # as nearly all are
        for each in value:
            if type(each) is not int or not 0 <= each < WIDEST:
                break
        else:
            if work is not None:
                work.pairs(len(value))
            return value
    if isinstance(value, Stub) and value.path == "torch.Size":
        value = value.args[0] if value.args else ()
    if type(value) not in (tuple, list) or not all(type(each) is int for each in value):
        raise Malformed(f"a tensor whose {what} is not a tuple of integers")
    if work is not None:
        work.pairs(len(value))
    if len(value) > limits.DIMENSIONS:
        raise Malformed(f"a tensor of {len(value)} dimensions, more than {limits.DIMENSIONS}")
    if any(not 0 <= each < WIDEST for each in value):
        raise Malformed(f"a tensor with a negative or too large {what}")
    return tuple(value)


def integer(value: Any, what: str) -> int:
    """A non-negative integer of 64 bits. Raises ``Malformed``."""
    if type(value) is not int or not 0 <= value < WIDEST:
        raise Malformed(f"{what} is not a number that a tensor can have")
    return value


def make_tensor(
    ref: Any,
    offset: Any,
    size: Any,
    stride: Any,
    name: str | None = None,
    metadata: Any = None,
    work: limits.Work | None = None,
) -> Tensor:
    """A strided tensor on a storage. *name*: its dtype where the storage has none. work: what looking at it may cost.

    Raises ``Malformed`` where it lies.
    """
    if isinstance(ref, Tensor) and ref.lazy is None:
        return ref
    if not isinstance(ref, StorageRef):
        raise Malformed("a tensor without a storage")
    shape, steps = integers(size, "size", work), integers(stride, "stride", work)
    first = integer(offset, "a tensor's offset")
    if len(shape) != len(steps):
        raise Malformed(f"a tensor of {len(shape)} dimensions with {len(steps)} strides")
    name = name if name is not None else ref.dtype_name
    count = math.prod(shape)
    if count >= WIDEST:
        raise Malformed(f"a tensor of size {list(shape)}, more weights than an address can count")
    if name in QUANTISED:
        raise Malformed("a quantized storage under a tensor that is not quantized")
    if name in PACKED:
        if name != "float4_e2m1fn_x2":
            return Tensor(None, f"{name} is not read")
        return _packed(ref, first, shape, steps)
    if name not in DTYPES:
        return Tensor(None, f"dtype {name or 'unknown'} is not known")
    dtype = DTYPES[name]
    if name == "float8_e4m3":
        return Tensor(None, f"dtype {name} is not known")
    if ref.swapped and ref.dtype_name not in ("", name):
        return Tensor(None, f"{name} of a storage of {ref.dtype_name} in another byte order is not read")
    storage = typed(ref)
    note = ""
    if isinstance(metadata, Pairs) and metadata.pairs:
        if work is not None:
            work.pairs(2 * len(metadata.pairs))
        conjugate, negate = _flags(metadata, dtype)
        if conjugate or negate:
            storage = Flipped(storage, dtype.name, conjugate, negate)
            note = "conjugate view" if conjugate else "negative view"
    lazy = LazyTensor("", shape, dtype, storage, first, _row_major(shape, steps), note)
    held = ref.numel * itemsize(ref.dtype_name)
    if lazy.size and (first + lazy.span) * dtype.itemsize > held:
        raise Malformed(
            f"a tensor of size {list(shape)[:8]} needs {(first + lazy.span) * dtype.itemsize} bytes of a storage of {held}",
            "the file is cut short or wrong; fetch it again",
        )
    if not ref.first:
        return Tensor(checked(lazy))
    # A slice is counted in the storage's own numbers.
    start, rest = divmod(ref.first * itemsize(ref.dtype_name), dtype.itemsize)
    if rest:
        raise Malformed("a slice of a storage that begins inside of a number")
    return Tensor(checked(replace(lazy, offset=start + first)))


def _flags(metadata: Pairs, dtype: np.dtype[Any]) -> tuple[bool, bool]:
    """Whether a tensor is a conjugate and a negative view. PyTorch looks at the keys alone, and writes ``True`` with them.

    Raises ``Malformed`` where PyTorch has no such view of these numbers.
    """
    found = {}
    for key, value in metadata.pairs:
        name = text(key)
        if name in ("conj", "neg"):
            if type(value) is not bool:
                raise Malformed("a tensor that is a conjugate or negative view in other words than true and false")
            found[name] = True
    if "conj" in found and dtype.kind != "c":
        raise Malformed(f"a conjugate view of {dtype.name}, which is not complex")
    if "neg" in found and (dtype.kind == "b" or dtype.name in _UNSIGNED or dtype.name.startswith("float8")):
        raise Malformed(f"a negative view of {dtype.name}, which PyTorch has none of")
    return "conj" in found, "neg" in found


def _row_major(shape: tuple[int, ...], steps: tuple[int, ...]) -> tuple[int, ...] | None:
    """*steps*, or ``None`` where they are those of C order; a dimension of length 1 has stride 0."""
    expected = 1
    if 0 in shape:
        return None
    for length, step in zip(reversed(shape), reversed(steps), strict=True):
        if length != 1 and step != expected:
            return tuple(0 if length == 1 else step for length, step in zip(shape, steps, strict=True))
        expected *= length
    return None


def checked(tensor: LazyTensor) -> LazyTensor:
    """*tensor*, if its storage holds it. Raises ``Malformed``."""
    try:
        return tensor.check()
    except LoadError as error:
        raise Malformed(
            f"a tensor of size {list(tensor.shape)[:8]} {error.reason}", "the file is cut short or wrong; fetch it again"
        ) from error


def typed(ref: StorageRef) -> Storage:
    """The storage's bytes in this machine's byte order. PyTorch leaves one without a dtype, as ``uint16`` has, as it is."""
    width = itemsize(ref.dtype_name) // (2 if ref.dtype_name.startswith("complex") else 1)
    return ByteSwapped(ref.storage, width) if ref.swapped and width > 1 else ref.storage


def _packed(ref: StorageRef, first: int, shape: tuple[int, ...], steps: tuple[int, ...]) -> Tensor:
    """float4, two a byte: PyTorch counts bytes, so the last dimension is twice as long as the shape says."""
    if not shape or (shape[-1] != 1 and steps[-1] != 1):
        return Tensor(None, "packed float4 whose last dimension is not contiguous is not read")
    storage = Float4(ref.storage, ref.storage.size * 2)
    full = (*shape[:-1], 2 * shape[-1])
    strides = (*(2 * step for step in steps[:-1]), 1)
    note = "float4, two a byte"
    return Tensor(checked(LazyTensor("", full, Float4.dtype, storage, 2 * first, _row_major(full, strides), note)))


def whole_storage(ref: StorageRef) -> Tensor:
    """A storage that is saved alone, as a tensor of one dimension; bytes where it has no dtype."""
    name = ref.dtype_name or "uint8"
    if name in QUANTISED:
        dtype = np.dtype(QUANTISED[name])
        return Tensor(checked(LazyTensor("", (ref.numel,), dtype, typed(ref), ref.first, note=f"storage of {name}")))
    return make_tensor(StorageRef(ref.storage, name, ref.numel, ref.swapped, ref.first), 0, (ref.numel,), (1,))


def _arguments(args: tuple[Any, ...], fewest: int, what: str) -> tuple[Any, ...]:
    if len(args) < fewest:
        raise Malformed(f"broken pickle: {what} with {len(args)} arguments")
    return args


def rebuild_tensor(machine: Machine, args: tuple[Any, ...]) -> Tensor:
    """``_rebuild_tensor(storage, offset, size, stride)`` and v2 (…, requires_grad, hooks, metadata)."""
    ref, offset, size, stride, *rest = _arguments(args, 4, "a tensor")
    if type(ref) is tuple and ref[:1] in (("storage",), (b"storage",)):
        ref = machine.persistent_load(ref)  # some writers of tars put the id itself where the storage belongs
    return make_tensor(ref, offset, size, stride, None, rest[2] if len(rest) > 2 else None, machine.work)


def rebuild_tensor_v3(machine: Machine, args: tuple[Any, ...]) -> Tensor:
    """``_rebuild_tensor_v3(storage, offset, size, stride, requires_grad, hooks, dtype, metadata)``."""
    ref, offset, size, stride, _, _, dtype, *rest = _arguments(args, 7, "a tensor")
    return make_tensor(ref, offset, size, stride, dtype_name(dtype) or "", rest[0] if rest else None, machine.work)


def build_tensor(work: limits.Work, target: Tensor, state: Any) -> None:
    """``BUILD`` on a tensor: its storage where it has none yet, or the flags and hooks of a ``Variable`` before PyTorch 0.4.

    Raises ``Malformed`` for any other state: ``set_`` and ``__setstate__`` spread it out, whatever it is, for other numbers.
    """
    if target.empty and type(state) is tuple and len(state) == 4:  # Tensor.set_(storage, offset, size, stride)
        ref, offset, size, stride = state
        if ref is None:  # the storages of this pickle are not at hand
            target.empty = ""
            return
        if not isinstance(ref, StorageRef) or ref.dtype_name != target.empty:
            raise Malformed("a tensor that is given a storage of another kind")
        made = make_tensor(ref, offset, size, stride, None, None, work)
        target.lazy, target.reason, target.empty = made.lazy, made.reason, ""
        return
    flags = type(state) is tuple and len(state) == 3 and type(state[0]) is bool and type(state[1]) is bool
    if not flags or not (state[2] is None or type(state[2]) is Pairs):
        raise Malformed("a tensor whose state would replace its numbers", "the file is hostile")
    target.state = state


def _check_attributes(work: limits.Work, state: Any, data: Any = None) -> None:
    """Raise ``Malformed`` where PyTorch would set an attribute of a tensor that is its numbers.

    data: the tensor; that its numbers are set to themselves, as bitsandbytes' ``Params4bit`` does, changes nothing.
    """
    for half in state if type(state) is tuple else (state,):
        if isinstance(half, Pairs):
            work.pairs(len(half.pairs))
            for key, value in half.pairs:
                if not (key in _NUMBERS if isinstance(key, (str, bytes)) else type(key) is Stub):
                    continue
                if (
                    key == "data"
                    and all(isinstance(each, Tensor) for each in (data, value))
                    and same_view(data.lazy, value.lazy)
                ):
                    continue
                raise Malformed("a tensor whose attributes would replace its numbers", "the file is hostile")


def rebuild_parameter(machine: Machine, args: tuple[Any, ...]) -> Any:
    """``_rebuild_parameter(data, requires_grad, hooks)``, and ``…_with_state`` (…, state): the data."""
    data, *rest = _arguments(args, 1, "a parameter")
    if len(rest) > 2:
        _check_attributes(machine.work, rest[2], data)
        judge_attributes(machine, Global("torch", "Tensor"), rest[2])
    if len(rest) > 2 and isinstance(data, Tensor) and data.state is None:
        return Tensor(data.lazy, data.reason, rest[2], data.beside)
    return data


def rebuild_parameter_of(machine: Machine, args: tuple[Any, ...]) -> Any:
    """``Parameter(data, …)`` or ``Variable(data, …)`` itself."""
    return args[0] if args and args[0] is not None else Tensor(None, "a parameter without data")


def tensor_itself(dtype_name: str) -> Callable[[Machine, tuple[Any, ...]], Any]:
    """``torch.Tensor(…)`` and ``torch.FloatTensor(…)``, of storages of that dtype.

    Without arguments it is empty until ``BUILD`` gives it a storage. A storage or a tensor is shown as what it is. Of sizes it
    would be memory that nothing was written to; numbers in the pickle are not read.
    """

    def made(machine: Machine, args: tuple[Any, ...]) -> Any:
        if not args:
            empty = Tensor(None, "a tensor without numbers")
            empty.empty = dtype_name
            return empty
        if len(args) == 1 and isinstance(args[0], StorageRef):
            if args[0].dtype_name != dtype_name:
                raise Malformed("a tensor that is made of a storage of another kind")
            return whole_storage(args[0])
        if len(args) == 1 and isinstance(args[0], Tensor):
            return args[0]
        if all(type(each) is int for each in args) or isinstance(args[0], Stub):
            return Tensor(None, "a tensor of a size alone: the file holds no numbers for it")
        return Tensor(None, "a tensor of numbers in the pickle is not read")

    return made


def rebuild_from_type(machine: Machine, args: tuple[Any, ...]) -> Any:
    """``_rebuild_from_type_v2(function, type, args, state)``: a tensor subclass is the tensor it is made of."""
    function, _, inner, *state = _arguments(args, 3, "a tensor subclass")
    machine.actions.values(state, machine.work, excused=False)
    if state:
        _check_attributes(machine.work, state[0])
    made = machine.call(function, inner)
    if not state:
        return made
    if isinstance(made, Stub) and made.how != TENSOR:  # PyTorch calls ``__setstate__`` of whatever class it is
        give_state(machine, made, state[0])
        return made
    judge_attributes(machine, Global("torch", "Tensor"), state[0])
    if isinstance(made, Tensor) and made.state is None:
        return Tensor(made.lazy, made.reason, state[0], made.beside)
    if isinstance(made, Stub):
        made.state = [*(made.state or ()), state[0]]
    return made


def rebuild_wrapper(machine: Machine, args: tuple[Any, ...]) -> Stub:
    """``_rebuild_wrapper_subclass(type, dtype, size, …)``: its data are the tensors in its state."""
    return Stub(args[0] if args else None, (), TENSOR)


def rebuild_meta(machine: Machine, args: tuple[Any, ...]) -> Tensor:
    """``_rebuild_meta_tensor_no_storage(dtype, size, …)``: a shape without numbers."""
    size = integers(args[1], "size") if len(args) > 1 else ()
    return Tensor(None, f"a meta tensor of size {list(size)[:8]}: the file holds no numbers for it")


def rebuild_quantised(machine: Machine, args: tuple[Any, ...]) -> Tensor:
    """``_rebuild_qtensor(storage, offset, size, stride, (scheme, …), requires_grad, hooks)``, as float32."""
    ref, offset, size, stride, parameters, *_ = _arguments(args, 5, "a quantized tensor")
    if not isinstance(ref, StorageRef) or type(parameters) is not tuple or len(parameters) < 3:
        raise Malformed("a quantized tensor without storage or scale")
    if ref.dtype_name not in QUANTISED:
        return Tensor(None, f"quantized dtype {ref.dtype_name or 'unknown'} is not read")
    code = np.dtype(QUANTISED[ref.dtype_name])
    scheme = parameters[0].name if isinstance(parameters[0], Global) else str(text(parameters[0]))
    shape, steps = integers(size, "size", machine.work), integers(stride, "stride", machine.work)
    first = integer(offset, "a tensor's offset") + ref.first
    if len(shape) != len(steps):
        raise Malformed(f"a tensor of {len(shape)} dimensions with {len(steps)} strides")
    inner, count, note = typed(ref), ref.storage.size // code.itemsize, f"{ref.dtype_name}, dequantised"
    if scheme.endswith("per_tensor_affine"):
        scale, zero = parameters[1:3]
        if not isinstance(scale, (int, float)) or type(zero) is not int or abs(zero) > 2**62:
            raise Malformed("a quantized tensor whose scale is not a number")
        storage = Dequantised(inner, code.str, count, (float(scale),), (float(zero),))
    elif scheme.startswith("per_channel_affine") and len(parameters) > 3:
        axis = parameters[3]
        if type(axis) is not int or not 0 <= axis < len(shape):
            raise Malformed("a quantized tensor whose channels are along no dimension of it")
        scales, zeros = _small_values(parameters[1], machine.work), _small_values(parameters[2], machine.work)
        kind = "f4" if _floating_zeros(parameters[2], scheme) else "f8"
        if kind == "f8":
            zeros = tuple(float(math.trunc(each)) for each in zeros)
        if len(scales) != shape[axis] or len(zeros) != shape[axis]:
            raise Malformed(f"a quantized tensor with {len(scales)} scales for {shape[axis]} channels")
        if kind == "f4" and not all(_is_float32(each) for each in parameters[1:3]):
            raise Malformed("a quantized tensor with scales and zero points of kinds that PyTorch does not write together")
        storage = Dequantised(inner, code.str, count, scales, zeros, first, max(steps[axis], 1), kind)
        if not scales or steps[axis] == 0 or not _nested(shape, steps, axis):
            return Tensor(None, f"{ref.dtype_name} with these strides is not read")
    else:
        return Tensor(None, f"quantization scheme {scheme} is not read")
    return Tensor(checked(LazyTensor("", shape, storage.dtype, storage, first, _row_major(shape, steps), note)))


def _nested(shape: tuple[int, ...], steps: tuple[int, ...], axis: int) -> bool:
    """True where the channel of a stored element follows from its place: dimensions inside the channel's stay inside it."""
    period = steps[axis] * shape[axis]
    for each, (length, step) in enumerate(zip(shape, steps, strict=True)):
        if each != axis and length > 1 and not (step % period == 0 or step * length <= steps[axis]):
            return False
    return True


def _floating_zeros(value: Any, scheme: str) -> bool:
    """True where PyTorch keeps zero points and scales as float32: it looks at their dtype, of a list at the scheme."""
    if isinstance(value, Tensor) and value.lazy is not None:
        return value.lazy.dtype.kind not in "iub"
    return scheme.endswith("_float_qparams")


def _is_float32(value: Any) -> bool:
    """True for what PyTorch reads as float32, numbers in a list too: other tensors it would read as if they were."""
    return not isinstance(value, Tensor) or value.lazy is None or value.lazy.dtype == np.float32


def _small_values(value: Any, work: limits.Work) -> tuple[float, ...]:
    if (
        type(value) is list
        and len(value) <= 1 << 20
        and all(type(each) in (int, float) and abs(each) < 2**64 for each in value)
    ):
        work.pairs(len(value))
        return tuple(map(float, value))
    lazy = value.lazy if isinstance(value, Tensor) else None
    if lazy is None or lazy.ndim != 1 or lazy.size > 1 << 20:
        raise Malformed("a quantized tensor whose scales are not a list of numbers")
    if not lazy.contiguous:  # PyTorch copies them where they lie apart, of a legacy stream before their storage is read
        raise Malformed("a quantized tensor whose scales do not lie side by side")
    work.pairs(lazy.size)
    return tuple(float(number) for number in lazy.numpy())


def rebuild_sparse(machine: Machine, args: tuple[Any, ...]) -> Tensor:
    """``_rebuild_sparse_tensor(layout, (indices, values, size, …))``: its values, as a tensor."""
    layout, data, *_ = _arguments(args, 2, "a sparse tensor")
    name = str(text(layout) or getattr(layout, "name", "sparse"))[:40].removeprefix("torch.")
    compressed = name != "sparse_coo"
    if type(data) is not tuple or len(data) < 3 + compressed:
        raise Malformed("a sparse tensor without indices, values and size")
    values, size = (data[2], data[3]) if compressed else (data[1], data[2])
    shape = integers(size, "size", machine.work)
    for each in (data[0], data[1]) if compressed else (data[0],):
        if isinstance(each, Tensor) and each.lazy is not None and each.lazy.size <= limits.INDICES:
            machine.work.pairs(each.lazy.size)  # it is read, as often as it stands in the pickle
    if not isinstance(values, Tensor) or values.lazy is None:
        return values if isinstance(values, Tensor) else Tensor(None, f"a {name} tensor without values")
    indices = data[0]
    if not compressed and isinstance(indices, Tensor) and indices.lazy is not None:
        found, stored_shape = indices.lazy.shape, values.lazy.shape
        if len(found) != 2 or stored_shape[:1] != found[1:] or len(shape) != found[0] + len(stored_shape) - 1:
            raise Malformed(f"a sparse tensor whose indices {list(found)} do not fit its values {list(stored_shape)}")
    if compressed:
        _check_compressed(name, shape, values.lazy.shape, indices, data[1])
    elif isinstance(indices, Tensor) and indices.lazy is not None and indices.lazy.size <= limits.INDICES:
        for length, row in zip(shape, _integers(indices), strict=False):
            _check_within(row, length)
    stored = f"{name} of size {list(shape)[:8]}: its {values.lazy.size} stored values"
    noted = replace(values.lazy, note=", ".join(filter(None, (stored, values.lazy.note))))
    return Tensor(noted, beside=sparse_plumbing(name))


def sparse_plumbing(layout: str) -> tuple[tuple[str, str], ...]:
    """(name, reason) of the tensors of a sparse tensor that say where its values stand."""
    if layout == "sparse_coo":
        names = ["indices"]
    elif layout in ("sparse_csc", "sparse_bsc"):
        names = ["ccol_indices", "row_indices"]
    else:
        names = ["crow_indices", "col_indices"]
    return tuple((name, "indices of a sparse tensor") for name in names)


def _integers(value: Tensor) -> np.ndarray[Any, Any]:
    lazy = value.lazy
    if lazy is None or lazy.dtype.kind not in "iu":
        raise Malformed("a sparse tensor whose indices are not integers")
    return lazy.numpy()


def _check_within(indices: np.ndarray[Any, Any], length: int) -> None:
    if indices.size and not 0 <= int(indices.min()) <= int(indices.max()) < length:
        raise Malformed(
            f"a sparse tensor with an index outside its size: {int(indices.min())}–{int(indices.max())} of {length}"
        )


def _check_compressed(name: str, shape: tuple[int, ...], values: tuple[int, ...], compressed: Any, plain: Any) -> None:
    """CSR, CSC, BSR, BSC without a batch dimension: (length + 1) ends of rows, then an index for each stored value."""
    both = (compressed, plain)
    if not all(isinstance(each, Tensor) and each.lazy is not None and each.lazy.size <= limits.INDICES for each in both):
        return
    ends, indices = _integers(compressed), _integers(plain)
    blocks = values[1:3] if name in ("sparse_bsr", "sparse_bsc") else (1, 1)
    if ends.ndim != 1 or len(shape) < 2 or len(blocks) != 2 or 0 in blocks:
        return  # a batch of matrices: their values are drawn, their places are not
    rows, columns = (length // block for length, block in zip(shape[:2], blocks, strict=True))
    if name in ("sparse_csc", "sparse_bsc"):
        rows, columns = columns, rows
    steps = np.diff(ends.astype(np.int64))
    fits = len(ends) == rows + 1 and indices.shape == values[:1] and int(ends[0]) == 0 and int(ends[-1]) == len(indices)
    if not fits or (steps.size and int(steps.min()) < 0):
        raise Malformed(f"a {name} tensor of size {list(shape)[:8]} whose rows do not fit its {values[0]} values")
    _check_within(indices, columns)


def layout(machine: Machine, args: tuple[Any, ...]) -> Any:
    """``torch.serialization._get_layout(name)``: an object, which is no key that equals its name."""
    name = text(args[0]) if args else None
    return DtypeName(name) if name is not None else Stub(Global("torch.serialization", "_get_layout"), args, "new")


def rebuild_from_numpy(machine: Machine, args: tuple[Any, ...]) -> Any:
    """``_rebuild_device_tensor_from_numpy(array, dtype, device, requires_grad)`` (XLA, HPU …): the array."""
    array, dtype, *_ = _arguments(args, 2, "a tensor")
    made = array.tensor if isinstance(array, NumpyArray) and array.tensor is not None else array
    stored = isinstance(made, Tensor) and made.lazy is not None and made.lazy.dtype.name == "float32"
    if stored and dtype_name(dtype) == "bfloat16":  # numpy has none: its numbers are stored as float32
        return made
    return _converted(made, dtype)


def rebuild_from_cpu(machine: Machine, args: tuple[Any, ...]) -> Any:
    """``_rebuild_device_tensor_from_cpu_tensor(data, dtype, device, requires_grad)``: the tensor."""
    data, dtype, *_ = _arguments(args, 2, "a tensor")
    return _converted(data, dtype)


def _converted(made: Any, dtype: Any) -> Any:
    """*made*, where it has the dtype that PyTorch gives it; other numbers are not in the file."""
    name = dtype_name(dtype)
    if not isinstance(made, Tensor) or made.lazy is None or dtype is None or name == made.lazy.dtype.name:
        return made
    return Tensor(None, f"numbers of {made.lazy.dtype.name} that PyTorch makes {name or 'others'} of as it loads them")


def size_of(machine: Machine, args: tuple[Any, ...]) -> Any:
    """``torch.Size(lengths)``: the tuple."""
    value = args[0] if args else ()
    if type(value) is not list:
        return value if type(value) is tuple else ()
    machine.work.copied(len(value))
    return tuple(value)


def typed_storage(machine: Machine, args: tuple[Any, ...]) -> Any:
    """``torch.storage.TypedStorage(…)`` and its like hold what follows as state."""
    return args[0] if args and isinstance(args[0], StorageRef) else Stub(Global("torch.storage", "TypedStorage"), args, "new")


CONSTRUCTORS: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor"): rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v3"): rebuild_tensor_v3,
    ("torch._utils", "_rebuild_parameter"): rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): rebuild_parameter,
    ("torch._utils", "_rebuild_qtensor"): rebuild_quantised,
    ("torch._utils", "_rebuild_sparse_tensor"): rebuild_sparse,
    ("torch._utils", "_rebuild_sparse_csr_tensor"): rebuild_sparse,
    ("torch._utils", "_rebuild_meta_tensor_no_storage"): rebuild_meta,
    ("torch._utils", "_rebuild_device_tensor_from_numpy"): rebuild_from_numpy,
    ("torch._utils", "_rebuild_device_tensor_from_cpu_tensor"): rebuild_from_cpu,
    ("torch._utils", "_rebuild_xla_tensor"): rebuild_from_numpy,
    ("torch._utils", "_rebuild_wrapper_subclass"): rebuild_wrapper,
    ("torch._tensor", "_rebuild_from_type"): rebuild_from_type,
    ("torch._tensor", "_rebuild_from_type_v2"): rebuild_from_type,
    ("torch.tensor", "_rebuild_from_type"): rebuild_from_type,
    ("torch.nn.parameter", "Parameter"): rebuild_parameter_of,
    ("torch.nn.parameter", "Buffer"): rebuild_parameter_of,
    ("torch.autograd.variable", "Variable"): rebuild_parameter_of,
    ("torch.serialization", "_get_layout"): layout,
    ("torch", "Size"): size_of,
    ("torch.storage", "TypedStorage"): typed_storage,
}
_CLASSES = {"DoubleTensor": "float64", "FloatTensor": "float32", "HalfTensor": "float16", "BFloat16Tensor": "bfloat16"}
_CLASSES |= {"LongTensor": "int64", "IntTensor": "int32", "ShortTensor": "int16", "CharTensor": "int8", "ByteTensor": "uint8"}
_CLASSES |= {"BoolTensor": "bool", "Tensor": "float32"}
for _name, _dtype in _CLASSES.items():
    CONSTRUCTORS |= {(_module, _name): tensor_itself(_dtype) for _module in ("torch", "torch.cuda")}
