"""ONNX models: the initialisers of their graphs, and constants. Format: ``onnx/onnx.proto``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from torch2grid_builtin._inert import limits
from torch2grid_builtin._loaders.naming import tensor_name
from torch2grid_builtin._loaders.onnx_tensors import NAME_BYTES, Stated, Tensors, read_stated
from torch2grid_builtin._loaders.protobuf import BYTES, FIXED32, VARINT, Field, Messages, packed_varints, signed
from torch2grid_core import Checkpoint, LazyTensor, Loader, LoadError
from torch2grid_core.sources import BytesStorage, Joined, Range, Skip, Source, Storage
from torch2grid_core.text import visible

_WHAT = "is an ONNX model that"
_DEPTH = 100  # graphs within graphs
_VERSIONS = 1000  # of the format, counted one by one: 13 by 2026
_FIRST = b"\x08\x12\x1a\x22\x28\x32\x3a\x42\x72\xa2\xca\xd2"  # what the fields of a model begin with
_SNIFFED = 1000  # fields of a model that are looked at: some ten, and one for each set of operators and fact
_LOOK = 1 << 10  # bytes that are read to look at one of them
_TEXT = 1000
_FLOATS = 1_000_000  # that a Constant spells one by one
# Fields of the messages.
_GRAPH, _FUNCTION, _TRAINING = 7, 25, 20
_NODE, _INITIALISER, _SPARSE = 1, 5, 15


class Onnx(Loader):
    """An ONNX model (.onnx): its initialisers, inline or in files beside it, and constants that are weights."""

    name: ClassVar[str] = "onnx"

    def sniff(self, source: Source) -> int:
        if source.is_folder or source.head[:1] not in [bytes([each]) for each in _FIRST] or not source.head:
            return 0
        messages = Messages(source, _WHAT, _LOOK)
        version = graph = 0
        try:
            for count, each in enumerate(messages.fields(0, source.size)):
                version += each.number == 1 and each.wire == VARINT and 0 < each.value <= _VERSIONS
                if each.number == _GRAPH:
                    graph += each.wire == BYTES and self._is_graph(messages, each)
                if count > _SNIFFED or (each.number in (1, _GRAPH) and not version + graph):
                    return 0
        except LoadError:
            # One that is cut short, or damaged: its first fields tell.
            return int(bool(version) and (source.head[:1] == b"\x08" and _states_writer(source)))
        return 2 if version and graph else 0

    def _is_graph(self, messages: Messages, place: Field) -> bool:
        """True for what begins as a graph does."""
        wires = {1: BYTES, 2: BYTES, 5: BYTES, 10: BYTES, 11: BYTES, 12: BYTES, 13: BYTES, 14: BYTES, 15: BYTES, 16: BYTES}
        first = next(messages.fields(place.start, place.size), None)
        return first is None or wires.get(first.number) == first.wire

    def load(self, source: Source) -> Checkpoint:
        messages = Messages(source, _WHAT)
        reader = _Reader(messages, self.name)
        graphs = 0
        facts: dict[str, str] = {}
        for each in messages.fields(0, source.size):
            if each.number == _GRAPH:
                graphs += 1
                if graphs > 1:
                    raise messages.fail("has two graphs, of which readers take one or the other, or both")
                reader.read(each)
            elif each.number == _TRAINING and each.wire == BYTES:
                for part in messages.fields(each.start, each.size):
                    if part.number in (1, 2):
                        reader.read(part, inner=True)
            elif each.number == _FUNCTION and each.wire == BYTES:
                reader.nodes([part for part in messages.fields(each.start, each.size) if part.number == 7])
            else:
                _note_fact(messages, each, facts)
        if not reader.tensors:
            reason = f"; {len(reader.skipped)} are left out: {reader.skipped[0].reason}" if reader.skipped else ""
            raise messages.fail(f"has no initialisers{reason}", "give a checkpoint with weights")
        return Checkpoint(
            reader.tensors,
            source=source.shown,
            format="ONNX",
            metadata=facts,
            skipped=reader.skipped,
            aliases={},
            notes=reader.notes(),
        )


def _states_writer(source: Source) -> bool:
    """True where the name of the program that wrote it stands behind the version, as in each model of a library."""
    return source.head[1:2] > b"\2" and source.head[2:3] in (b"\x12", b"\x3a") and source.size > 4  # of TensorFlow's it is 1


def _note_fact(messages: Messages, each: Field, facts: dict[str, str]) -> None:
    """The facts of a model: its version, its writer, its operators, and what the writer added."""
    named = {2: "producer_name", 3: "producer_version", 4: "domain", 6: "doc_string"}
    if each.wire == VARINT and each.number in (1, 5):
        facts[{1: "ir_version", 5: "model_version"}[each.number]] = str(signed(each.value))
    elif each.wire == BYTES and each.number in named:
        facts[named[each.number]] = _short(messages, each)
    elif each.wire == BYTES and each.number in (8, 14) and len(facts) < 100:
        key = value = ""
        for part in messages.fields(each.start, each.size):
            if part.number == 1 and part.wire == BYTES:
                key = _short(messages, part)
            elif part.number == 2:
                value = str(signed(part.value)) if part.wire == VARINT else _short(messages, part)
        facts[f"opset {key}".rstrip() if each.number == 8 else key] = value


def _short(messages: Messages, place: Field) -> str:
    return visible(messages.read(place.start, min(place.size, _TEXT)).decode("utf-8", "replace"), 200)


@dataclass
class _Node:
    """What a node says of itself. values: the attribute that a Constant has."""

    name: str = ""
    outputs: list[str] = field(default_factory=list)
    kind: str = ""
    domain: str = ""
    attributes: list[Field] = field(default_factory=list)


class _Reader:
    """Collects the tensors of graphs, whatever graphs they have in them; no call for each, so that depth costs no stack."""

    def __init__(self, messages: Messages, by: str) -> None:
        self.messages, self.by = messages, by
        self.make = Tensors(messages)
        self.tensors: dict[str, LazyTensor] = {}
        self.skipped: list[Skip] = []
        self._single = 0
        self._names = 0
        self._pending: list[tuple[Field, int]] = []

    def notes(self) -> list[str]:
        """A line about what was left out."""
        if not self._single:
            return []
        one = self._single == 1
        return [f"{self._single} {'constant' if one else 'constants'} of one number {'is' if one else 'are'} not listed"]

    def read(self, graph: Field, inner: bool = False) -> None:
        """The tensors of a graph and of those in it. Raises ``LoadError``.

        inner: names that are taken get a number, as those of graphs within do; else they are an error.
        """
        self._graph(graph, 0, inner)
        self._rest()

    def nodes(self, nodes: list[Field]) -> None:
        """The tensors of the nodes of a function."""
        for node in nodes:
            self._node(node, 0)
        self._rest()

    def _rest(self) -> None:
        while self._pending:
            graph, depth = self._pending.pop(0)
            self._graph(graph, depth, True)

    def _graph(self, graph: Field, depth: int, inner: bool) -> None:
        if depth > _DEPTH:
            raise self.messages.fail(f"has more than {_DEPTH} graphs within graphs", "it is hostile")
        if graph.wire != BYTES:
            raise self.messages.fail("has a graph that is not a message")
        nodes: list[Field] = []
        for each in self.messages.fields(graph.start, graph.size):
            if each.number == _INITIALISER:
                stated = read_stated(self.messages, each)
                self._add(stated, stated.name, inner)
            elif each.number == _SPARSE:
                self._add_sparse(each, inner)
            elif each.number == _NODE:
                nodes.append(each)
        for node in nodes:  # initialisers come first, wherever they stand: theirs are the names
            self._node(node, depth)

    def _node(self, place: Field, depth: int) -> None:
        if place.wire != BYTES:
            raise self.messages.fail("has a node that is not a message")
        node = _Node()
        for each in self.messages.fields(place.start, place.size):
            if each.number == 5:
                node.attributes.append(each)
        if not node.attributes:
            return
        for each in self.messages.fields(place.start, place.size):
            if each.number == 2:
                node.outputs.append(self.messages.text(each, NAME_BYTES))
            elif each.number == 3:
                node.name = self.messages.text(each, NAME_BYTES)
            elif each.number == 4:
                node.kind = self.messages.text(each, NAME_BYTES)
            elif each.number == 7:
                node.domain = self.messages.text(each, NAME_BYTES)
        for attribute in node.attributes:
            self._attribute(node, attribute, depth)

    def _attribute(self, node: _Node, place: Field, depth: int) -> None:
        """Tensors and graphs among the values of an attribute."""
        if place.wire != BYTES:
            raise self.messages.fail("has an attribute that is not a message")
        key = ""
        held: list[Field] = []
        for each in self.messages.fields(place.start, place.size):
            if each.number == 1:
                key = self.messages.text(each, NAME_BYTES)
            elif each.number in (6, 11):
                self._pending.append((each, depth + 1))
            elif each.number in (5, 7, 10, 22, 23):
                held.append(each)
                if len(held) > _FLOATS:
                    raise self.messages.fail("has an attribute of more than a million values", "it is hostile")
        constant = node.kind == "Constant" and node.domain in ("", "ai.onnx")
        name = (node.outputs or [""])[0] if constant else ".".join(filter(None, (node.name or (node.outputs or [""])[0], key)))
        floats = [each for each in held if each.number == 7]
        if floats and constant:
            self._add_floats(name, floats)
        for each in held:
            if each.number in (5, 10):
                self._add_constant(read_stated(self.messages, each), name)
            elif each.number in (22, 23):
                self._add_sparse(each, True, name)

    def _add_constant(self, stated: Stated, name: str) -> None:
        if stated.count == 1 or stated.kind == 8:
            self._single += 1
        else:
            self._add(stated, name, True)

    def _add_floats(self, name: str, places: list[Field]) -> None:
        """The float32 numbers that a Constant spells, packed or not."""
        parts: list[Storage] = []
        single: list[bytes] = []
        for each in places:
            if each.wire == FIXED32:
                single.append(self.messages.read(each.start, 4))
            elif each.wire == BYTES and each.size % 4 == 0 and not single:
                parts.append(Range(self.messages.source, each.start, each.size))
            else:
                raise self.messages.fail("has a list of numbers that is not one")
        if single:
            parts.append(BytesStorage(b"".join(single)))
        storage = parts[0] if len(parts) == 1 else Joined(parts)
        if storage.size == 4:
            self._single += 1
            return
        self._take(LazyTensor(self._free(name, True), (storage.size // 4,), np.dtype("f4"), storage))

    def _add(self, stated: Stated, name: str, inner: bool) -> None:
        name = self._free(name, inner)
        made = self.make.make(stated, name)
        if isinstance(made, str):
            self.skipped.append(Skip(name, made, self.by))
            self.tensors.pop(name, None)
        else:
            self._take(made)

    def _take(self, tensor: LazyTensor) -> None:
        self._names += len(tensor.name)
        if len(self.tensors) >= limits.NAMES or self._names > limits.NAME_CHARACTERS:
            raise self.messages.fail(f"has more than {limits.NAMES:,} tensors", "it is hostile")
        self.tensors[tensor.name] = tensor

    def _free(self, key: str, inner: bool) -> str:
        """The name of a tensor under *key*. Raises ``LoadError`` where the graph itself has two of one name."""
        name = tensor_name(key, self.tensors)
        if name not in self.tensors:
            return name
        if not inner:
            raise self.messages.fail(f"has two initialisers named {visible(name, 80)!r}")
        number = 2
        while f"{name}#{number}" in self.tensors:
            number += 1
        return f"{name}#{number}"

    def _add_sparse(self, place: Field, inner: bool, called: str = "") -> None:
        """The stored values of a sparse tensor. Raises ``LoadError`` where its indices do not fit its shape."""
        if place.wire != BYTES:
            raise self.messages.fail("has a sparse tensor that is not a message")
        values = indices = None
        shape: list[int] = []
        for each in self.messages.fields(place.start, place.size):
            if each.number in (1, 2):
                stated = read_stated(self.messages, each)
                if (values, indices)[each.number - 1] is not None:
                    raise self.messages.fail("has a sparse tensor with two lists of values or indices")
                values, indices = (stated, indices) if each.number == 1 else (values, stated)
            elif each.number == 3:
                shape += list(self._lengths(each))
        if values is None or indices is None or not shape or len(shape) > limits.DIMENSIONS:
            raise self.messages.fail("has a sparse tensor without values, indices or shape")
        name = self._free(called or values.name, inner)
        made, places = self.make.make(values, name), self.make.make(indices, name)
        if isinstance(made, str):
            self.skipped.append(Skip(name, made, self.by))
            return
        self._check_indices(made, places, shape)
        told = f"sparse, {made.size:,} stored values of {'×'.join(map(str, shape))}"
        self._take(LazyTensor(name, made.shape, made.dtype, made.storage, note=", ".join(filter(None, (told, made.note)))))

    def _lengths(self, each: Field) -> Iterator[int]:
        if each.wire == VARINT:
            yield signed(each.value)
        elif each.wire == BYTES and each.size <= limits.DIMENSIONS * 10:
            packed = packed_varints(BytesStorage(self.messages.read(each.start, each.size)), self.messages.fail)
            yield from (int(value) for value in packed.elements(0, packed.count).view(np.int64))

    def _check_indices(self, values: LazyTensor, places: LazyTensor | str, shape: list[int]) -> None:
        label = repr(visible(values.name, 80))
        wrong = self.messages.fail(f"has a sparse tensor {label} whose indices do not fit its shape {shape}")
        if isinstance(places, str) or places.dtype != np.dtype("i8") or values.ndim != 1 or min(shape) < 0:
            raise wrong
        if places.shape not in ((values.size,), (values.size, len(shape))):
            raise wrong
        if not values.size or places.size > limits.INDICES:
            return
        numbers = places.numpy()
        whole = 1
        for length in shape:
            whole *= length
        most = [whole] if numbers.ndim == 1 else shape
        columns = numbers.reshape(len(numbers), -1)
        for column, length in zip(columns.T, most, strict=True):
            if int(column.min()) < 0 or int(column.max()) >= length:
                raise wrong
