"""The plugins of one run: found once, listed, chosen and reported from the same records."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

from torch2grid_core._errors import LoadError, Torch2GridError, UsageError, traced
from torch2grid_core._guard import Origin, describe_value, guarded, returned, stamp
from torch2grid_core._kinds import KINDS
from torch2grid_core._plugins.discovery import DISABLE_VARIABLE, from_file, installed, normalized
from torch2grid_core._plugins.loading import GuardedLoader, decoded
from torch2grid_core._plugins.options import flag_value, opens, split_spec, takes_one, takes_truth
from torch2grid_core._plugins.record import (
    SCHEME,
    PluginRecord,
    Precedence,
    Provided,
    kind_of,
    of_kind,
    summary_of,
)
from torch2grid_core._settings import DEFAULT_TRANSFORMER, spec_name
from torch2grid_core._text import did_you_mean, without_secrets

if TYPE_CHECKING:
    from torch2grid_core._data.checkpoint import Checkpoint
    from torch2grid_core._data.source import Source
    from torch2grid_core._data.target import Target
    from torch2grid_core._kinds.reading import SourceOpener
    from torch2grid_core._pictures.page import Page
    from torch2grid_core._settings import Settings

_ELSEWHERE: Mapping[str, Mapping[str, str]] = {  # what is often asked for, and the distribution that brings it
    "source": {
        **dict.fromkeys(("https", "http"), "torch2grid-remote"),
        **{scheme: f"torch2grid-remote[{scheme}]" for scheme in ("s3", "gs", "az", "hf")},
    },
    "command": {"explore": "torch2grid-explore"},
    "executor": {"dask": "torch2grid-dask"},
    "loader": {"gguf": "torch2grid-gguf"},
}
_INSTANCE = "registered"  # the source of an instance that is added by hand


class PluginManager:
    """Records of plugins, and the names of what they bring. Nothing here is global: each caller makes its own.

    A name belongs first to what comes with torch2grid, then to what the user named (a file, something registered); see
    ``Precedence``. Two installed plugins with one name are reached as ``distribution/name`` only.
    """

    def __init__(self, records: Iterable[PluginRecord] = ()) -> None:
        self.records: list[PluginRecord] = list(records)
        self.debug = False  # --debug was given
        self._indexed: dict[str, dict[str, list[Provided]]] = {}
        self._loaders: list[GuardedLoader] = []  # made once for all files
        self._notes: list[str] = []
        self._conflicts: dict[str, list[str]] = {}  # kind → a line for each name that one plugin keeps and another loses

    @classmethod
    def discover(cls, *, third_party: bool = True, disabled: Collection[str] = (), files: Iterable[str] = ()) -> PluginManager:
        """Return the manager of what is installed and of *files*.

        Args:
            third_party: False leaves only what comes with torch2grid.
            disabled: names of plugins or distributions that are never imported. Those in the variable
                ``TORCH2GRID_DISABLE_PLUGINS`` (comma-separated) are added.
            files: Python files with plugins.
        """
        variable = [name.strip() for name in os.environ.get(DISABLE_VARIABLE, "").split(",")]
        wanted_off = {*disabled, *filter(None, variable)}
        manager = cls(installed(third_party, wanted_off))
        known = {normalized(name) for record in manager.records for name in (record.owner, record.name)}
        for name in sorted(wanted_off):
            if normalized(name) not in known:
                by = f"--disable-plugin {name}" if name in disabled else f"{DISABLE_VARIABLE}={name}"
                manager.note(f"{by}: no plugin or distribution has that name")
        for path in files:
            manager.load_file(path)
        return manager

    def load_file(self, path: str) -> PluginRecord:
        """Add the plugin in a Python file. Raises ``UsageError`` or ``PluginError``."""
        record = from_file(path)
        return self._take(record, lambda each: (each.precedence, each.source) == (Precedence.GIVEN, record.source))

    def add(self, instance: Any) -> None:
        """Register a ready instance of any kind under its name.

        It replaces an instance of that kind and name that was registered before.

        Raises:
            UsageError: the instance is of no kind.
        """
        kind = kind_of(type(instance))
        if kind is None:
            raise UsageError(f"{type(instance).__name__} is not one of the kinds that a plugin brings: {', '.join(KINDS)}")
        name = instance.name
        record = PluginRecord(type(instance).__name__, "", "", _INSTANCE, Precedence.GIVEN)
        provided = Provided(kind, name, summary_of(instance), instance, record)
        record.provided = {each: [provided] if each == kind else [] for each in KINDS}
        stamp(instance, Origin(kind, name))
        self._take(record, lambda each: each.source == _INSTANCE and any(one.name == name for one in each.provides(kind)))

    def register(self, plugin: Any, name: str = "") -> PluginRecord:
        """Add a plugin: a module or object with hook implementations, or a class of some kind.

        It replaces what was registered before under that name from the same module and class.

        Raises:
            PluginError: it cannot be used.
        """
        own = name or getattr(plugin, "__name__", type(plugin).__name__).rpartition(".")[2]
        record = PluginRecord(own, "", "", _python_path(plugin), Precedence.GIVEN)
        record.register(plugin)
        if record.status == "failed":
            raise record.origin.error(record.error)
        return self._take(record, lambda each: (each.owner, each.source) == (own, record.source))

    def _take(self, record: PluginRecord, replaces: Callable[[PluginRecord], bool]) -> PluginRecord:
        """Add *record* in place of the earlier ones that it replaces; who keeps which name is settled anew."""
        self.records = [*(each for each in self.records if not replaces(each)), record]
        self._indexed.clear()
        self._loaders = []
        self._conflicts.clear()
        return record

    def names(self, kind: str) -> dict[str, Provided]:
        """Return what there is of one kind, sorted, by the name that reaches it."""
        listed = {}
        for name, owners in self._index(kind).items():
            free = [each for each in owners if not each.taken_by]
            for each in owners:
                listed[name if len(free) == 1 and each is free[0] else each.qualified] = each
        return dict(sorted(listed.items()))

    def find(self, kind: str, name: str) -> Provided:
        """Return the thing of that name.

        Raises:
            UsageError: the name is unknown (the error has the nearest ones), or two plugins claim it.
        """
        owner, slash, short = name.rpartition("/")
        owner = normalized(owner)
        candidates = [
            each
            for each in self._index(kind).get(short, [])
            if (normalized(each.record.owner) == owner if slash else not each.taken_by)
        ]
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            if len({each.qualified for each in candidates}) == 1:
                entries = " and ".join(each.record.name for each in candidates)
                told = f"{kind} {name!r} is brought {len(candidates)} times by {candidates[0].record.owner}"
                raise UsageError(f"{told}, by its entry points {entries}; one is enough")
            both = " or ".join(each.qualified for each in candidates)
            raise UsageError(f"{kind} {name!r} is brought by {len(candidates)} plugins; say which: {both}")
        raise UsageError(f"unknown {kind} {name!r}{self._why_missing(kind, name)}")

    def to_install(self, kind: str, name: str) -> str:
        """Return how to install what is known to bring *name*, a scheme of a source's; empty if nothing is known."""
        known = _ELSEWHERE.get(kind, {}).get(name)
        return f"pip install '{known}'" if known else ""

    def _why_missing(self, kind: str, name: str) -> str:
        off = [record.owner for record in self.records if record.status == "disabled" and name in (record.name, record.owner)]
        if off:
            return f"; {off[0]} is disabled"
        if advice := self.to_install(kind, name):
            return f"; {advice} brings it"
        valid = self.names(kind)
        if not valid:
            usual = "pip install torch2grid brings the usual ones" if KINDS[kind].usual else "a plugin brings one"
            return f"; none is installed ({usual})"
        return did_you_mean(name, valid)

    def create(self, kind: str, spec: Any) -> Any:
        """Return an instance by ``NAME:key=value,…`` or ``{NAME: {key: value}}``; an instance is returned as it is.

        ``{NAME: value}`` sets the first option, or its ``flag_field``, as the flag ``--NAME VALUE`` of a filter does. An option
        that is a ``Checkpoint`` is opened: its value is what ``open`` takes.

        Raises:
            UsageError: a wrong name or option, a class, or an instance of another kind.
            LoadError: an option's checkpoint cannot be opened.
            PluginError: the plugin fails.
        """
        if not isinstance(spec, (str, Mapping)):
            of_kind(spec, kind)
            return spec
        if isinstance(spec, Mapping) and not isinstance(next(iter(spec.values())), (Mapping, NoneType)):
            return self._create_by_value(kind, *next(iter(spec.items())))
        name, options = split_spec(spec)
        provided = self.find(kind, name)
        return provided.create(self._opened(provided, options))

    def _opened(self, provided: Provided, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """The options *given*, with locations opened that are of checkpoints."""
        known = provided.options() if given else {}
        return {
            key: self.open(value) if value and key in known and opens(known[key].type) and not opens(type(value)) else value
            for key, value in given.items()
        }

    def usual(self, kind: str, name: str) -> str:
        """Return *name*, or the only one that there is of a kind."""
        names = self.names(kind)
        return name if name in names or len(names) != 1 else next(iter(names))

    def given(self, kind: str) -> list[str]:
        """Return the names of one kind that come from the user's own files and from what was registered."""
        return [name for name, each in self.names(kind).items() if each.record.precedence is Precedence.GIVEN]

    def with_transformer(self, settings: Settings, usual: str | None = DEFAULT_TRANSFORMER) -> Settings:
        """Return *settings* with the transformer that ``plugin`` names, or *usual* (``None``: none).

        If a transformer could be streamed but overrides a step that prevents it, a note says so, because it costs time and
        memory.

        Raises:
            UsageError: the transformer is unknown, or an option of it is wrong.
        """
        spec = settings.plugin
        name = "" if spec is None else spec_name(spec).rpartition("/")[2]
        if spec is None and usual is not None:
            spec = self.usual("transformer", usual)
        transformer = None if spec is None else self.create("transformer", spec)
        if transformer is None:
            return replace(settings, transformer=None, transformer_name=name)
        from torch2grid_core._measures.transformer import overridden_steps

        if steps := overridden_steps(transformer):
            instead = "; leave tensors out with choose instead" if "preprocess" in steps else ""
            self.note(
                f"transformer {transformer.name!r} overrides {' and '.join(steps)} and is not streamed: it holds all weights"
                f" that it draws in memory and takes many times as long{instead}"
            )
        return replace(settings, transformer=transformer, transformer_name=name)

    def loaders(self, place: Any, forced: str = "", accepts: str = "bytes") -> list[GuardedLoader]:
        """Return the loaders that may open *place*: all that accept what it is, or the one that *forced* names.

        Raises:
            Torch2GridError: no loader is installed.
            UsageError: *forced* is unknown, or opens something else.
        """
        if forced:
            name, options = split_spec(forced)
            loader = GuardedLoader(self.find("loader", name), options)
            if loader.accepts != accepts:
                raise UsageError(f"loader {name!r} opens {loader.accepts}, not {accepts}")
            return [loader]
        self._loaders = self._loaders or [GuardedLoader(each) for each in self.names("loader").values()]
        found = [each for each in self._loaders if each.accepts == accepts]
        if not found and accepts == "bytes":
            raise Torch2GridError(f"{place}: no loader is installed; pip install torch2grid brings the usual ones")
        return found

    def source(self, location: str | Path) -> str | Path | Source:
        """Return the source at a location such as ``s3://bucket/key``; a path is returned as it is, and no plugin is asked.

        The opener gets the location as it was given, the scheme in lower case.

        Raises:
            LoadError: no plugin opens its scheme.
            UsageError: two plugins do.
        """
        from torch2grid_core._data.guarded import guarded_source
        from torch2grid_core._data.source import is_source

        opened = self._opener(location)
        if opened is None:
            return location
        opener, origin, shown, written = opened
        with guarded(origin, f"{shown}: open"):
            found: Source = opener.open(written)
        if not is_source(found):
            raise origin.error(f"{shown}: {returned('open', found, 'a Source')}")
        return guarded_source(found, origin, shown)

    def target(self, location: str | Path) -> Target | None:
        """Return the folder at a location such as ``s3://bucket/folder``, to write to; ``None`` for a path.

        Raises:
            LoadError: no plugin opens its scheme, or it cannot be written to.
            UsageError: two plugins open it.
        """
        opened = self._opener(location)
        if opened is None:
            return None
        opener, origin, shown, written = opened
        with guarded(origin, f"{shown}: target"):
            found: Target = opener.target(written)
        return found

    def _opener(self, location: str | Path) -> tuple[SourceOpener, Origin, str, str] | None:
        """What opens *location*, whose that is, what is shown of it, and how it gets it; ``None`` for a path."""
        scheme, colon, rest = str(location).partition("://")
        if not colon or not SCHEME.fullmatch(scheme) or os.path.exists(location):
            return None
        openers = self.names("source")
        free = {name: each for name, each in openers.items() if not each.taken_by}
        claims = [name for name, each in free.items() if scheme.lower() in each.facts.get("schemes", ())]
        if not claims:
            advice = self.to_install("source", scheme.lower()) or "install one that does, or give a path"
            raise LoadError(location, f"no plugin opens {scheme}:// locations", advice)
        if len(claims) > 1:
            both = f"{' and '.join(claims)} both open {scheme}://"
            raise UsageError(f"{without_secrets(str(location))}: {both}; disable one with --disable-plugin")
        chosen = openers[claims[0]]
        return chosen.create(), chosen.origin, without_secrets(str(location)), f"{scheme.lower()}://{rest}"

    def open(self, place: Any, loader: str = "", *, raw: bool = False) -> Checkpoint:
        """Return the checkpoint in *place*, opened by the loader that knows its content best, or by *loader*.

        Args:
            place: a path, a location such as ``s3://bucket/key``, a ``Source``, or a live object.
            loader: name of a loader; without it, each loader is asked.
            raw: show what is stored, without what decoders make of it.

        Raises:
            LoadError: no loader opens the file.
            UsageError: two loaders claim the file, two decoders claim one tensor, or the loader is unknown.
        """
        from torch2grid_core._data.opening import open_checkpoint
        from torch2grid_core._data.source import ObjectSource, is_source

        is_path = isinstance(place, (str, os.PathLike))
        given = place if is_path or is_source(place) else ObjectSource(place)
        loaders = self.loaders(place, loader, "bytes" if is_path or given.object is None else "objects")
        source = self.source(os.fspath(place)) if is_path else given
        others = self.loaders(place, "", loaders[0].accepts) if loader else []
        found = open_checkpoint(source, [*loaders, *others], loaders[0] if loader else None)
        return found if raw else decoded(found, self.names("decoder").values())

    def _create_by_value(self, kind: str, name: str, value: Any) -> Any:
        provided = self.find(kind, name)
        options, wanted = provided.options(), getattr(provided.load(), "flag_field", "")
        if wanted and wanted not in options:
            valid = ", ".join(options) or "it has none"
            raise provided.origin.error(f"its flag_field {describe_value(wanted)} is not one of its options: {valid}")
        if value is True and provided.facts.get("flag") is True:  # --NAME alone
            if wanted and not takes_truth(options[wanted].type):
                raise provided.origin.error(f"its flag takes no value, and its flag_field {wanted!r} is not of true or false")
            return provided.create({wanted: True} if wanted else {})
        field = wanted or next(iter(options), "")
        if not field:
            raise provided.origin.error("takes a value and has no option for it")
        if isinstance(value, (list, tuple)) and len(value) > 1 and takes_one(options[field].type):
            raise UsageError(f"{kind} {name!r}: --{name} takes one value, and {len(value)} are given")
        return provided.create({field: flag_value(value, options[field].type)})

    def renderer_for(self, format: str, forced: str = "") -> Provided:
        """Return the renderer that writes *format*: the one that *forced* names, if it does.

        Raises:
            UsageError: none or more than one does, or the name is unknown.
        """
        renderers = self.names("renderer")
        chosen = self.find("renderer", split_spec(forced)[0]) if forced else None
        if chosen is not None and format in chosen.facts.get("formats", ()):
            return chosen
        claims = [each for each in renderers.values() if format in each.facts.get("formats", ())]
        own = [each for each in claims if each.record.precedence is Precedence.BASE]
        claims = own if own else claims
        if len(claims) == 1:
            return claims[0]
        if claims:
            names = [name for name, each in renderers.items() if any(each is one for one in claims)]
            raise UsageError(f"format {format!r} is written by {' and '.join(names)}; say which with --renderer {names[0]}")
        raise UsageError(f"unknown format {format!r}{did_you_mean(format, self.formats())}")

    def formats(self) -> list[str]:
        """Return every format that an installed renderer writes, sorted."""
        return sorted({name for each in self.names("renderer").values() for name in each.facts.get("formats", ())})

    def listens(self) -> bool:
        """Return True if a plugin implements ``torch2grid_written``, so that pages must stay whole until they are written."""
        return any(record.listens() for record in self.records)

    def written(self, page: Page, path: Path, run: Settings) -> None:
        """Send the one event to every plugin. A plugin that fails is reported once, at the end."""
        for record in self.records:
            try:
                record.written(page=page, path=path, run=run)
            except Torch2GridError as error:
                record.blame(error, "torch2grid_written")

    def trace(self, error: BaseException) -> None:
        """Show on stderr the traceback of an error that is reported in a line and ends nothing, if ``--debug`` asks for it."""
        if self.debug:
            print(traced(error), file=sys.stderr)

    def note(self, line: str) -> None:
        """Remember one line for the user, once."""
        if line not in self._notes:
            self._notes.append(line)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was noted so far."""
        return tuple(self._notes)

    def problems(self) -> list[str]:
        """Return lines for stderr: one for each plugin or listener that failed, lost or took a name, or has remarks."""
        lines = [line for record in self.records if record.status != "disabled" for line in record.lines()]
        return lines + self._notes + [line for lost in self._conflicts.values() for line in lost]

    def _index(self, kind: str) -> dict[str, list[Provided]]:
        """Name → its claimants in order of precedence; those that lost the short name say to whom."""
        if kind not in self._indexed:
            index: dict[str, list[Provided]] = {}
            for record in sorted(self.records, key=lambda record: (record.precedence, record.owner, record.name)):
                for each in record.provides(kind):
                    index.setdefault(each.name, []).append(each)
            self._indexed[kind] = dict(sorted(index.items()))
            lines = (line for name, claimants in index.items() for line in _settle(kind, name, claimants))
            self._conflicts[kind] = list(dict.fromkeys(lines))  # two plugins of one distribution are told of once
        return self._indexed[kind]


def _settle(kind: str, name: str, claimants: list[Provided]) -> Iterator[str]:
    """Who of the *claimants*, in order of precedence, keeps the short name; a line for each that loses it."""
    first = claimants[0]
    keeps = first.record.precedence is not Precedence.INSTALLED
    for each in claimants:
        each.taken_by = first.record.owner if keeps and each is not first else ""
        if each.taken_by and first.record.precedence is Precedence.GIVEN:
            yield f"{kind} {name!r}: {first.record.source} is used instead of {each.record.owner}'s"
        elif each.taken_by:
            yield f"{kind} {name!r} of {each.record.owner} is taken by {each.taken_by}; reach it as {each.qualified}"


def _python_path(plugin: Any) -> str:
    """``package.module`` of a module, ``package.module:Class`` of a class or an instance."""
    if inspect.ismodule(plugin):
        return plugin.__name__
    cls = plugin if isinstance(plugin, type) else type(plugin)
    return f"{cls.__module__}:{cls.__qualname__}"
