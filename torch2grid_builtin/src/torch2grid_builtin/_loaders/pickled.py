"""Plain pickles of numpy arrays or tensors, of Python 2 and 3, and joblib's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch2grid_builtin._inert import joblib_values
from torch2grid_builtin._inert.actions import Actions
from torch2grid_builtin._inert.hidden import read_pickles
from torch2grid_builtin._inert.interpreter import Interpreter
from torch2grid_builtin._inert.limits import Work
from torch2grid_builtin._inert.malformed import CutShort, Malformed
from torch2grid_builtin._inert.nested import opened_strings
from torch2grid_builtin._inert.read import load_error, make_checkpoint
from torch2grid_builtin._inert.report import not_run
from torch2grid_builtin._inert.stream import PickleStream
from torch2grid_builtin._inert.verdicts import family
from torch2grid_builtin._loaders.other_readers import note_pickle
from torch2grid_builtin._loaders.tar_archive import is_tar
from torch2grid_builtin._loaders.torch_legacy import TorchLegacy
from torch2grid_builtin._loaders.torch_tar import TorchTar
from torch2grid_core import Checkpoint, Loader, LoadError
from torch2grid_core.sources import Action, BytesStorage, Range, Source, Storage

_TEXT_OPENINGS = b"(]}cidlV)SUIFLNG"  # what a pickle of protocol 0 or 1 may begin with


class Pickled(Loader):
    """A plain pickle of tensors or numpy arrays (.pkl), of any protocol, Python 2's too, or what joblib dumped."""

    name: ClassVar[str] = "pickle"

    def sniff(self, source: Source) -> int:
        head = source.head
        if len(head) < 2 or is_tar(head) or TorchLegacy().sniff(source):  # a tar that is a pickle, too, is refused as a tar
            return 0
        if head[0] == 0x80:
            return 1  # no more: a safetensors file begins so, too, where its header has 128 bytes more than a multiple of 256
        if head[0] not in _TEXT_OPENINGS:
            return 0
        # All of a short file, or the beginning of a long one; cut at two places, as one may be inside an opcode.
        whole = len(head) == source.size
        return int(any(_is_pickle(head[: len(head) - cut], whole) for cut in ((0,) if whole else (0, 1))))

    def load(self, source: Source, work: Work | None = None) -> Checkpoint:
        if is_tar(source.head):
            return TorchTar().load(source)
        storage = Range(source)
        stream = PickleStream(storage)
        actions = Actions()
        machine = Interpreter(stream, joblib_values.OF_JOBLIB, work=work, actions=actions)
        try:
            root = opened_strings(machine.load(), machine)
            read_pickles(storage, stream.tell(), actions, machine.work)
            joblib = any(found.handler is joblib_values.array_wrapper for found in machine.globals.values())
            if joblib:
                _read_as_plain(storage, actions, machine.work)
        except (Malformed, LoadError) as error:
            raise load_error(source, error, actions) from error
        left = source.size - stream.tell()
        notes = [f"{left} bytes behind the end of the pickle were not read"] if left else []
        form = "joblib" if joblib else "pickle"
        return make_checkpoint(source, root, by=self.name, format=form, actions=actions, work=machine.work, notes=notes)

    def runs(self, source: Source) -> Sequence[Action]:
        actions = Actions()
        if not TorchLegacy().sniff(source):  # which says it
            note_pickle(source, actions)
        return not_run(actions)


def _read_as_plain(storage: Storage, actions: Actions, work: Work) -> None:
    """Add to *actions* what a pickle with arrays of joblib would do where pickle loads it: the numbers are opcodes to it.

    Numbers hardly ever import anything: what no program would is left out.
    """
    found = Actions()
    read_pickles(storage, 0, found, work, search=False, constructors=joblib_values.AS_PICKLE)
    found.keep(lambda asked: bool(family(asked.module, asked.name) or (asked.module and asked.kind != "import")))
    actions.merge(found)


def _is_pickle(head: bytes, whole: bool) -> bool:
    machine = Interpreter(PickleStream(BytesStorage(head)), {}, lambda saved: None)
    try:
        machine.load()
    except CutShort:
        return not whole or _is_program(machine.actions)
    except Malformed:
        return _is_program(machine.actions)
    return True


def _is_program(actions: Actions) -> bool:
    """True for a broken pickle that imports something of Python's: it is refused with what it wanted."""
    return any(family(asked.module, asked.name) for asked in actions.asked.values())
