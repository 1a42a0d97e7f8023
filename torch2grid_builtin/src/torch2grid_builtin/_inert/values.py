"""What a pickle becomes when nothing in it is run."""

from __future__ import annotations

import _compat_pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from torch2grid_builtin._inert.allowed import ALLOWED, JUDGED, NOTHING
from torch2grid_builtin._inert.equal_numbers import of_complex, of_decimal, of_fraction, of_number
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_core import LazyTensor
from torch2grid_core.sources import Storage

if TYPE_CHECKING:
    from torch2grid_builtin._inert.limits import Work
    from torch2grid_builtin._inert.storages import Spool

_REASON = 300  # characters: names in it are a file's, and may stand in it often


class Global:
    """A name that the pickle would import: never imported here. *handler* interprets it, where there is one.

    allowed: what a pickle may do with it without a finding. judged: its uses are judged one by one; excused: one was harmless.
    """

    __slots__ = ("allowed", "excused", "handler", "judged", "module", "name")

    def __init__(self, module: str, name: str, handler: Callable[..., Any] | None = None) -> None:
        self.module, self.name, self.handler = module, name, handler
        path = f"{module}.{name}"
        self.allowed = ALLOWED.get(path, NOTHING)
        self.judged = path in JUDGED
        self.excused = False

    @property
    def path(self) -> str:
        return f"{self.module}.{self.name}"

    @property
    def last(self) -> str:
        """The last part of the path, however the file cuts it into module and name."""
        return self.name.rpartition(".")[2]


class PersistentValue:
    """What a persistent id stands for in a reading without storages: an object of whoever reads the pickle.

    It is no plain value: whatever is done with it may succeed, so that a reading which ends there is told.
    """

    __slots__ = ()


_EMPTY: tuple[int, list[tuple[Any, Any]], list[tuple[Any, Any]]] = (0, [], [])  # one for all mappings: nothing is put into it


class Pairs:
    """A mapping as the list of what was put into it: no key is hashed, so no choice of keys makes it slow.

    factory: what a ``defaultdict`` calls for a key that is missing.
    """

    __slots__ = ("_different", "_settled", "factory", "kind", "pairs", "state")

    def __init__(self, kind: str = "dict", pairs: list[tuple[Any, Any]] | None = None) -> None:
        self.kind = kind
        self.pairs: list[tuple[Any, Any]] = [] if pairs is None else pairs
        self.state: Any = None
        self.factory: Any = None
        self._different = 0  # so many keys were found to be different, all of them
        self._settled = _EMPTY

    def repeats(self) -> bool:
        """True where a key is set more than once."""
        if self._different != len(self.pairs):
            if self._settled[0] == len(self.pairs):
                return True
            of = Identities().of
            if len({key if type(key) is str else of(key) for key, _ in self.pairs}) < len(self.pairs):
                return True
            self._different = len(self.pairs)
        return False

    def entries(self) -> Iterator[tuple[Any, Any]]:
        """(key, value) as the dict would hold them: a key that was set twice comes once, with its last value."""
        return iter(self._settle()[0] if self.repeats() else self.pairs)

    def replaced(self) -> Iterator[tuple[Any, Any]]:
        """(key, value) of what ``entries`` leaves out: values of keys that are set again."""
        return iter(self._settle()[1] if self.repeats() else ())

    def _settle(self) -> tuple[list[tuple[Any, Any]], list[tuple[Any, Any]]]:
        """What ``entries`` and ``replaced`` give, found once."""
        if self._settled[0] != len(self.pairs):
            latest: dict[Any, tuple[Any, Any]] = {}
            before: dict[Any, tuple[Any, Any]] = {}
            replaced: list[tuple[Any, Any]] = []
            of = Identities().of
            for key, value in self.pairs:
                label = of(key)
                if label in latest:
                    replaced.append(before[label])
                latest[label] = (latest[label][0] if label in latest else key, value)  # the first key stays, as in a dict
                before[label] = (key, value)
            self._settled = (len(self.pairs), list(latest.values()), replaced)
        return self._settled[1:]

    def get(self, name: str) -> Any:
        """The value under the text key *name*, ``None`` where there is none."""
        found, raw = None, name.encode()
        for key, value in self.pairs:
            if key == name if type(key) is str else type(key) is OldString and key == raw:
                found = value
        return found


