"""Loaders and decoders as opening calls them: what goes wrong inside costs their plugin a line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch2grid_core._errors import LoadError, PluginError, UsageError, WrongAnswer
from torch2grid_core._guard import Origin, call, collect, describe_value, guarded, returned
from torch2grid_core._plugins.record import Provided
from torch2grid_core._text import did_you_mean, visible

if TYPE_CHECKING:
    from torch2grid_core._data.checkpoint import Action, Checkpoint
    from torch2grid_core._data.source import Source


class GuardedLoader:
    """A loader whose failures are reported as its plugin's, in one line. If it cannot sniff, it is passed over."""

    def __init__(self, provided: Provided, options: dict[str, str] | None = None) -> None:
        self.name, self._provided, self._options = provided.name, provided, options
        self.accepts: str = provided.facts.get("accepts", "bytes")
        self._loader: Any = None

    def sniff(self, source: Source) -> int:
        """Return what the loader says, 0 if it fails."""
        try:
            loader = self._create()
            found = call(loader, loader.sniff, source)
            if not isinstance(found, int) or not 0 <= found <= 2:
                raise self._provided.origin.error(returned("sniff", found, "0, 1 or 2"))
            return int(found)
        except PluginError as error:
            self._provided.record.blame(error)
            return 0

    def load(self, source: Source) -> Checkpoint:
        """Return the checkpoint. Raises ``LoadError``, or ``PluginError`` for anything else that the loader raises."""
        from torch2grid_core._data.checkpoint import Checkpoint

        loader = self._create()
        checkpoint = call(loader, loader.load, source)
        if not isinstance(checkpoint, Checkpoint):
            raise self._provided.origin.error(returned("load", checkpoint, "a Checkpoint"))
        answer_for(checkpoint, self._provided.origin, source.shown)
        return checkpoint

    def inside(self, source: Source) -> Source | None:
        """Return what the archive *source* holds, ``None`` if it is not an archive. Raises ``LoadError``, ``PluginError``."""
        from torch2grid_core._data.guarded import guarded_source
        from torch2grid_core._data.source import is_source

        loader = self._create()
        if not hasattr(loader, "inside"):
            return None
        found: Any = call(loader, loader.inside, source)
        if found is not None and not is_source(found):
            raise self._provided.origin.error(returned("inside", found, "a Source or None"))
        return None if found is None else guarded_source(found, self._provided.origin)

    def runs(self, source: Source) -> Sequence[Action]:
        """Return what the loader says that a reader of its format would run of *source*; nothing if it fails."""
        from torch2grid_core._data.checkpoint import Action

        try:
            loader = self._create()
            if not hasattr(loader, "runs"):
                return ()
            found = tuple(collect(loader, loader.runs, source))
            wrong = [each for each in found if not isinstance(each, Action)]
            if wrong:
                raise self._provided.origin.error(f"runs yields {describe_value(wrong[0])}, not an Action")
            return found
        except WrongAnswer:
            raise
        except LoadError:
            return ()
        except PluginError as error:
            self._provided.record.blame(error)
            return ()

    def _create(self) -> Any:
        if self._loader is None:
            self._loader = self._provided.create(self._options)
        return self._loader


def answer_for(checkpoint: Checkpoint, origin: Origin, shown: str) -> None:
    """Raise ``PluginError`` for what a loader, of *origin*, got wrong in the *checkpoint* that it made of the file *shown*.

    What fails later, when weights are computed or a note is asked for, names both.
    """
    from torch2grid_core._data.checkpoint import check_computed, guard_answers
    from torch2grid_core._data.storage import stamp_storages

    with guarded(origin, f"load: {shown}"):
        check_computed(checkpoint.values())
    for tensor in checkpoint.values():
        try:
            tensor.check()
        except LoadError as error:
            reason = f"as loader {origin.name!r} reads it, {visible(tensor.name, 60)!r}: {error.reason}"
            raise LoadError(shown, reason, error.advice) from error
    stamp_storages([tensor.storage for tensor in checkpoint.values()], replace(origin, where=shown))
    guard_answers(checkpoint, origin)


def decoded(checkpoint: Checkpoint, decoders: Iterable[Provided]) -> Checkpoint:
    """The checkpoint with the tensors that *decoders* compose.

    What each claims is asked of the stored tensors. Raises ``UsageError`` where two claim one tensor, ``PluginError`` for a
    decoder that fails or does not keep to its claims.
    """
    from torch2grid_core._data.checkpoint import Checkpoint
    from torch2grid_core._data.storage import stamp_storages

    names = "".join([f"{name}\n" for name in checkpoint])
    made = [(each, each.create()) for each in decoders if _has_names(names, each)]
    claims = [_claims(each, decoder, checkpoint) for each, decoder in made]
    users: dict[str, Provided] = {}
    for (each, _), claimed in zip(made, claims, strict=True):
        for name in {name for new, stored in claimed.items() for name in (new, *stored)}:
            other = users.setdefault(name, each)
            if other is not each:
                both = f"decoders {other.qualified} and {each.qualified} both claim {name!r}"
                advice = "disable one with --disable-plugin, or give --raw to see what is stored"
                raise UsageError(f"{checkpoint.source}: {both}; {advice}")
    for (each, decoder), claimed in zip(made, claims, strict=True):
        found = call(decoder, decoder.decode, checkpoint)
        if not isinstance(found, Checkpoint):
            raise each.origin.error(returned("decode", found, "a Checkpoint"))
        for name in claimed:
            if name not in found.composed or found.composed[name].by != each.name:
                raise each.origin.error(f"decode did not compose {name!r}, which it claims")
        stamp_storages([found[name].storage for name in claimed], each.origin)  # who computes it is told when it fails
        checkpoint = found
    return checkpoint


def _has_names(names: str, decoder: Provided) -> bool:
    """False where none of *names*, of which each ends its line, is as the decoder wants: it is not even imported."""
    ends, within = decoder.about
    if not ends and not within:
        return True
    return any(f"{end}\n" in names for end in ends) or any(part in names for part in within)


def _claims(provided: Provided, decoder: Any, checkpoint: Checkpoint) -> Mapping[str, Any]:
    claimed = call(decoder, decoder.claims, checkpoint)
    if not isinstance(claimed, Mapping):
        raise provided.origin.error(returned("claims", claimed, "a mapping of names"))
    if wrong := wrong_claims(claimed, checkpoint):
        raise provided.origin.error(f"claims: {wrong}")
    return claimed


def wrong_claims(claimed: Mapping[Any, Any], checkpoint: Checkpoint) -> str:
    """Why a decoder cannot claim that of *checkpoint*; empty where it can."""
    for name, stored in claimed.items():
        if not isinstance(name, str):
            return f"{describe_value(name)} is not the name of a tensor"
        if not isinstance(stored, (list, tuple)) or not all(isinstance(each, str) for each in stored):
            return f"{visible(name, 60)!r} is of {describe_value(stored)}, not of a list of names"
        if not stored:
            return f"{visible(name, 60)!r} is of no stored tensor"
        if missing := next((each for each in stored if each not in checkpoint), None):
            told = f"{visible(name, 60)!r} is of {visible(missing, 60)!r}, which is not stored"
            return told + did_you_mean(missing, checkpoint)
    return ""
