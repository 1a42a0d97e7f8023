"""What a loader promises, on files of its own format and on others."""

from __future__ import annotations

import pickle
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from torch2grid_core._data.checkpoint import Checkpoint
from torch2grid_core._data.local import LocalSource
from torch2grid_core._data.opening import open_checkpoint
from torch2grid_core._data.source import ObjectSource, Source
from torch2grid_core._data.storage import DerivedNumbers, beneath, read_from
from torch2grid_core._data.tensor import LazyTensor
from torch2grid_core._errors import LoadError, Torch2GridError
from torch2grid_core._guard import origin_of, returned
from torch2grid_core._plugins.loading import answer_for
from torch2grid_core._plugins.manager import PluginManager
from torch2grid_core.testing._subject import Subject, check, expect

_CUTS = (0.0, 0.1, 0.5, 0.9)
_FLIPS = 60


@contextmanager
def _foreign() -> Iterator[dict[str, Path]]:
    """Files of no loader's format, and a folder of them."""
    random = np.random.default_rng(2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        contents = {
            "empty": b"",
            "one_byte": b"\x80",
            "zeros": bytes(5000),
            "noise": random.bytes(5000),
            "text": b"This is a letter, not a checkpoint.\n" * 50,
            "json": b'{"a": [1, 2, 3]}',
            "web_page": b"<!DOCTYPE html><html><body>404</body></html>",
        }
        for about, data in contents.items():
            (folder / about).write_bytes(data)
        with zipfile.ZipFile(folder / "zip", "w") as archive:
            archive.writestr("letter.txt", "not a checkpoint")
        yield {**{about: folder / about for about in [*contents, "zip"]}, "folder": folder}


_OBJECTS: tuple[Any, ...] = (7, "text", b"\x80", [], {}, object(), int, print, np.zeros(0))


@contextmanager
def _samples(subject: Subject) -> Iterator[list[Source]]:
    """Files of the loader's format, or objects that it opens."""
    with subject.made("files of its format") as found:
        live = subject.make().accepts == "objects"
        yield [ObjectSource(each) if live else LocalSource(each) for each in found]


@check("loader")
def sniff_is_safe(subject: Subject) -> None:
    """sniff answers 0, 1 or 2 for whatever file, folder or object it is shown, never 2 for what is of no format or kind."""
    loader = subject.make()
    with _foreign() as files:
        shown: dict[str, Source] = {about: LocalSource(path) for about, path in files.items()}
        if loader.accepts == "objects":
            shown = {f"a {type(each).__name__}": ObjectSource(each) for each in _OBJECTS}
        for about, source in shown.items():
            found = loader.sniff(source)
            expect(isinstance(found, int) and 0 <= found <= 2, f"{about}: {returned('sniff', found, '0, 1 or 2')}")
            expect(found < 2, f"{about}: sniff claims to know this format exactly")


@check("loader")
def sniff_knows_its_own(subject: Subject) -> None:
    """sniff recognises files of its format by their content: under another name just as well."""
    loader = subject.make()
    with _samples(subject) as sources:
        for source in sources:
            strength = loader.sniff(source)
            expect(isinstance(strength, int) and 1 <= strength <= 2, f"{source.shown}: {returned('sniff', strength, '1 or 2')}")
            for path in _files([source]):
                again = loader.sniff(LocalSource(shutil.copy(path, path.with_name("renamed.dat"))))
                expect(again == strength, f"sniff returned {strength} for {path.name}, {again} for the same as renamed.dat")


def _loaded(subject: Subject, source: Source) -> Any:
    """What the loader makes of *source*; of an archive, what an installed loader makes of the checkpoint in it."""
    loader = subject.make()
    if source.object is not None or loader.inside(source) is None:
        return loader.load(source)
    others = PluginManager.discover().loaders(source)
    return open_checkpoint(source, [loader, *(each for each in others if each.name != loader.name)], loader)


def _tensors(checkpoint: Any) -> list[LazyTensor]:
    expect(isinstance(checkpoint, Checkpoint), returned("load", checkpoint, "a Checkpoint"))
    return list(checkpoint.values())


@check("loader")
def load_describes(subject: Subject) -> None:
    """load returns a Checkpoint: source and format as text, and tensors whose shape, dtype and storage fit together."""
    loader = subject.make()
    with _samples(subject) as sources:
        for source in sources:
            checkpoint = _loaded(subject, source)
            tensors = _tensors(checkpoint)
            answer_for(checkpoint, origin_of(loader), source.shown)
            _ = checkpoint.notes, checkpoint.not_run  # which may be functions
            expect(tensors, f"{source.shown}: no tensor was found")
            named = checkpoint.source if loader.accepts == "objects" else source.shown in checkpoint.source
            expect(named, f"source is {checkpoint.source!r}: use source.shown")
            expect(isinstance(checkpoint.format, str) and checkpoint.format, "format is empty: name the file format")
            for name, tensor in checkpoint.items():
                expect(isinstance(tensor, LazyTensor), f"{name!r} is {type(tensor).__name__}, not a LazyTensor")
                expect(tensor.name == name, f"{name!r} holds the tensor {tensor.name!r}")
                expect(isinstance(tensor.dtype, np.dtype), f"the dtype of {name!r} is {tensor.dtype!r}, not a numpy dtype")
                whole = isinstance(tensor.shape, tuple) and all(isinstance(each, int) for each in tensor.shape)
                expect(whole, f"the shape of {name!r} is {tensor.shape!r}, not a tuple of int")
                tensor.check()


@check("loader")
def reads_agree(subject: Subject) -> None:
    """Every way to read a tensor gives the same weights: whole, in chunks of any size, and any range of its bytes."""
    with _samples(subject) as sources:
        for tensor in (each for source in sources for each in _tensors(_loaded(subject, source))):
            reads_of_agree(tensor)


def _expect_filled(tensor: LazyTensor) -> None:
    """Fail the check where a storage of the plugin's own leaves bytes of a buffer as they were, wherever they are in it."""
    for storage in beneath(tensor.storage):
        kind = type(storage)
        if kind.__module__.startswith("torch2grid_core.") or kind.read_into is DerivedNumbers.read_into:
            continue
        zeros, ones = bytearray(storage.size), bytearray(b"\xff" * storage.size)
        try:
            for buffer in (zeros, ones):
                read_from(storage, 0, memoryview(buffer))
        except LoadError:  # one that cannot be read from end to end, as of items; the reads below say what else is wrong
            continue
        left = np.flatnonzero(np.frombuffer(zeros, np.uint8) != np.frombuffer(ones, np.uint8))
        if len(left):
            told = f"{len(left):,} of the {storage.size:,} bytes that it was asked for as they were, byte {left[0]:,} the first"
            expect(False, f"read_into of {kind.__name__} leaves {told}")


def reads_of_agree(tensor: LazyTensor) -> None:
    """Fail the check unless every way to read *tensor* gives the same weights."""
    random = np.random.default_rng(3)
    _expect_filled(tensor)
    whole = tensor.numpy()
    label = f"{tensor.name!r}"
    expect(whole.shape == tensor.shape, f"{label} has shape {tensor.shape}, reads give {whole.shape}")
    expect(whole.dtype == tensor.dtype, f"{label} has dtype {tensor.dtype}, reads give {whole.dtype}")
    expected = np.ascontiguousarray(whole).tobytes()
    for size in (tensor.dtype.itemsize, 1000, 1 << 20):
        if len(expected) // max(size, 1) > 5000:
            continue
        parts = [part.tobytes() for _, part in tensor.flat_chunks(size)]
        expect(b"".join(parts) == expected, f"{label} in chunks of {size} bytes differs from the whole")
    if not tensor.contiguous:
        return
    width, count = tensor.dtype.itemsize, tensor.size
    for _ in range(20 if count else 0):
        first, last = sorted(random.integers(0, count + 1, 2).tolist())
        buffer = bytearray((last - first) * width)
        read_from(tensor.storage, (tensor.offset + first) * width, memoryview(buffer))
        expect(buffer == expected[first * width : last * width], f"weights {first}–{last} of {label} differ")


@check("loader")
def deterministic(subject: Subject) -> None:
    """Loading twice gives the same tensors with the same weights, and leaves the file as it was."""
    with _samples(subject) as sources:
        before = _contents(sources)
        for source in sources:
            first, second = (_tensors(_loaded(subject, source)) for _ in range(2))
            described = [[(each.name, each.shape, each.dtype, each.note) for each in found] for found in (first, second)]
            expect(described[0] == described[1], f"{source.shown}: a second load finds other tensors")
            for one, other in zip(first, second, strict=True):
                expect(one.numpy().tobytes() == other.numpy().tobytes(), f"{one.name!r} reads differently the second time")
        expect(_contents(sources) == before, "a file was changed by reading it")


def _contents(sources: list[Source]) -> dict[Path, bytes]:
    paths = [source.path for source in sources if isinstance(source, LocalSource)]
    files = [each for path in paths for each in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    return {file: file.read_bytes() for file in files if file.is_file()}


def _files(sources: list[Source]) -> list[Path]:
    """Those of *sources* that are files."""
    return [source.path for source in sources if isinstance(source, LocalSource) and not source.is_folder]


@check("loader")
def shipping(subject: Subject) -> None:
    """A tensor whose storage says it is shippable reads the same weights from a pickled copy."""
    with _samples(subject) as sources:
        for tensor in (each for source in sources for each in _tensors(_loaded(subject, source))):
            copy_agrees(tensor)


def copy_agrees(tensor: LazyTensor) -> None:
    """Fail the check where *tensor* is shippable and a pickled copy has other weights."""
    if tensor.storage.shippable:
        copy = pickle.loads(pickle.dumps(tensor))
        expect(copy.numpy().tobytes() == tensor.numpy().tobytes(), f"a pickled {tensor.name!r} reads differently")


@check("loader")
def damage_is_a_clear_error(subject: Subject) -> None:
    """A file that is cut short or damaged loads, or raises LoadError of one line; never anything else."""
    random = np.random.default_rng(4)
    with _samples(subject) as sources:
        for path in _files(sources):
            whole = path.read_bytes()
            for cut in [int(len(whole) * share) for share in _CUTS] + [len(whole) - 1]:
                path.write_bytes(whole[:cut])
                _must_load_or_say_why(subject, path, f"cut to {cut} of {len(whole)} bytes")
            for _ in range(_FLIPS):
                spoilt = bytearray(whole)
                place = int(random.integers(0, min(len(whole), 2048)))
                spoilt[place] = int(random.integers(0, 256))
                path.write_bytes(spoilt)
                _must_load_or_say_why(subject, path, f"with byte {place} changed to {spoilt[place]}")
            path.write_bytes(whole)


def _must_load_or_say_why(subject: Subject, path: Path, what: str) -> None:
    try:
        for tensor in _tensors(_loaded(subject, LocalSource(path))):
            if tensor.nbytes <= 1 << 24:
                tensor.numpy()
    except LoadError as error:
        expect("\n" not in str(error), f"{what}: the error has several lines: {error!s}")
    except Torch2GridError as error:
        expect(False, f"{what}: raised {type(error).__name__}, not LoadError: {error}")
    except Exception as error:
        expect(False, f"{what}: raised {type(error).__name__}: {error}, not LoadError")