TENSOR = "tensor"  # how a stub is made that stands for a tensor of a wrapper subclass


class Bag:
    """A set, as the list of what was put into it."""

    __slots__ = ("items",)

    def __init__(self, items: list[Any] | None = None) -> None:
        self.items: list[Any] = [] if items is None else items


class Stub:
    """An object that was not made: what would have been called, with what, and the state it would have been given."""

    __slots__ = ("args", "function", "how", "items", "kwargs", "pairs", "root", "state")

    def __init__(self, function: Any, args: tuple[Any, ...], how: str = "call", kwargs: Any = None) -> None:
        self.function, self.args, self.how, self.kwargs = function, args, how, kwargs
        self.root: Any = function.root if isinstance(function, Stub) else function  # where a chain of calls began
        self.items: list[Any] | None = None
        self.pairs: list[tuple[Any, Any]] | None = None
        self.state: list[Any] | None = None

    @property
    def path(self) -> str:
        """Dotted name of the class or function, as the file states it."""
        return self.root.path if isinstance(self.root, Global) else type(self.root).__name__

    def attributes(self, work: Work) -> Iterator[tuple[Any, Any]]:
        """(name, value) of the state that ``BUILD`` would have set, slots included. Takes what that costs off *work*."""
        for state in self.state or ():
            work.spend(1)
            for half in state_halves(state) or (state,):
                if isinstance(half, Pairs):
                    work.pairs(len(half.pairs))
                    yield from half.entries()


def state_halves(state: Any) -> tuple[Any, ...] | None:
    """(attributes, slots) where *state* is such a pair, as objects with ``__slots__`` have it; else ``None``."""
    if type(state) is not tuple or len(state) != 2:
        return None
    return state if all(half is None or isinstance(half, Pairs) for half in state) else None


class Built:
    """An object that a constructor makes, and that takes its state itself."""

    __slots__ = ()

    def build(self, machine: Any, state: Any) -> None:
        """Take *state*, as ``BUILD`` of a ``Machine`` gives it. Raises ``Malformed``."""
        raise Malformed(f"broken pickle: state given to a {type(self).__name__}")


class Tensor:
    """A tensor of the file: *lazy* to read it, or the *reason* why it cannot be. *state*: attributes of a subclass.

    beside: (name, reason) of other tensors of the file that it is made with and that are not shown, such as indices.
    empty: the dtype of its storage, where it was made without numbers, which ``BUILD`` may give it.
    """

    __slots__ = ("beside", "empty", "lazy", "reason", "state")

    def __init__(
        self, lazy: LazyTensor | None, reason: str = "", state: Any = None, beside: tuple[tuple[str, str], ...] = ()
    ) -> None:
        self.lazy, self.reason, self.state, self.beside = lazy, reason[:_REASON], state, beside
        self.empty = ""


class StorageRef:
    """A storage of the file: its bytes, the name of its dtype (empty: bytes without one) and its number of elements.

    first: its first element in *storage*, where it is a slice of one (before PyTorch 0.4).
    """

    __slots__ = ("dtype_name", "first", "numel", "storage", "swapped")

    def __init__(self, storage: Storage, dtype_name: str, numel: int, swapped: bool = False, first: int = 0) -> None:
        self.storage, self.dtype_name, self.numel, self.swapped = storage, dtype_name, numel, swapped
        self.first = first


@dataclass(frozen=True)
class DtypeName:
    """A ``torch.dtype``, by name."""

    name: str


class NumpyDtype:
    """A ``numpy.dtype`` as it was pickled: its code, and the byte order that ``BUILD`` gives it.

    fields: it is a structure. objects: it holds references to Python objects. width: the bytes of an element as ``BUILD``
    states them, for texts and structures. settled: it was given its state, or is a part of another: its state is what it is.
    """

    __slots__ = ("code", "fields", "objects", "order", "settled", "width")

    def __init__(self, code: str) -> None:
        self.code, self.order, self.fields = code, "", False
        self.width: int | None = None
        self.objects = code[:1] == "O" or code.startswith("object")
        self.settled = False


SCALAR = "numpy scalar"


