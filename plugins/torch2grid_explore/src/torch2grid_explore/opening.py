"""From locations to a session: what is opened, chosen and laid out, what is said about it, and what appears later."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch2grid_core import Checkpoint, LoadError, NotDrawable, PluginManager, Settings, Torch2GridError
from torch2grid_core.commands import spec_name, summary_line
from torch2grid_core.selection import Selection, select
from torch2grid_core.text import counted, visible, without_secrets
from torch2grid_explore.picture import USUAL, Map, Picture, map_of
from torch2grid_explore.session import Session, difference

_SECONDS = 1.0  # between two looks at whether files changed
_EXPECTED = 16  # checkpoints that a folder is taken to hold in the end, at least


@dataclass(frozen=True)
class Opened:
    """Checkpoints as they were chosen. folder: where they stand, if they are all that a folder holds."""

    selections: tuple[Selection, ...]
    folder: str = ""

    @property
    def checkpoints(self) -> list[Checkpoint]:
        return [each.checkpoint for each in self.selections]


def session_of(
    manager: PluginManager, models: Sequence[str], settings: Settings, memory: int
) -> tuple[Session, list[str], Follower]:
    """The session of *models*, lines about what is shown, and what tells of changes. memory: bytes for the planes of all.

    Raises ``Torch2GridError`` where one cannot be opened, or where nothing can be laid out.
    """
    started = time.perf_counter()
    opened = _opened(manager, models, settings)
    checkpoints = opened.checkpoints
    names = _common(checkpoints)
    lines = [summary_line(opened.selections[0], time.perf_counter() - started)]
    left = [len(each) - len(each.aliases) - len(names) for each in checkpoints]
    if any(left):
        lines.append(f"{counted(len(names), 'tensor')} in common; not shown of each: {', '.join(map(str, left))}")
    pair = len(checkpoints) == 2 and not opened.folder
    pictures = max(len(checkpoints), _EXPECTED) if opened.folder else len(checkpoints) + pair
    place = map_of(manager, settings.plugin or USUAL, {name: checkpoints[0][name].shape for name in names}, memory // pictures)
    if len(place.tensors) < len(names):
        lines.append(f"{counted(len(names) - len(place.tensors), 'tensor')} not on the map of {spec_name(settings.plugin)}")
    found = _pictures(place, checkpoints, pair)
    notes = [note for each in opened.selections[:1] for note in each.checkpoint.notes]
    title = f"{len(models)} checkpoints"
    if len(models) < 3:
        title = " and ".join(visible(without_secrets(each)) for each in models)
    session = Session(place, found, title, [*lines, *notes], models, spec_name(settings.plugin or USUAL))

    def added(path: str) -> Picture:
        checkpoint = _chosen(manager, path, settings).checkpoint
        if missing := [
            name for name in place.tensors if name not in checkpoint or checkpoint[name].shape != place.shapes[name]
        ]:
            raise LoadError(path, f"has no tensor {missing[0]!r} of that shape")
        return Picture(
            place, checkpoint.select(place.tensors), visible(os.path.basename(path.rstrip("/"))), "weights", frame=True
        )

    known = [each.source for each in checkpoints]
    return session, lines, Follower(session, known, opened.folder, added)


def _opened(manager: PluginManager, models: Sequence[str], settings: Settings) -> Opened:
    if len(models) == 1 and isinstance(models[0], (str, os.PathLike)) and os.path.isdir(models[0]):
        try:
            return Opened((_chosen(manager, models[0], settings),))
        except LoadError as error:
            from torch2grid_builtin.compare import checkpoints_in, in_order  # what one model need not wait for

            chosen: dict[str, Selection] = {}

            def one(path: str) -> Checkpoint:
                chosen[path] = _chosen(manager, path, settings)
                return chosen[path].checkpoint

            try:
                found, _ = checkpoints_in(models[0], one)
            except LoadError:
                raise error from None
            by = {id(each.checkpoint): each for each in chosen.values()}
            return Opened(tuple(by[id(each)] for each in in_order(found).checkpoints), models[0])
    return Opened(tuple(_chosen(manager, model, settings) for model in models))


def _chosen(manager: PluginManager, model: str, settings: Settings) -> Selection:
    filters = [manager.create("filter", spec) for spec in settings.filter]
    opened = manager.open(model, settings.loader or "", raw=settings.raw)
    return select(opened, settings.part, filters, settings.include_buffers, settings.slice)


def _common(checkpoints: Sequence[Checkpoint]) -> list[str]:
    """The tensors that all have, of one shape. Raises ``NotDrawable`` for none."""
    first = checkpoints[0]
    names = [name for name in first if name not in first.aliases]
    for other in checkpoints[1:]:
        names = [name for name in names if name in other and other[name].shape == first[name].shape]
    if not names:
        raise NotDrawable("these checkpoints have no tensor of the same name and shape in common")
    return names


def _pictures(place: Map, checkpoints: Sequence[Checkpoint], pair: bool) -> list[Picture]:
    chosen = [each.select(place.tensors) for each in checkpoints]
    if pair:
        named = zip("AB", chosen, strict=True)
        sides = [Picture(place, each, f"{letter}: {visible(each.source)}", "weights") for letter, each in named]
        return [*sides, Picture(place, difference(chosen[0], chosen[1], place.tensors), "Δ = B − A", "difference")]
    if len(chosen) == 1:
        return [Picture(place, chosen[0], visible(checkpoints[0].source), "weights")]
    from torch2grid_builtin.compare import in_order

    labels = in_order(checkpoints, given=True).labels
    return [Picture(place, each, visible(label), "weights", frame=True) for each, label in zip(chosen, labels, strict=True)]


class Follower:
    """Looks, as long as a session lasts, whether its files change, and whether its folder gets more of them.

    added: makes the picture of a new file, or raises ``Torch2GridError`` where it is none.
    """

    def __init__(self, session: Session, paths: Sequence[str], folder: str, added: Callable[[str], Picture]) -> None:
        self.session, self.folder, self.added = session, folder, added
        self._known = {path: _state(path) for path in paths}
        self._seen: dict[str, tuple[int, int] | None] = dict.fromkeys(self._listed(), (-1, -1))  # a new path → its last state
        self._stopped = threading.Event()

    def start(self) -> None:
        """Begin to look."""
        threading.Thread(target=self._follow, name="explore: follow", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    def _follow(self) -> None:
        while not self._stopped.wait(_SECONDS):
            self.look()

    def look(self) -> None:
        """Tell of what changed since the last look."""
        for path, state in self._known.items():
            if state is not None and _state(path) != state:
                self._known[path] = None
                self.session.tell({"error": f"{visible(path)} has changed since it was opened; start explore again to see it"})
        for path in self._listed():
            state = _state(path)
            if path in self._seen and (state is None or self._seen[path] in ((-1, -1), state)):
                if self._seen[path] == (-1, -1) or state is None:
                    continue
                self._seen[path] = (-1, -1)  # it no longer grows
                try:
                    self.session.add(self.added(path))
                except Torch2GridError:
                    continue
            else:
                self._seen[path] = state

    def _listed(self) -> list[str]:
        try:
            return sorted(each.path for each in os.scandir(self.folder) if not each.name.startswith(".")) if self.folder else []
        except OSError:
            return []


def _state(path: str) -> tuple[int, int] | None:
    """Size and time of the last change; ``None`` for what is no local file."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
