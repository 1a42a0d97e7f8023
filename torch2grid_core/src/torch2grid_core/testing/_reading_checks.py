"""What sources, decoders and filters promise: whatever tensors come to a run, they are those of the file."""

from __future__ import annotations

import inspect
import os
import pickle
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import pairwise
from typing import Any, Literal, get_args, get_origin

import numpy as np

from torch2grid_core._data.checkpoint import Checkpoint
from torch2grid_core._data.guarded import answer_all
from torch2grid_core._data.source import HEAD_BYTES, TAIL_BYTES, Range, Source, SourceBase
from torch2grid_core._errors import LoadError, Torch2GridError
from torch2grid_core._guard import returned
from torch2grid_core._methods import misspelt
from torch2grid_core._plugins.loading import wrong_claims
from torch2grid_core._plugins.manager import PluginManager
from torch2grid_core._plugins.options import options_of
from torch2grid_core._plugins.record import SCHEME
from torch2grid_core.testing._loader_checks import copy_agrees, reads_of_agree
from torch2grid_core.testing._samples import sample_checkpoints
from torch2grid_core.testing._subject import ADVICE, NotConforming, Subject, check, expect

_USER, _QUERY = "kit:of-torch2grid@", "signed=by-torch2grid"  # put into locations, to see whether they are shown
_NAME, _WORDS = 40, 60  # characters of a tensor's name, and texts, that are tried as values of a filter's options
_DEPTH = 64  # folders in folders that files= may make; more are one that holds itself
_ADDRESS = 3000  # bytes that a pickled source has at most: less than a head


def _expect_source(found: Any) -> None:
    """Fail the check unless *found*, which open returned, is a source, whose answers are what those of one are."""
    missing = [name for name in dir(Source) if name[0] != "_" and not _has(found, name)]
    expect(not missing, returned("open", found, "a Source" if found is None else f"a Source: it lacks {', '.join(missing)}"))
    unused = [f"nothing calls {name}(): did you mean {meant}()?" for name, meant in misspelt(type(found), SourceBase)]
    expect(not unused, "; ".join(unused))
    try:
        answer_all(found)
    except Torch2GridError as error:
        raise NotConforming(str(error)) from error


def _has(found: Any, name: str) -> bool:
    """True where there is an attribute of that name, and where asking for it is an error of its own."""
    try:
        return hasattr(found, name) or inspect.getattr_static(type(found), name, None) is not None
    except Exception:
        return True


def _all(subject: Subject) -> Iterator[Source]:
    """Every file and folder that *files* made, and what is in them."""
    with subject.made("locations") as locations:
        pending = [(subject.make().open(location), 0) for location in locations]
        while pending:
            source, depth = pending.pop()
            _expect_source(source)
            deep = f"{source.shown}: folders in folders, {depth} of them: does child() give the folder itself?"
            expect(depth < _DEPTH, deep)
            pending += [(source.child(name), depth + 1) for name in source.entries] if source.is_folder else []
            yield source


def _opened(subject: Subject) -> Iterator[Source]:
    """Every file that *files* made, those in folders too."""
    return (source for source in _all(subject) if not source.is_folder)


def _folders(subject: Subject) -> Iterator[Source]:
    """Every folder that *files* made, and those that its files lie in."""
    for source in _all(subject):
        if source.is_folder:
            yield source
        elif source.folder is not None:
            yield source.folder


def _child(folder: Source, name: str) -> Source:
    """What *folder* holds under *name*, which it has to."""
    try:
        return folder.child(name)
    except LoadError as error:
        raise NotConforming(f"{folder.shown} does not give its {name!r}: {error}") from error


def _refused(source: Source, method: str, *words: Any) -> None:
    try:
        getattr(source, method)(*words)
    except LoadError:
        return
    expect(False, f"{method}{words} of {source.shown}, which has {source.size} bytes, is not a LoadError")


@check("source")
def schemes(subject: Subject) -> None:
    """Its schemes are a tuple of lower-case words, and files= makes locations of them."""
    found = subject.make().schemes
    words = isinstance(found, tuple) and found and all(isinstance(each, str) and each == each.lower() for each in found)
    right = words and all(map(SCHEME.fullmatch, found))
    expect(right, f"schemes is {found!r}, not a tuple of words such as ('s3', 'zip+file')")
    with subject.made("locations") as locations:
        for location in locations:
            expect(location.partition("://")[0] in found, f"{location!r} is of no scheme of {found}")