class NumpyArray:
    """A numpy array as it was pickled; the state comes after the object.

    follows: reads the numbers that stand behind the state, in the midst of the pickle, as joblib writes them.
    """

    __slots__ = ("follows", "note", "objects", "tensor")

    def __init__(self, note: str = "", follows: Callable[[Any], None] | None = None) -> None:
        self.note, self.follows = note, follows
        self.tensor: Tensor | None = None
        self.objects: Any = None  # the list of an object array

    @property
    def scalar(self) -> complex | None:
        """The number that a scalar of numpy's is, which may be a key; ``None`` for any other array."""
        lazy = self.tensor.lazy if self.tensor is not None and self.note == SCALAR else None
        if lazy is None or lazy.size != 1 or lazy.dtype.kind not in "biufc":
            return None
        found: complex = lazy.numpy().item()
        return found


class LongBytes:
    """A byte string, or a text in UTF-8, that was left in the file because it is long. spool: where it may be unpacked to.

    old: it is a string of Python 2 (see ``OldString``).
    """

    __slots__ = ("is_text", "old", "spool", "storage")

    def __init__(self, storage: Storage, is_text: bool, spool: Spool | None = None) -> None:
        self.storage, self.is_text, self.spool, self.old = storage, is_text, spool, False


class OldString(bytes):
    """A byte string as Python 2 pickled its ``str``: text to PyTorch, which decodes it, where ``bytes`` stay bytes."""

    __slots__ = ()


# Values of Python that have no method for items or attributes but what is interpreted: any other opcode on them ends a pickle.
PLAIN_KINDS = frozenset([str, OldString, int, float, bool, type(None), tuple, list, Pairs, Bag])


def is_plain(value: Any) -> bool:
    """True for a value that is the same in every unpickler: a text, a number, a plain container, or ``None``."""
    return type(value) in PLAIN_KINDS or (type(value) is LongBytes and value.is_text)


def text(value: Any) -> str | None:
    """A text key or name: a string of Python 2 that is no longer than names are is one too. ``None`` for anything else."""
    if type(value) is str:
        return value
    if type(value) is OldString and len(value) <= LONG_NAME:
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return value.decode("latin-1")
    return None


_NUMBERS = {"builtins.complex": of_complex, "decimal.Decimal": of_decimal, "fractions.Fraction": of_fraction}
_PLAIN = (str, bytes, OldString, int, bool, float, type(None))
_ARGUMENTS = 16  # of an object that is a key
_NESTED = 100  # tuples in tuples, of a key
_BY_VALUE = frozenset(
    [
        "datetime.date",
        "datetime.datetime",
        "datetime.time",
        "datetime.timedelta",
        "pathlib.Path",
        "pathlib.PosixPath",
        "pathlib.PurePath",
        "pathlib.PurePosixPath",
        "pathlib.WindowsPath",
        "torch.torch_version.TorchVersion",
    ]
)
ALIASES = {"double": "float64", "float": "float32", "half": "float16", "long": "int64", "int": "int32", "short": "int16"}
ALIASES |= {"cfloat": "complex64", "cdouble": "complex128"}
LONG_NAME = 4096  # bytes of a name: longer ones would cost more to decode each time than what is paid for them


