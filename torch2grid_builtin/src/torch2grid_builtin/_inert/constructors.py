"""The allow-list: what is interpreted, by (module, name) as a pickle states them. Nothing else is more than a stub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch2grid_builtin._inert import judged, limits, numpy_values, python_values, torch_values, wrappers
from torch2grid_builtin._inert.legacy import is_legacy, read_legacy, without_storages
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.values import LongBytes
from torch2grid_core.sources import BytesStorage

if TYPE_CHECKING:
    from torch2grid_builtin._inert.machine import Machine


def load_from_bytes(machine: Machine, args: tuple[Any, ...]) -> Any:
    """``torch.storage._load_from_bytes(data)``: a storage that plain ``pickle`` wrote, as a legacy stream in a string.

    It loads whatever it is given: anything but a legacy stream is a call.
    """
    callee = machine.callee
    data = args[0] if args else None
    if isinstance(data, LongBytes) and not data.is_text and not data.old:
        storage: Any = data.storage
    elif type(data) is bytes:
        storage = BytesStorage(data)
    else:
        return machine.calls(callee, args)
    if machine.depth >= limits.PICKLES:
        raise Malformed("pickles are nested in pickles", "the file is hostile")
    machine.work.spend(limits.INNER)
    if not is_legacy(storage):
        return machine.calls(callee, args)
    return read_legacy(storage, CONSTRUCTORS, inside=machine)[0]


CONSTRUCTORS: dict[tuple[str, str], Any] = {
    **python_values.CONSTRUCTORS,
    **numpy_values.CONSTRUCTORS,
    **torch_values.CONSTRUCTORS,
    **wrappers.CONSTRUCTORS,
    **judged.CONSTRUCTORS,
    ("torch.storage", "_load_from_bytes"): load_from_bytes,
}

WITHOUT_STORAGES = without_storages(CONSTRUCTORS)
