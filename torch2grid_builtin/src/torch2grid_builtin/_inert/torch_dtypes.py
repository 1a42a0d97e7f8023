"""PyTorch's dtypes and storage classes by name. Format: ``torch/storage.py``, ``torch/serialization.py``."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from torch2grid_builtin._inert.limits import Work
from torch2grid_builtin._inert.malformed import Broken, Malformed
from torch2grid_builtin._inert.values import ALIASES, DtypeName, Global, text

DTYPES: dict[str, np.dtype[Any]] = {
    **{name: np.dtype(name) for name in ("float64", "float32", "float16", "complex128", "complex64", "bool")},
    **{name: np.dtype(name) for name in ("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8")},
    **{
        name: np.dtype(getattr(ml_dtypes, name))
        for name in (
            *("bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2"),
            *("float8_e5m2fnuz", "float8_e8m0fnu", "float8_e4m3"),
        )
    },
}
QUANTISED = {"quint8": "u1", "qint8": "i1", "qint32": "i4"}
PACKED = {"float4_e2m1fn_x2": 2, "quint4x2": 2, "quint2x4": 4}
STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
    "QUInt8Storage": "quint8",
    "QInt8Storage": "qint8",
    "QInt32Storage": "qint32",
    "QUInt4x2Storage": "quint4x2",
    "QUInt2x4Storage": "quint2x4",
    "UntypedStorage": "",
    "_UntypedStorage": "",
}
WIDEST = 2**63


def itemsize(dtype_name: str) -> int:
    """Bytes of one stored element; 1 where the storage has no dtype or packs several in a byte."""
    if dtype_name in DTYPES:
        return DTYPES[dtype_name].itemsize
    return np.dtype(QUANTISED[dtype_name]).itemsize if dtype_name in QUANTISED else 1


def storage_dtype(kind: Any) -> str:
    """The dtype name of a storage class as a persistent id holds it, empty for untyped. Raises ``Malformed``."""
    if isinstance(kind, DtypeName):
        return kind.name
    if isinstance(kind, Global) and (kind.module == "torch" or kind.module.startswith("torch.")):
        name = kind.name.removeprefix("cuda.").removeprefix("storage.")
        if name in STORAGES:
            return STORAGES[name]
        raise Malformed(f"the storage class {kind.path} is not known", "it is of a newer PyTorch, or not of PyTorch at all")
    raise Malformed("a storage whose class is not a class of PyTorch")


def parse_id(saved: Any, work: Work) -> tuple[Any, str, int]:
    """Class, key and number of elements of a storage's persistent id. Raises ``Malformed``, also where *work* is used up."""
    if type(saved) is not tuple or len(saved) < 5 or text(saved[0]) != "storage":
        raise Broken("broken checkpoint: a persistent id that names no storage")
    key, numel = text(saved[2]), saved[4]
    if key is None or type(numel) is not int or not 0 <= numel < 2**63:
        raise Malformed("broken checkpoint: a storage without a key or with an impossible length")
    work.text(len(key))
    return saved[1], key, numel


def dtype_name(value: Any) -> str | None:
    """The name of a ``torch.dtype`` as it was pickled, ``None`` for anything else."""
    if isinstance(value, DtypeName):
        return value.name
    if isinstance(value, Global) and value.module == "torch":
        return ALIASES.get(value.name, value.name)
    return None
