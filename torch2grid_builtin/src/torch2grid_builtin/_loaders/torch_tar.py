"""What ``torch.save`` wrote in PyTorch 0.1 to 0.3: a tar archive. Format of tars: POSIX.1-2001 ustar and pax."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from torch2grid_builtin._inert.actions import Actions
from torch2grid_builtin._inert.hidden import begins_pickle
from torch2grid_builtin._inert.legacy import MAGIC
from torch2grid_builtin._inert.limits import Work
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.read import load_error, make_checkpoint
from torch2grid_builtin._inert.report import not_run
from torch2grid_builtin._inert.tar import read_tar
from torch2grid_builtin._loaders.other_readers import note_tar
from torch2grid_builtin._loaders.tar_archive import BLOCK, HOSTILE, WANTED, header_of, is_tar, may_be_pytorch
from torch2grid_core import Checkpoint, Loader, LoadError
from torch2grid_core.sources import Action, Range, Source, Storage
from torch2grid_core.text import visible

_MEMBERS = 10_000
_PAX_BYTES = 1 << 16
_BEHIND = 1 << 20  # bytes behind the end of the archive that are looked at
_KINDS = {
    "1": "a hard link",
    "2": "a link",
    "7": "a contiguous file",
    "L": "a long name",
    "K": "a long link",
    "S": "a sparse file",
}
_PAX = re.compile(rb"(\d{1,5}) ([^=\n]+)=")
_HARMLESS = ("mtime", "atime", "ctime", "uid", "gid", "uname", "gname", "comment")  # pax: what changes neither name nor length


class TorchTar(Loader):
    """What torch.save wrote before PyTorch 0.4: a tar archive of a pickle, its storages and its tensors."""

    name: ClassVar[str] = "torch-tar"

    def sniff(self, source: Source) -> int:
        if not is_tar(source.head):
            return 0
        if source.head[:100].split(b"\0", 1)[0].decode("latin-1") in WANTED or _is_pax(source.head):
            return 2
        return int(may_be_pytorch(source))

    def runs(self, source: Source) -> Sequence[Action]:
        actions = Actions()
        if not source.is_folder:
            note_tar(source, actions)
        return not_run(actions)

    def load(self, source: Source) -> Checkpoint:
        work, actions = Work(source.size), Actions()
        try:
            if begins_pickle(Range(source), actions):
                stream = MAGIC.to_bytes(10, "little") in source.head[:64]
                kind = "PyTorch stream" if stream else "pickle"
                raise LoadError(source.shown, f"is a tar archive and a {kind} at once", HOSTILE)
            members, end = _members(source)
            root = read_tar(members, work, actions)
        except (Malformed, LoadError) as error:
            raise load_error(source, error, actions) from error
        form = "PyTorch legacy tar"
        return make_checkpoint(source, root, by=self.name, format=form, actions=actions, work=work, notes=_behind(source, end))


def _is_pax(head: bytes) -> bool:
    """True where the first member is a pax header, and the one behind it a member that PyTorch wrote."""
    header = header_of(head[:BLOCK])
    if header.kind != "x":
        return False
    place = BLOCK + -(-header.size // BLOCK) * BLOCK
    behind = head[place : place + BLOCK] if 0 <= place < len(head) else b""
    return is_tar(behind) and header_of(behind).name in WANTED


def _members(source: Source) -> tuple[dict[str, Storage], int]:
    """The members that PyTorch wrote, by name, and the place where the archive ends. Raises ``LoadError``.

    Whatever gives a member another name, place or length than its own header does is refused: readers differ there.
    """

    def wrong(reason: str, advice: str = HOSTILE) -> LoadError:
        return LoadError(source.shown, f"is a tar archive {reason}", advice)

    found: dict[str, Storage] = {}
    place = 0
    for _ in range(_MEMBERS):
        if place + BLOCK > source.size:
            return found, source.size
        raw = source.read(place, BLOCK)
        if not any(raw):
            return found, place
        if not is_tar(raw):
            raise wrong(f"with a damaged header at byte {place}", "fetch it again")
        header = header_of(raw)
        label = repr(visible(header.name, 60))
        if header.size < 0:
            raise wrong(f"with a member {label} of no length")
        if place + BLOCK + header.size > source.size:
            raise wrong(f"that ends inside of its member {label}", "it is cut short; fetch it again")
        if header.kind in ("x", "g"):
            key = _renaming(source, place + BLOCK, header.size)
            if key is not None:
                raise wrong(f"whose pax header sets {visible(key, 40)!r} of a member, which readers take differently")
        elif header.kind == "5" or (header.kind == "0" and header.name.endswith("/")):
            if header.size:
                raise wrong(f"with a folder {label} that holds bytes")
        elif header.kind != "0":
            kind = _KINDS.get(header.kind, f"of type {visible(header.kind)!r}")
            raise wrong(f"with a member {label} that is {kind}, which readers take differently")
        elif header.name in WANTED:
            if header.name in found:
                raise wrong(f"with two members named {header.name}")
            found[header.name] = Range(source, place + BLOCK, header.size)
        place += BLOCK + -(-header.size // BLOCK) * BLOCK
    raise wrong(f"of more than {_MEMBERS:,} members", "it is not a checkpoint, or it is hostile")


def _renaming(source: Source, place: int, size: int) -> str | None:
    """The first key of a pax header that may change what a member is, ``None`` where all are harmless."""
    if size > _PAX_BYTES:
        return "thousands of keys"
    raw, done = source.read(place, size), 0
    while done < size:
        entry = _PAX.match(raw, done)
        end = done + int(entry[1]) if entry else size
        if entry is None or not entry.end() < end <= size or raw[end - 1 : end] != b"\n":
            return raw[done : done + 40].decode("latin-1")
        key = entry[2].decode("latin-1")
        if key not in _HARMLESS and not key.startswith(("SCHILY.", "LIBARCHIVE.")):
            return key
        done = end
    return None


def _behind(source: Source, end: int) -> list[str]:
    """A note where something else than zeros follows the end of the archive."""
    left = source.size - end
    if left <= 0 or (left <= _BEHIND and not any(source.read(end, left))):
        return []
    return [f"{left} bytes behind the end of the archive were not read"]
