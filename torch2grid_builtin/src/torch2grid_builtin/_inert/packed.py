"""Quantised layers of ``torch.ao``, whose weights stand in packed objects and tuples, under the names of the plain layers.

Formats: ``torch/ao/nn/quantized/modules``, ``torch/ao/nn/quantized/dynamic/modules/rnn.py`` and, for the packed objects,
``aten/src/ATen/native/quantized/cpu/fbgemm_utils.cpp``, ``aten/src/ATen/native/RNN.cpp``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from torch2grid_builtin._inert.opened import HERE, class_name
from torch2grid_builtin._inert.values import LONG_NAME, Pairs, Stub, Tensor

Child = tuple[str, Any]
Hidden = tuple[str, Any, str]

SETTINGS = "settings of a packed convolution"
_PACKED = "_packed_params"
_TYPED = ("torch.jit._pickle.build_", "torch.jit._pickle.restore_type_tag")
_CELL = re.compile(r"(?:(.*)\.)?_all_weight_values\.(\d{1,4})\.param", re.DOTALL)
_MOST_CELLS = 2000
_WEIGHT, _CONVOLUTION_FIELDS = 10, (14, 15)  # where the weight stands in a convolution's state, which is so long


def script_object(value: Any) -> tuple[str, Any] | None:
    """(name of the class, state) of an object of a TorchScript class, in a pickle or in an archive."""
    if not isinstance(value, Stub) or not value.state or len(value.state) != 1:
        return None
    state = value.state[0]
    if value.path == "torch.ScriptObject":
        if type(state) is tuple and len(state) == 2 and type(state[1]) is str:
            return state[1].rpartition(".")[2], _listed(state[0])
    elif value.path.startswith("__torch__.torch.classes."):
        return class_name(value), _listed(state)
    return None


def _listed(state: Any) -> Any:
    """*state* with plain lists where TorchScript has lists of a declared type."""
    if type(state) is not tuple:
        return state
    typed = [isinstance(each, Stub) and len(each.args) in (1, 2) and each.path.startswith(_TYPED) for each in state]
    return (
        tuple(each.args[0] if is_typed else each for each, is_typed in zip(state, typed, strict=True)) if any(typed) else state
    )


def script_fields(stub: Stub) -> tuple[list[Child], list[Hidden]] | None:
    """The tensors of a packed object by what they are, and what is plumbing; ``None`` where *stub* is no such object."""
    found = script_object(stub)
    if found is None:
        return None
    kind, state = found
    fields: list[Child] | None = None
    hidden: list[Hidden] = []
    if kind == "LinearPackedParamsBase" and _is_pair(state):
        fields = [("weight", state[0]), ("bias", state[1])]
    elif kind == "EmbeddingPackedParamsBase" and type(state) is tuple and len(state) > 1 and _tensors(state[1], 1):
        if all(_numbers(each) for each in state[2:]):
            fields = [("weight", state[1][0])]
    elif re.fullmatch(r"Conv(\dd)?PackedParamsBase", kind):
        fields, hidden = _convolution(state)
    elif kind == "CellParamsBase":
        fields = cell_fields(stub)
    return ([(HERE, state)] if fields is None else [each for each in fields if each[1] is not None], hidden)


def layer_fields(stub: Stub) -> tuple[list[Child], list[Hidden]] | None:
    """Weight and bias of a quantised convolution, whose state is a tuple; ``None`` where *stub* is none."""
    state = stub.state[0] if stub.state else None
    if type(state) is not tuple or len(state) not in _CONVOLUTION_FIELDS or not isinstance(state[_WEIGHT], Tensor):
        return None
    if "Conv" not in class_name(stub) or ".quantized." not in stub.path:
        return None
    rest = [(str(at), each) for at, each in enumerate(state) if at not in (_WEIGHT, _WEIGHT + 1)]
    fields = [("weight", state[_WEIGHT]), ("bias", state[_WEIGHT + 1]), *rest]
    return [each for each in fields if isinstance(each[1], (Tensor, Stub, Pairs))], []


def _convolution(state: Any) -> tuple[list[Child] | None, list[Hidden]]:
    """Version 2: ("2", [settings, weight], [bias]); version 3: (3, settings, [nothing, weight, bias])."""
    if type(state) is not tuple or len(state) != 3:
        return None, []
    if state[0] == "2" and _tensors(state[1], 2) and type(state[2]) is list and len(state[2]) == 1:
        return [("weight", state[1][1]), ("bias", state[2][0])], [("settings", state[1][0], SETTINGS)]
    if state[0] == 3 and _numbers(state[1]) and type(state[2]) is list and len(state[2]) == 3 and state[2][0] is None:
        return [("weight", state[2][1]), ("bias", state[2][2])], []
    return None, []


def cell_fields(value: Any, suffix: str = "") -> list[Child] | None:
    """Weights and biases of one direction of a recurrent layer, ``None`` where *value* holds something else.

    Its state is (kind, [biases or nothing], numbers, numbers, [packed input weights, packed hidden weights]).
    """
    found = script_object(value)
    if found is None or found[0] != "CellParamsBase" or type(found[1]) is not tuple or len(found[1]) != 5:
        return None
    loose, packed = found[1][1], found[1][4]
    if type(loose) is not list or type(packed) is not list or len(packed) != 2 or not (not loose or _tensors(loose, 2)):
        return None
    if not _numbers(found[1][2]) or not _numbers(found[1][3]):
        return None
    pairs = [_linear(each) for each in packed]
    if pairs[0] is None or pairs[1] is None:
        return None
    biases = [pair[1] for pair in pairs if pair is not None]
    named: list[Child] = [(f"weight_{which}{suffix}", pair[0]) for which, pair in zip(("ih", "hh"), pairs, strict=True) if pair]
    for which, own, other in zip(("ih", "hh"), loose or biases, biases, strict=True):
        named.append((f"bias_{which}{suffix}", own))
        if other is not own:
            named.append((f"bias_{which}{suffix}", other))
    return [each for each in named if each[1] is not None]


def unpacked(pairs: Iterable[tuple[Any, Any]], bidirectional: Any = None) -> Iterator[tuple[Any, Any]]:
    """(key, value) of a mapping, with what quantised layers pack under the names of the plain layers.

    bidirectional: of the module whose entries these are, where it says so.
    """
    prefix: Any = None
    cells: list[tuple[str, Any]] = []
    for key, item in pairs:
        if type(key) is not str or len(key) > LONG_NAME or ("_packed_" not in key and "_all_weight_values" not in key):
            if cells:
                yield from _layers(prefix, cells, bidirectional)
                cells = []
            yield key, item
            continue
        match = _CELL.fullmatch(key)
        if cells and (match is None or match[1] != prefix):
            yield from _layers(prefix, cells, bidirectional)
            cells = []
        if match is not None and len(cells) < _MOST_CELLS:
            prefix = match[1]
            cells.append((key, item))
        elif key == "_all_weight_values" and isinstance(item, Stub):
            yield from _layers(None, _cells_of(item), bidirectional, (key, item))
        else:
            yield from _plain(key, item)
    yield from _layers(prefix, cells, bidirectional)


def _plain(key: str, item: Any) -> Iterator[tuple[Any, Any]]:
    """An entry whose key says that its value is packed."""
    head, _, last = key.rpartition(".")
    above, _, before = head.rpartition(".")
    if last in ("_packed_weight_ih", "_packed_weight_hh"):
        found = _linear(item)
        if found is not None:
            dot = f"{head}." if head else ""
            for name, each in zip(("weight", "bias"), found, strict=True):
                if each is not None:
                    yield f"{dot}{name}{last[-3:]}", each
            return
    elif last in (_PACKED, "_packed_weight"):
        outer = above if before == _PACKED else head
        dot = f"{outer}." if outer else ""
        if last == _PACKED and _is_pair(item):
            yield f"{dot}weight", item[0]
            if item[1] is not None:
                yield f"{dot}bias", item[1]
            return
        if last == "_packed_weight" and before == _PACKED and isinstance(item, Tensor):
            yield f"{dot}weight", item
            return
        if script_object(item) is not None or (isinstance(item, Stub) and class_name(item).endswith("PackedParams")):
            yield outer or HERE, item
            return
    yield key, item


def _layers(
    prefix: str | None, cells: list[tuple[str, Any]], bidirectional: Any, else_: Any = None
) -> Iterator[tuple[Any, Any]]:
    """The weights of a recurrent network, from its layers and directions in order; the entries themselves where they differ.

    In a state dict the number of directions follows from the sizes: the second layer has as many inputs as the first has
    outputs. Where that decides nothing, one direction is assumed and said.
    """
    dot = f"{prefix}." if prefix else ""
    found = [cell_fields(item) for _, item in cells]
    if not cells or any(each is None for each in found):
        yield from [else_] if else_ is not None else cells
        return
    both, sure = (bidirectional, True) if type(bidirectional) is bool else _directions([each or [] for each in found])
    for index, (_, item) in enumerate(cells):
        layer, back = divmod(index, 2) if both else (index, 0)
        for name, each in cell_fields(item, f"_l{layer}{'_reverse' if back else ''}") or ():
            yield f"{dot}{name}", each if sure or not index else _unsure(each)


def _directions(layers: list[list[Child]]) -> tuple[bool, bool]:
    """Whether there are two directions, and whether that is sure."""
    sizes = []
    for fields in layers:
        named = {name: value.lazy.shape for name, value in fields if isinstance(value, Tensor) and value.lazy is not None}
        shapes = [named.get("weight_ih", ()), named.get("weight_hh", ())]
        if any(len(shape) != 2 for shape in shapes):
            return False, len(layers) == 1
        sizes.append((shapes[0][1], shapes[1][1]))
    if len(sizes) % 2:
        return False, True
    (given, hidden), (second, _) = sizes[:2]
    if given != hidden:
        return second == given, True
    return (sizes[2][0] == 2 * hidden, True) if len(sizes) > 2 else (False, False)


def _unsure(value: Any) -> Any:
    if not isinstance(value, Tensor) or value.lazy is None:
        return value
    note = ", ".join(filter(None, (value.lazy.note, "layer 1, or layer 0 reversed: the file does not say")))
    return Tensor(replace(value.lazy, note=note), value.reason, value.state, value.beside)


def _cells_of(modules: Stub) -> list[tuple[str, Any]]:
    """(number, packed parameters) of a list of modules that hold one each."""
    cells: list[tuple[str, Any]] = []
    named = _named(modules)
    inside = named.get("_modules")
    entries = inside.entries() if isinstance(inside, Pairs) else iter(named.items())
    for key, module in entries:
        if type(key) is str and key.isdigit() and isinstance(module, Stub) and len(cells) < _MOST_CELLS:
            cells.append((key, _named(module).get("param")))
    return cells


def _named(stub: Stub) -> dict[str, Any]:
    state = stub.state[0] if stub.state and len(stub.state) == 1 else None
    if not isinstance(state, Pairs) or len(state.pairs) > _MOST_CELLS:
        return {}
    return {key: value for key, value in state.entries() if type(key) is str}


def _linear(value: Any) -> tuple[Any, Any] | None:
    found = script_object(value)
    return found[1] if found is not None and found[0] == "LinearPackedParamsBase" and _is_pair(found[1]) else None


def _is_pair(value: Any) -> bool:
    """True for (weight, bias or nothing)."""
    return (
        type(value) is tuple
        and len(value) == 2
        and isinstance(value[0], Tensor)
        and (value[1] is None or isinstance(value[1], Tensor))
    )


def _numbers(value: Any) -> bool:
    """True for a list of numbers alone: no tensor is in it."""
    return type(value) is list and all(type(each) in (int, float, bool) for each in value)


def _tensors(value: Any, count: int) -> bool:
    return type(value) is list and len(value) == count and all(isinstance(each, Tensor) for each in value)
