"""The allow-list: what is interpreted, by (module, name) as a pickle states them. Nothing else is more than a stub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch2grid_builtin.inert import joblib_values, limits, numpy_values, python_values, torch_values, wrappers
from torch2grid_builtin.inert.values import Global, LongBytes, Malformed, Stub
from torch2grid_core import BytesStorage

if TYPE_CHECKING:
    from torch2grid_builtin.inert.machine import Machine


def load_from_bytes(machine: Machine, args: tuple[Any, ...]) -> Any:
    """``torch.storage._load_from_bytes(data)``: a storage that plain ``pickle`` wrote, as a legacy stream in a string."""
    from torch2grid_builtin.inert.legacy import read_legacy

    data = args[0] if args else None
    if isinstance(data, LongBytes) and not data.is_text:
        storage: Any = data.storage
    elif type(data) is bytes:
        storage = BytesStorage(data)
    else:
        return Stub(Global("torch.storage", "_load_from_bytes"), args)
    if machine.depth >= limits.PICKLES:
        raise Malformed("pickles are nested in pickles", "the file is hostile")
    machine.work.spend(limits.INNER)
    value, calls, _ = read_legacy(storage, inside=machine)
    machine.calls.extend(calls)
    return value


CONSTRUCTORS: dict[tuple[str, str], Any] = {
    **python_values.CONSTRUCTORS,
    **numpy_values.CONSTRUCTORS,
    **joblib_values.CONSTRUCTORS,
    **torch_values.CONSTRUCTORS,
    **wrappers.CONSTRUCTORS,
    ("torch.storage", "_load_from_bytes"): load_from_bytes,
}
