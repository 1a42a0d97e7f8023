"""Files of other frameworks, known by their content: what each is, and how its weights come into a file that opens."""

from __future__ import annotations

import re
from collections.abc import Collection

from torch2grid_core._data.source import Source

_SAVE = "save its weights with safetensors"
_HDF5 = b"\x89HDF\r\n\x1a\n"
_TABLE = bytes.fromhex("57fb808b247547db")  # what an index of TensorFlow's ends with
_DATA = re.compile(r".+\.data-\d{5}-of-\d{5}")
_KERAS = (
    "is a file of Keras' weights, or another in HDF5 (.h5)",
    f"{_SAVE}: safetensors.numpy.save_file({{w.path: w.numpy() for w in model.weights}}, 'model.safetensors')",
)
_FLAX = (
    "is a checkpoint of Flax (JAX) in MessagePack",
    f"{_SAVE}: flatten flax.serialization.msgpack_restore(open(PATH, 'rb').read()), and call safetensors.numpy.save_file",
)
_ORBAX = (
    "is a checkpoint of Orbax (JAX)",
    f"{_SAVE}: flatten orbax.checkpoint.StandardCheckpointer().restore(PATH), and call safetensors.numpy.save_file",
)
_EXECUTORCH = (
    "is a program of ExecuTorch (.pte), which keeps no names",
    "give the checkpoint or the .pt2 file that it was made from",
)
_TFLITE = ("is a model of TensorFlow Lite (.tflite)", "give the model that it was made from, with its weights in safetensors")
_TENSORFLOW = (
    "is of TensorFlow",
    f"{_SAVE}: of tf.train.load_checkpoint(PATH), or of model.weights, and call safetensors.numpy.save_file",
)
_ORT = ("is a model of ONNX Runtime (.ort)", "give the .onnx file that it was made from")
_IDENTIFIERS = {b"TFL3": _TFLITE, b"ORTM": _ORT}


def foreign_file(source: Source) -> tuple[str, str] | None:
    """What a file of another framework is, and what to do; ``None`` for any other."""
    head = source.head
    if head.startswith(_HDF5):
        return _KERAS
    if re.match(rb"ET\d\d", head[4:8]):
        return _EXECUTORCH
    if head[4:8] in _IDENTIFIERS:
        return _IDENTIFIERS[head[4:8]]
    if _is_messagepack(head):
        return _FLAX
    name = source.name.lower()
    graph = head.startswith((b"\x08\x01\x12", b"\x0a")) and name.endswith((".pb", ".meta"))
    if graph or source.tail.endswith(_TABLE) or _DATA.fullmatch(name):
        return _TENSORFLOW
    return None


def _is_messagepack(head: bytes) -> bool:
    """True for what begins as a mapping whose first key is a text."""
    keys = {0xDE: 3, 0xDF: 5}.get(head[0], 1 if 0x81 <= head[0] <= 0x8F else 0) if head else 0
    if not keys or len(head) < keys + 3:
        return False
    first = head[keys]
    size, start = (first & 0x1F, keys + 1) if 0xA0 <= first <= 0xBF else (head[keys + 1], keys + 2) if first == 0xD9 else (0, 0)
    text = head[start : start + size]
    return bool(text) and len(text) == size and text.decode("utf-8", "replace").isprintable() and b"\xef\xbf\xbd" not in text


def foreign_folder(names: Collection[str]) -> tuple[str, str] | None:
    """What a folder of another framework's files is, and what to do; ``None`` for any other."""
    if "_CHECKPOINT_METADATA" in names or "manifest.ocdbt" in names:
        return _ORBAX
    if "saved_model.pb" in names or any(_DATA.fullmatch(name) for name in names):
        return _TENSORFLOW
    return None