@check("source")
def shown_holds_no_secrets(subject: Subject) -> None:
    """shown, and the name, carry neither the user and password nor the query of a location."""
    with subject.made("locations") as locations:
        for location in locations:
            scheme, _, rest = location.partition("://")
            host, slash, path = rest.partition("/")
            asked = f"{scheme}://{_USER}{host.rpartition('@')[2]}{slash}{path}"
            signed = f"{location}{'&' if '?' in rest else '?'}{_QUERY}"
            for each in (location, asked, signed):
                try:
                    source = subject.make().open(each)
                    _expect_source(source)
                    around = [source, source.folder, *map(source.child, source.entries[:1])]
                except Exception:
                    if each == location:
                        raise
                    continue  # it knows no such locations
                for found in filter(None, around):
                    for what, said in (("shown", found.shown), ("name", found.name)):
                        told = any(secret in said for secret in _secrets(each))
                        expect(not told, f"{what} of {each} is {said!r}: leave out the user, the password and the query")


def _secrets(location: str) -> list[str]:
    """The texts in a location that are nobody's business."""
    rest = location.partition("://")[2]
    user = rest.partition("/")[0].rpartition("@")[0]
    query = rest.partition("?")[2].partition("#")[0]
    return [*([f"{user}@"] if user else []), *([query] if query else [])]


