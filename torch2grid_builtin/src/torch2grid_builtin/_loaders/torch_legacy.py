"""What ``torch.save`` wrote from PyTorch 0.4 to 1.5, and writes with ``_use_new_zipfile_serialization=False``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch2grid_builtin._inert.actions import Actions
from torch2grid_builtin._inert.constructors import CONSTRUCTORS
from torch2grid_builtin._inert.hidden import read_pickles
from torch2grid_builtin._inert.legacy import MAGIC, read_legacy
from torch2grid_builtin._inert.limits import Work
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.read import load_error, make_checkpoint
from torch2grid_builtin._inert.report import not_run
from torch2grid_builtin._loaders.other_readers import note_pickle
from torch2grid_builtin._loaders.tar_archive import is_tar
from torch2grid_builtin._loaders.torch_tar import TorchTar
from torch2grid_core import Checkpoint, Loader, LoadError
from torch2grid_core.sources import Action, Range, Source

_BYTES = MAGIC.to_bytes(10, "little")
_TEXT = str(MAGIC).encode()


class TorchLegacy(Loader):
    """What torch.save wrote before PyTorch 1.6: a stream of pickles and storages behind a magic number."""

    name: ClassVar[str] = "torch-legacy"

    def sniff(self, source: Source) -> int:
        head = source.head[:64]
        if is_tar(source.head):
            return 0  # refused as a tar: it is both
        return 2 if head[:1] in (b"\x80", b"L", b"I") and (_BYTES in head or _TEXT in head) else 0

    def runs(self, source: Source) -> Sequence[Action]:
        actions = Actions()
        if self.sniff(source):
            note_pickle(source, actions)
        return not_run(actions)

    def load(self, source: Source, work: Work | None = None) -> Checkpoint:
        if is_tar(source.head):
            return TorchTar().load(source)
        work, actions, storage = work or Work(source.size), Actions(), Range(source)
        try:
            root, end = read_legacy(storage, CONSTRUCTORS, work, actions=actions)
            read_pickles(storage, end, actions, work)
        except (Malformed, LoadError) as error:
            raise load_error(source, error, actions) from error
        left = source.size - end
        notes = [f"{left} bytes behind the last storage were not read"] if left else []
        kind = "PyTorch legacy stream"
        return make_checkpoint(source, root, by=self.name, format=kind, actions=actions, work=work, notes=notes)
