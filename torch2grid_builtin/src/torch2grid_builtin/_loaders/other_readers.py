"""What readers of any format would run of bytes that a loader opens as one of them, or does not open at all.

One function asks it, whether the bytes are a file, a shard, a record of an archive or a slice of a folder's tensors.
"""

from __future__ import annotations

from torch2grid_builtin._inert.actions import Actions
from torch2grid_builtin._inert.hidden import program_in
from torch2grid_builtin._inert.limits import Work
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.read import load_error
from torch2grid_builtin._inert.report import not_run
from torch2grid_builtin._loaders.tar_archive import is_tar, may_be_pytorch
from torch2grid_builtin._loaders.torch_archive import note_found
from torch2grid_builtin._loaders.zip_archive import END, LOCAL
from torch2grid_core.sources import Action, Range, Source

_MOBILE = b"PTMF"  # of a FlatBuffer; it may begin anywhere


def note_zip(source: Source, actions: Actions, work: Work) -> None:
    """Add to *actions* what PyTorch would run of a zip archive: it finds one by its directory, whatever stands in front."""
    if source.head.startswith(LOCAL) or END in source.tail:
        note_found(source, actions, work)


def note_mobile(source: Source, actions: Actions) -> None:
    """Add to *actions* that ``torch.jit.load`` takes for a program what has the four letters behind its first four bytes."""
    if source.head[4:8] == _MOBILE:
        actions.holds("a program for mobile devices, which is not read")


def note_tar(source: Source, actions: Actions) -> None:
    """Add to *actions* that PyTorch takes for a tar what begins with the header of one, whatever else the bytes are.

    One without a member that PyTorch looks for is nothing to it: an archive of files.
    """
    if is_tar(source.head) and may_be_pytorch(source):
        actions.holds("a tar archive, which is not read")


def note_pickle(source: Source, actions: Actions, work: Work | None = None) -> None:
    """Add to *actions* what the bytes would do as a pickle, or as several. Raises ``Malformed`` where that costs too much."""
    if source.head[:1] not in (b"", b"P"):  # as a zip begins: a persistent id, which no unpickler begins with
        actions.merge(program_in(Range(source), work))


def note_all(source: Source, actions: Actions, work: Work, opened_as: str = "") -> None:
    """Add to *actions* what every reader would run of *source*, but for that of the format that it is opened as.

    opened_as: ``zip``, ``tar`` or ``pickle``, whose own loader says what that runs. Raises ``Malformed`` where it costs
    too much.
    """
    note_mobile(source, actions)
    if opened_as != "zip":
        note_zip(source, actions, work)
    if opened_as != "tar":
        note_tar(source, actions)
    if opened_as != "pickle":
        note_pickle(source, actions, work)


def run_by_others(source: Source, work: Work, opened_as: str = "") -> tuple[Action, ...]:
    """What ``note_all`` finds. Raises ``LoadError``."""
    actions = Actions()
    try:
        note_all(source, actions, work, opened_as)
    except Malformed as error:
        raise load_error(source, error, actions) from error
    return tuple(not_run(actions))