@check("source")
def source_reads_agree(subject: Subject) -> None:
    """head, tail, a window, a range and any part of read give the same bytes; some file has a byte."""
    read = 0
    for source in _opened(subject):
        size = source.size
        read += size
        whole = source.read(0, size)
        expect(len(whole) == size, f"{source.shown} has {size} bytes, read gives {len(whole)}")
        expect(source.head == whole[:HEAD_BYTES], f"head of {source.shown} is not its first {HEAD_BYTES} bytes")
        tail = whole if size <= HEAD_BYTES else whole[-TAIL_BYTES:]
        expect(source.tail == tail, f"tail of {source.shown} is not its last {TAIL_BYTES} bytes")
        cuts = sorted({0, size // 3, size // 2, size})
        source.prefetch([(first, last - first) for first, last in pairwise(cuts)])
        for first in cuts:
            for last in (last for last in cuts if last >= first):
                buffer = bytearray(last - first)
                Range(source, first, last - first).read_into(0, memoryview(buffer))
                window = source.window(first, last - first)
                found = (source.read(first, last - first), bytes(buffer), window.read(0, window.size))
                expect(set(found) == {whole[first:last]}, f"bytes {first}–{last} of {source.shown} depend on how they are read")
    expect(read, "no file of those that files= made, and of what its folders list, has a byte: nothing was read")


@check("source")
def what_is_not_there(subject: Subject) -> None:
    """Bytes behind the end, a window that leaves it and a child of a file are LoadErrors."""
    for source in _opened(subject):
        for offset, length in ((source.size, 1), (0, source.size + 1), (-1, 1)):
            _refused(source, "read", offset, length)
            _refused(source, "window", offset, length)
        _refused(source, "child", "no such thing")
        expect(not source.entries, f"{source.shown} is a file, and has entries")


@check("source")
def folders_hold_what_they_list(subject: Subject) -> None:
    """A folder has no bytes; its entries are sorted, each is a child of that name, and no other name is."""
    for folder in _folders(subject):
        expect(isinstance(folder, Source), f"folder is {type(folder).__name__}, which lacks something of a Source")
        empty = (folder.size, folder.head, folder.tail) == (0, b"", b"")
        expect(empty, f"{folder.shown} is a folder, and has a size, a head or a tail")
        _refused(folder, "read", 0, 1)
        _refused(folder, "child", "no such thing")
        names = list(folder.entries)
        expect(names == sorted(set(names)), f"the entries of {folder.shown} are not sorted, or one stands there twice")
        for name in names:
            child = _child(folder, name)
            expect(child.name == name, f"the child {name!r} of {folder.shown} is named {child.name!r}")
            expect(child.identity == folder.child(name).identity, f"{name!r} in {folder.shown} has another identity each time")
            for inner in child.entries if child.is_folder else ():
                below = _child(folder, f"{name}/{inner}")
                expect(
                    below.identity == child.child(inner).identity, f"{name}/{inner} in {folder.shown} is another than {inner}"
                )


@check("source")
def files_lie_in_their_folder(subject: Subject) -> None:
    """Where a file knows its folder, that is a folder, gives the file under its name, and lists it if it lists anything."""
    for source in _opened(subject):
        folder = source.folder
        if folder is None:
            continue
        expect(folder.is_folder, f"the folder of {source.shown} is not a folder: is_folder is False")
        twin = _child(folder, source.name)
        expect(twin.identity == source.identity, f"{source.name!r} of its own folder has another identity")
        expect(twin.head == source.head, f"{source.name!r} of its own folder has other bytes")
        listed = not folder.entries or source.name in folder.entries
        expect(listed, f"{folder.shown} lists its entries, and {source.name!r} is not among them")


@check("source")
def source_pickles(subject: Subject) -> None:
    """A pickled copy has the same bytes, entries and identity, and carries nothing that was read; weak references work."""
    for source in _all(subject):
        hash(source), weakref.ref(source)
        held = source.head, source.tail, list(source.entries)
        raw = pickle.dumps(source)
        expect(len(raw) < _ADDRESS, f"{source.shown} pickles to {len(raw)} bytes: it carries more than its address")
        copy = pickle.loads(raw)
        expect(copy.is_folder == source.is_folder, f"a pickled copy of {source.shown} is a folder, or is none any more")
        expect((copy.head, copy.tail, list(copy.entries)) == held, f"a pickled copy of {source.shown} has other contents")
        if not source.is_folder:
            expect(copy.read(0, copy.size) == source.read(0, source.size), f"a pickled copy of {source.shown} has other bytes")
        expect(copy.identity == source.identity, f"a pickled copy of {source.shown} has another identity")


def _composed(subject: Subject) -> Iterator[tuple[Checkpoint, Mapping[str, Any], Checkpoint]]:
    """Each checkpoint that *files* made, what the decoder claims of it, and what becomes of it."""
    with subject.made("checkpoints") as found:
        for each in found:
            checkpoint = PluginManager.discover().open(each, raw=True) if isinstance(each, (str, os.PathLike)) else each
            expect(isinstance(checkpoint, Checkpoint), returned("files=", checkpoint, "a Checkpoint, nor the path of one"))
            claims = subject.make().claims(checkpoint)
            expect(isinstance(claims, Mapping), returned("claims", claims, "a mapping of names"))
            expect(bool(claims), f"{checkpoint!r}: it claims nothing")
            wrong = wrong_claims(claims, checkpoint)
            expect(not wrong, f"claims: {wrong}")
            decoded = subject.make().decode(checkpoint)
            expect(isinstance(decoded, Checkpoint), returned("decode", decoded, "a Checkpoint"))
            yield checkpoint, claims, decoded


@check("decoder")
def claims_are_stored(subject: Subject) -> None:
    """claims names stored tensors for each new name, the same each time, and leaves the checkpoint as it is."""
    for checkpoint, claims, _ in _composed(subject):
        before = list(checkpoint.items())
        again = subject.make().claims(checkpoint)
        expect(
            {name: list(each) for name, each in again.items()} == {name: list(claims[name]) for name in claims},
            "claims says something else the second time",
        )
        expect(list(checkpoint.items()) == before, "the checkpoint was changed")


@check("decoder")
def what_it_claims_is_composed(subject: Subject) -> None:
    """decode composes what it claims, each with a note, and leaves every other tensor as it is, and nothing to claim."""
    for checkpoint, claims, decoded in _composed(subject):
        used = {each for stored in claims.values() for each in stored}
        for name in claims:
            made = decoded.composed.get(name)
            expect(made is not None and made.by == subject.name, f"{name!r} was not composed by checkpoint.compose")
            expect(decoded[name].note, f"{name!r} has no note")
        others = {name: tensor for name, tensor in checkpoint.items() if name not in used}
        kept = {name: tensor for name, tensor in decoded.items() if name not in claims}
        expect(kept == others, f"other tensors were changed: {sorted(kept.keys() ^ others.keys())[:3]}")
        expect(not subject.make().claims(decoded), "it claims something of what it has decoded")


@check("decoder")
def composed_reads_agree(subject: Subject) -> None:
    """Every way to read a composed tensor gives the same weights: whole, in chunks, any range, and from a pickled copy."""
    for _, claims, decoded in _composed(subject):
        for name in claims:
            reads_of_agree(decoded[name].check())
            copy_agrees(decoded[name])


@check("decoder")
def others_are_left_alone(subject: Subject) -> None:
    """Of a checkpoint that has nothing for it, it claims nothing, and decode leaves every tensor as it is."""
    for about, checkpoint in sample_checkpoints().items():
        try:
            claims = subject.make().claims(checkpoint)
        except LoadError:
            continue
        expect(isinstance(claims, Mapping), f"{about}: {returned('claims', claims, 'a mapping of names')}")
        if not claims:
            expect(dict(subject.make().decode(checkpoint)) == dict(checkpoint), f"{about}: decode changed tensors")


def _applied(instance: Any, checkpoint: Checkpoint) -> Checkpoint | None:
    """What the filter leaves, ``None`` where it declines with an error for the user."""
    try:
        result = instance.apply(checkpoint)
    except Torch2GridError:
        return None
    expect(isinstance(result, Checkpoint), returned("apply", result, "a Checkpoint"))
    return result  # type: ignore[no-any-return]


@check("filter")
def flag_sets_an_option(subject: Subject) -> None:
    """The flag is the text of a value, or True for none; flag_field is an option, of true or false where there is no value."""
    made, options = subject.make(), options_of(subject.cls)
    expect(isinstance(made.flag, (str, bool)), f"flag is {made.flag!r}: the text of its value, or True for none")
    if made.flag_field:
        expect(made.flag, f"flag_field is {made.flag_field!r}, and there is no flag")
        expect(made.flag_field in options, f"flag_field {made.flag_field!r} is not one of its options: {', '.join(options)}")
        bare = made.flag is not True or options[made.flag_field].type is bool
        expect(bare, f"flag = True makes {made.flag_field!r} true, which is {options[made.flag_field].type_text}")
    elif isinstance(made.flag, str) and made.flag:
        expect(options, "its flag takes a value, and it has no option for it")


@check("filter")
def keep_answers(subject: Subject) -> None:
    """keep answers True or False for every tensor, whatever its shape and type, and the same when it is asked again."""
    instance = subject.make()
    for about, checkpoint in subject.checkpoints.items():
        for tensor in checkpoint.values():
            answers = instance.keep(tensor), instance.keep(tensor)
            wrong = [each for each in answers if not isinstance(each, (bool, np.bool_))]
            expect(not wrong, f"{about}: {returned('keep', wrong[0] if wrong else None, 'True or False')}")
            expect(answers[0] == answers[1], f"{about}: keep changes its mind about {tensor.name[:40]!r}")


@check("filter")
def what_goes_is_recorded(subject: Subject) -> None:
    """Each tensor stays, in its place, or is recorded in skipped with the filter's name and a reason."""
    instance = subject.make()
    for about, checkpoint in subject.checkpoints.items():
        result = _applied(instance, checkpoint)
        if result is None:
            continue
        told = {skip.name: skip for skip in result.skipped}
        for name in checkpoint:
            expect(name in result or name in told, f"{about}: {name[:40]!r} is gone, and skipped does not say so")
        for skip in told.values():
            expect(skip.by == instance.name and skip.reason, f"{about}: {skip.name[:40]!r} is skipped by {skip.by!r}")
        kept = [name for name in checkpoint if name in result]
        expect([name for name in result if name in checkpoint] == kept, f"{about}: tensors have another order")


@check("filter")
def something_is_chosen(subject: Subject) -> None:
    """Some tensor stays and another goes, in the samples, or in its own where samples= gives some.

    declines=True says that none has to. Where its defaults choose nothing, each option is tried with a few values.
    """
    if subject.declines:
        return
    tried = subject.meant_for if subject.samples else subject.checkpoints
    stays = goes = False
    for options in _likely(subject, tried.values()):
        for checkpoint in tried.values():
            try:
                result = _applied(subject.make(**options), checkpoint)
            except NotConforming:
                raise
            except Exception:
                if not options:
                    raise
                continue  # a value that it does not take
            if result is not None and len(checkpoint):
                stays, goes = stays or len(result) > 0, goes or dict(result) != dict(checkpoint)
        if stays and goes:
            return
    about = ", ".join(name[:60] for name in tried)
    told = "keeps every tensor of every sample" if stays else "keeps no tensor of any sample"
    expect(False, f"it {told} ({about})" + ("" if subject.samples else ADVICE))


def _likely(subject: Subject, checkpoints: Iterable[Checkpoint]) -> Iterator[dict[str, Any]]:
    """Its defaults, then each option with values that are likely to choose."""
    yield {}
    names = [name for checkpoint in checkpoints for name in checkpoint if name.isprintable() and 0 < len(name) < _NAME]
    words = list(dict.fromkeys([*names, *(f"*{name.rpartition('.')[2]}" for name in names), "float32", "0", "0:1"]))
    values = ["true", "false", "0", "1", "2", "10", "1000", "0.5", *words[:_WORDS]]
    for option in options_of(subject.cls).values():
        choices = [str(each) for each in get_args(option.type)] if get_origin(option.type) is Literal else values
        for value in choices:
            with suppress(Torch2GridError):
                subject.make(**{option.name: value})
                yield {option.name: value}


@check("filter")
def inputs_stay(subject: Subject) -> None:
    """The checkpoint that it is given keeps its tensors and what it skipped; a second call gives the same."""
    for about, checkpoint in subject.checkpoints.items():
        instance = subject.make()
        before = list(checkpoint.items()), checkpoint.skipped
        first, second = _applied(instance, checkpoint), _applied(instance, checkpoint)
        expect((list(checkpoint.items()), checkpoint.skipped) == before, f"{about}: the checkpoint was changed")
        same = (first is None) == (second is None) and list(first or ()) == list(second or ())
        expect(same, f"{about}: a second call keeps other tensors")
