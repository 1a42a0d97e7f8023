"""What ``torch.save`` wrote in PyTorch 0.1 to 0.3: a tar archive. Format of tars: POSIX.1-2001 ustar."""

from __future__ import annotations

from typing import ClassVar

from torch2grid_builtin.inert.actions import Actions
from torch2grid_builtin.inert.legacy import read_tar
from torch2grid_builtin.inert.limits import Work
from torch2grid_builtin.inert.read import load_error, make_checkpoint
from torch2grid_builtin.inert.values import Malformed
from torch2grid_core import Checkpoint, Loader, LoadError, Source, Storage

_BLOCK = 512
_MEMBERS = 10_000
_WANTED = ("sys_info", "pickle", "storages", "tensors")


class TorchTar(Loader):
    """What torch.save wrote before PyTorch 0.4: a tar archive of a pickle, its storages and its tensors."""

    name: ClassVar[str] = "torch-tar"

    def sniff(self, source: Source) -> int:
        head = source.head[:_BLOCK]
        if len(head) < _BLOCK or not _checksum(head):
            return 0
        return 2 if _name(head) in _WANTED else 1

    def load(self, source: Source) -> Checkpoint:
        work, actions = Work(source.size), Actions()
        try:
            root = read_tar(_members(source), work, actions)
        except (Malformed, LoadError) as error:
            raise load_error(source, error, actions) from error
        return make_checkpoint(source, root, by=self.name, format="PyTorch legacy tar", actions=actions, work=work)


def _name(header: bytes) -> str:
    return header[:100].split(b"\0", 1)[0].decode("latin-1").removeprefix("./")


def _checksum(header: bytes) -> bool:
    """True where the header's checksum is right: the sum of its bytes with its own field as blanks."""
    try:
        stated = int(header[148:156].split(b"\0", 1)[0].strip() or b"x", 8)
    except ValueError:
        return False
    return stated == sum(header) - sum(header[148:156]) + 8 * 32


def _members(source: Source) -> dict[str, Storage]:
    """The members that PyTorch wrote, by name; links, folders and anything else are not looked at. Raises ``LoadError``."""
    found: dict[str, Storage] = {}
    place = 0
    for _ in range(_MEMBERS):
        if place + _BLOCK > source.size:
            break
        header = source.read(place, _BLOCK)
        if not any(header):
            break
        if not _checksum(header):
            raise LoadError(source.shown, f"is a tar archive with a damaged header at byte {place}", "fetch it again")
        size = _size(source, header)
        name = _name(header)
        if name in _WANTED and header[156:157] in (b"0", b"\0"):
            if name in found:
                raise LoadError(source.shown, f"is a tar archive with two members named {name}", "it is damaged or hostile")
            found[name] = source.storage(place + _BLOCK, size)
        place += _BLOCK + -(-size // _BLOCK) * _BLOCK
    return found


def _size(source: Source, header: bytes) -> int:
    field = header[124:136]
    if field[0] & 0x80:  # beyond 8 GiB, in binary
        return int.from_bytes(field, "big") & ((1 << 95) - 1)
    try:
        return int(field.split(b"\0", 1)[0].strip() or b"0", 8)
    except ValueError as error:
        raise LoadError(source.shown, "is a tar archive with a damaged header", "fetch it again") from error