class Identities:
    """What tells the keys of one mapping apart, as Python does, hashed safely: two keys are equal where these are.

    Text by itself, numbers by their value whatever their type, numpy's too, tuples by what is in them, values of a few classes
    by what they were made of, and the rest by object: so is a number that is not valid, which equals nothing.
    """

    def __init__(self) -> None:
        self._tuples: dict[Any, int] = {}  # what is in a tuple, and its number: one inside of others is looked at once
        self._known: dict[int, Any] = {}  # the object, and its identity

    def of(self, key: Any, depth: int = 0) -> Any:
        """Raises ``Malformed`` for a key that no checkpoint has and that would cost too much to tell from others."""
        kind = type(key)
        if kind is str:
            return key
        if kind is bytes:
            return (3, key)
        if kind is OldString:
            if len(key) > LONG_NAME:
                raise Malformed(f"a mapping with a string of {len(key)} bytes as a key", "it is not a checkpoint")
            return text(key)  # as PyTorch reads it
        if kind in (bool, int, float):
            return self._by(of_number(key), key)
        if kind is tuple:
            return self._of_tuple(key, depth)
        if kind is LongBytes:
            raise Malformed(f"a mapping with a string of {key.storage.size} bytes as a key", "it is not a checkpoint")
        if kind is Stub:
            return self._of_object(key, depth)
        if kind is NumpyArray and key.scalar is not None:
            return self._by(of_number(key.scalar), key)
        if kind is Global:
            module, _, name = key.path.rpartition(".")
            return (6, ALIASES.get(name, name)) if module == "torch" else (7, *_of_python_3(module, name))
        return (6, key.name) if kind is DtypeName else (2, id(key))

    def _by(self, number: Any, key: Any) -> Any:
        """*number*, or where it is none *key* by itself."""
        return (2, id(key)) if number is None else number

    def _of_tuple(self, key: tuple[Any, ...], depth: int) -> Any:
        found = self._known.get(id(key))
        if found is None:
            if depth > _NESTED:
                raise Malformed(f"a mapping with tuples nested {depth} deep as a key", "it is not a checkpoint")
            inside = tuple([self.of(each, depth + 1) for each in key])
            found = self._known[id(key)] = (1, self._tuples.setdefault(inside, len(self._tuples)))
        return found

    def _of_object(self, key: Stub, depth: int) -> Any:
        path = key.path
        if path in _NUMBERS:
            return self._by(_NUMBERS[path](key.args), key)
        if path == "torch.device":
            while len(key.args) == 1 and type(key.args[0]) is Stub and key.args[0].path == path:  # a device of a device
                key, depth = key.args[0], depth + 1
                if depth > _NESTED:
                    raise Malformed(f"a mapping with devices nested {depth} deep as a key", "it is not a checkpoint")
            kind, *index = key.args[:2] if key.args else ("",)
            name = text(kind)
            return (5, path, f"{name}:{index[0]}" if index and type(index[0]) is int else name) if name else (2, id(key))
        plain = path in _BY_VALUE and not key.state and all(type(each) in _PLAIN for each in key.args[:_ARGUMENTS])
        return (5, path, *map(self.of, key.args)) if plain and len(key.args) <= _ARGUMENTS else (2, id(key))


def _of_python_3(module: str, name: str) -> tuple[str, str]:
    """Module and name of what protocols 0 to 2 may call as Python 2 did."""
    module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
    return _compat_pickle.IMPORT_MAPPING.get(module, module), name


def number_text(number: float) -> str:
    """A number as text, in bounded time (the decimal text of a very long integer takes quadratic time)."""
    if isinstance(number, int) and number.bit_length() > 512:
        return f"<integer of {number.bit_length()} bits>"
    if isinstance(number, float) and number.is_integer() and abs(number) < 2**53:
        return str(int(number))  # 1.0 and 1 are one key
    return repr(number)


def key_text(key: Any, index: int) -> str:
    """The name that a mapping's key gives: text as it is, numbers in digits, anything else by its place."""
    plain = text(key)
    if plain is not None:
        return plain
    if type(key) is bytes and len(key) <= LONG_NAME:
        return repr(key)
    if isinstance(key, (bool, int, float)):
        return number_text(key)
    if type(key) is tuple and 0 < len(key) <= 4 and all(type(each) in (str, int, bool) for each in key):
        return "(" + ", ".join(each if type(each) is str else number_text(each) for each in key) + ")"
    return key.path if isinstance(key, Global) else str(index)


ML_DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(getattr(ml_dtypes, name))
    for name in ("bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu")
}


def numpy_dtype(code: str) -> np.dtype[Any] | None:
    """The dtype of a short numpy code such as ``f4`` or of a name of ml_dtypes'; ``None`` where it is not of numbers."""
    if code in ML_DTYPES:
        return ML_DTYPES[code]
    kind, width = code[:1], code[1:]
    if kind in "biufc" and width in ("1", "2", "4", "8", "16") and (kind != "b" or width == "1"):
        try:
            return np.dtype(code)
        except TypeError:
            return None
    return None


def is_extended(dtype: np.dtype[Any]) -> bool:
    """True for numbers longer than float64, or complex ones of such: extended precision, which differs between machines."""
    return dtype.itemsize > (16 if dtype.kind == "c" else 8)


def fortran_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides in elements of an array whose first index runs fastest."""
    steps = [1]
    for length in shape[:-1]:
        steps.append(steps[-1] * max(length, 1))
    return tuple(steps[: len(shape)])


def bytes_of_numbers(value: Any) -> bytes:
    """The bytes that a list of numbers states, none where it states other things."""
    return bytes(value) if all(type(each) is int and 0 <= each < 256 for each in value) else b""
