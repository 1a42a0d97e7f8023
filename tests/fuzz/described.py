"""Changes of what describes numbers: the settings beside adapters and quantised models, headers, metadata, small tensors.

A change is one of bytes, of a value in JSON (another type, no bound, a name of another entry), or of a tensor as a writer would
store it: another shape of as many numbers, another dtype, another name, gone, one row fewer. Whatever is composed of it must be
the same in chunks as it is as a whole, and no larger than what is stored allows.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import save
from tests.fuzz import bytewise
from tests.support import adapters, quantised

import torch2grid as t2g
from torch2grid_builtin._adapters.spectrum import Changes
from torch2grid_core import Checkpoint

Array = np.ndarray[Any, Any]
LARGE = 1 << 22
_CODES_EACH = 8  # weights for a stored byte, at most: docs/safety.md
_NUMBERS = (0, 1, -1, 2, 3, 5, 7, 64, 255, 256, 65537, 2**31 - 1, 2**31, 2**63 - 1, 2**63, 2**64, -(2**63), 10**30, 10**400)
_ODD = (None, True, False, "", "x", "é\x1b[31m", "4", [], {}, [[]], [0], [None], 0.5, -0.5, 1e308, float("nan"), float("inf"))
_WORDS = (
    "nf4",
    "fp4",
    "int8",
    "float8_e4m3fn",
    "float16",
    "float99",
    "group",
    "channel",
    "tensor",
    "block",
    "gptq",
    "awq",
    "hqq",
)
_DTYPES = (np.int8, np.uint8, np.int16, np.float16, np.int32, np.uint32, np.float32, np.int64, np.float64, np.bool_)


class Files(NamedTuple):
    """stored: tensors by name, in the file *name*, with its metadata; settings: JSON beside it, by name of the file."""

    name: str
    stored: Mapping[str, Array]
    metadata: Mapping[str, str]
    settings: Mapping[str, Any]

    def write(self, folder: Path) -> None:
        tensors = {name: np.ascontiguousarray(each) for name, each in self.stored.items()}
        (folder / self.name).write_bytes(save(tensors, dict(self.metadata) or None))
        for name, value in self.settings.items():
            (folder / name).write_text(json.dumps(value))


def _of(case: quantised.Quantised) -> Files:
    return Files("model.safetensors", case.stored, case.metadata, {"config.json": case.config} if case.config else {})


def _adapter(case: adapters.Written) -> Files:
    settings = {"adapter_config.json": case.config} if case.config else {}
    return Files("adapter_model.safetensors", case.stored, case.metadata, settings)


_SHAPES = {"layers.0.q": (6, 5), "layers.0.conv": (4, 3, 3, 3), "layers.1.q": (7, 5)}


def _random() -> np.random.Generator:
    return np.random.default_rng(11)


def _dora() -> adapters.Written:
    weights = {name: _random().normal(size=shape).astype(np.float32) for name, shape in _SHAPES.items() if len(shape) == 2}
    return adapters.dora(_random(), weights)[0]


def _packed(bits: int, *, asymmetric: bool, act_order: bool) -> Files:
    return _of(quantised.pack_quantized(_random(), 6, 40, bits, 16, asymmetric=asymmetric, act_order=act_order))


def _four(kind: str, *, nested: bool) -> Files:
    return _of(quantised.bitsandbytes4(_random(), (9, 8), 32, kind=kind, nested=nested))


KINDS: Mapping[str, Callable[[], list[Files]]] = {
    "PEFT": lambda: [
        _adapter(adapters.peft(_random(), _SHAPES, 3, ranks={"layers.1.q": 2}, alpha_pattern={"layers.0.q": 5})),
        _adapter(adapters.peft(_random(), {"layers.0.q": (6, 5)}, 2, use_rslora=True, fan_in_fan_out=True)),
        _adapter(adapters.embedding(_random(), "wte", 9, 4, 2, 4)),
        _adapter(_dora()),
    ],
    "kohya": lambda: [
        _adapter(
            adapters.kohya(_random(), {"lora_unet_" + name.replace(".", "_"): each for name, each in _SHAPES.items()}, 2, 4)
        )
    ],
    "MLX adapter": lambda: [_adapter(adapters.mlx(_random(), {"layers.0.q": (6, 5)}, 3, 2.0, {"embed_tokens": (9, 4)}))],
    "compressed-tensors": lambda: [
        _packed(4, asymmetric=True, act_order=False),
        _packed(8, asymmetric=False, act_order=True),
        _of(quantised.plain(_random(), 5, 8, "int8")),
        _of(quantised.plain(_random(), 5, 8, "float8_e4m3fn", per_row=False)),
        _of(quantised.nvfp4(_random(), 4, 3)),
        _of(quantised.mxfp4(_random(), 4, 2)),
    ],
    "GPTQ": lambda: [
        _of(quantised.gptq(_random(), 2, 32, 4, 32, version=1, act_order=True)),
        _of(quantised.gptq(_random(), 1, 32, 3, 16, version=2, act_order=False)),
    ],
    "AWQ": lambda: [_of(quantised.awq(_random(), 32, 2, 16))],
    "bitsandbytes": lambda: [
        _four("nf4", nested=True),
        _four("fp4", nested=False),
        _of(quantised.bitsandbytes8(_random(), 5, 7)),
    ],
    "HQQ": lambda: [
        _of(quantised.hqq(_random(), 8, 2, 16, 4, 1)),
        _of(quantised.hqq(_random(), 8, 2, 16, 3, 0)),
        _of(quantised.hqq(_random(), 8, 1, 8, 2, 1)),
    ],
    "MLX": lambda: [_of(quantised.mlx(_random(), 5, 2, 4, 32)), _of(quantised.mlx(_random(), 3, 1, 6, 64, (2,)))],
    "torchao": lambda: [_of(quantised.torchao(_random(), 6, 2, 8, zero=zero)) for zero in (False, True)],
    "block FP8, MXFP4": lambda: [
        _of(quantised.block_fp8(_random(), 9, 10, (4, 4))),
        _of(quantised.block_fp8(_random(), 5, 6, (4, 4), experts=2)),
        _of(quantised.gpt_oss(_random(), 2, 3, 2)),
        _of(quantised.openai(_random(), 2, 3, 2)),
        _of(quantised.beside(_random(), 9, 10, "scale", 4)),
        _of(quantised.beside(_random(), 5, 6, "qscale_weight")),
        _of(quantised.experts8(_random(), 2, 5, 6)),
    ],
    "BitNet": lambda: [_of(quantised.bitnet(_random(), 6, 9, multiplies=True))],
    "ONNX Runtime": lambda: [
        _of(quantised.onnx_runtime(_random(), (5, 7), 1, "int8")),
        _of(quantised.matmul_nbits(_random(), 5, 3, 16, 4, zero=True)),
    ],
    "quanto": lambda: [_of(quantised.quanto(_random(), 6, 2, 8, 4))],
}


def numbers(path: Path) -> tuple[dict[str, bytes], bool]:
    """Name, shape and dtype of each tensor, and its numbers; whether codes are left. Raises ``Torch2GridError``."""
    checkpoint = t2g.load(path)
    found = {}
    for name, tensor in checkpoint.items():
        if name in checkpoint.composed:
            _bounded(checkpoint, name)
        if tensor.nbytes > LARGE:
            next(iter(tensor.chunks()))
            continue
        with np.errstate(all="ignore"):
            whole = np.ascontiguousarray(tensor.numpy()).tobytes()
            pieces = tensor.chunks(max(36, tensor.nbytes // 12))
            assert b"".join(each.tobytes() for each in pieces) == whole, f"{name} is another one in chunks"
        found[f"{name} {tensor.shape} {tensor.dtype}"] = whole
    for _, names in Changes().groups(checkpoint).items():
        Changes().compute({name: checkpoint[name] for name in names})
    said = [*checkpoint.notes, *(each.note for each in checkpoint.values()), *(str(each) for each in checkpoint.problems)]
    assert all(each.isprintable() for each in said), "a note has control characters"
    return found, any("shown as stored" in note for note in checkpoint.notes)


def _bounded(checkpoint: Checkpoint, name: str) -> None:
    """Weights are no more than codes allow, or than the two factors of a pair make."""
    tensor = checkpoint[name]
    if not hasattr(tensor.storage, "factors") and not hasattr(tensor.storage, "product"):
        raw = t2g.load(checkpoint.opened_from, raw=True)  # type: ignore[arg-type]
        assert tensor.size <= _CODES_EACH * sum(raw[each].nbytes for each in checkpoint.composed[name].of), "more than codes"


def changes(kind: str, runs: int, rng: random.Random, folder: Path) -> Iterator[Callable[[], str]]:
    """What opens a changed file and says what became of it, for each of *runs* changes."""
    cases = KINDS[kind]()
    places = []
    for number, case in enumerate(cases):
        place = folder / str(number)
        place.mkdir()
        case.write(place)
        places.append((case, place, numbers(place / case.name)[0]))
    for _ in range(runs):
        case, place, good = rng.choice(places)
        _change(case, place, rng)

        def look(case: Files = case, place: Path = place, good: dict[str, bytes] = good) -> str:
            found, left = numbers(place / case.name)
            return "equal" if found == good else "as stored" if left else "otherwise"

        yield look
        case.write(place)


def _change(case: Files, folder: Path, rng: random.Random) -> None:
    """Write *case* with one thing changed."""
    kind = rng.random()
    if kind < 0.3:
        paths = [folder / name for name in (case.name, *case.settings)]
        path = rng.choice(paths)
        raw = path.read_bytes()
        head = 8 + int.from_bytes(raw[:8], "little") if path.suffix == ".safetensors" else len(raw)
        path.write_bytes(bytewise.changed(raw[:head], rng) + raw[head:])
    elif kind < 0.6 and (case.settings or case.metadata):
        settings = {name: json.loads(json.dumps(value)) for name, value in case.settings.items()}
        texts = dict(case.metadata)
        if settings and (not texts or rng.random() < 0.7):
            name = rng.choice(list(settings))
            settings[name] = otherwise(settings[name], rng)
        else:
            name = rng.choice(list(texts))
            texts[name] = _text(texts[name], rng)
        case._replace(settings=settings, metadata=texts).write(folder)
    else:
        stored = dict(case.stored)
        _retell(stored, rng)
        case._replace(stored=stored).write(folder)


def _text(text: str, rng: random.Random) -> str:
    try:
        return json.dumps(otherwise(json.loads(text), rng))
    except ValueError:
        return rng.choice(["", "x", text[:-1], text * 2])


def otherwise(value: Any, rng: random.Random) -> Any:
    """*value* of JSON with one value in it changed, or one key."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        act = rng.random()
        if act < 0.1:
            return {name: each for name, each in value.items() if name != key}
        if act < 0.2:
            return {(rng.choice(list(value)) + "_" if name == key else name): each for name, each in value.items()}
        return {name: otherwise(each, rng) if name == key else each for name, each in value.items()}
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = rng.randrange(len(value))
        return [otherwise(each, rng) if index == at else each for index, each in enumerate(value)]
    if isinstance(value, int) and rng.random() < 0.5:
        return rng.choice([value + 1, value - 1, value * 2, value // 2, -value, float(value), str(value)])
    if isinstance(value, str) and value and rng.random() < 0.3:
        at = rng.randrange(len(value))
        return value[:at] + chr(rng.randrange(32, 1000)) + value[at + 1 :]
    return rng.choice([*_NUMBERS, *_ODD, *_WORDS])


def _retell(stored: dict[str, Array], rng: random.Random) -> None:
    """One of the tensors as another writer would have stored it, or none would."""
    name = rng.choice(list(stored))
    array = np.ascontiguousarray(stored[name])
    act = rng.randrange(8)
    if act == 0:
        del stored[name]
        stored.setdefault("other", np.ones(3, np.float32))
    elif act == 1:
        other = rng.choice(list(stored))
        stored[name], stored[other] = stored[other], array
    elif act == 2:
        stored[name] = array.reshape(_shape(array.size, rng))
    elif act == 3 and array.ndim:
        stored[name] = array.take(range(rng.randint(0, 2 * len(array))), 0, mode="wrap") if array.size else array
    elif act == 4:
        with np.errstate(all="ignore"):
            stored[name] = array.astype(np.float64).astype(rng.choice(_DTYPES))
    elif act == 5 and array.nbytes:
        kind = np.dtype(rng.choice(_DTYPES))
        if kind != np.bool_ and array.nbytes % kind.itemsize == 0:
            stored[name] = np.frombuffer(array.tobytes(), kind)
    elif act == 6:
        stored[name.rpartition(".")[0] + "." + rng.choice([each.rpartition(".")[2] for each in stored])] = array
    elif array.size:
        raw = bytearray(array.tobytes())
        for _ in range(rng.randint(1, 3)):
            raw[rng.randrange(len(raw))] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        stored[name] = np.frombuffer(bytes(raw), array.dtype).reshape(array.shape)


def _shape(size: int, rng: random.Random) -> tuple[int, ...]:
    """A shape of so many numbers."""
    shape, rest = [], size
    for divisor in (2, 3, 4, 5, 8, 16):
        if rest and rest % divisor == 0 and rng.random() < 0.5:
            shape.append(divisor)
            rest //= divisor
    shape.insert(rng.randint(0, len(shape)), rest)
    if rng.random() < 0.3:
        shape.insert(rng.randint(0, len(shape)), 1)
    return tuple(shape)
