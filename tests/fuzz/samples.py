"""Small valid files of twelve formats, and where in them a checksum or a number is."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as safetensors_bytes

SEALED, NUMBERS = "sealed", "numbers"


@dataclass(frozen=True)
class Sample:
    """A valid file. whole: every byte of its tensors is under a checksum, so whatever opens is equal.

    sealed: bytes whose change must be an error. numbers: bytes that are a tensor's numbers without any checksum.
    """

    name: str
    raw: bytes
    whole: bool
    sealed: tuple[range, ...] = ()
    numbers: tuple[range, ...] = ()

    def place(self, index: int) -> str:
        """What byte *index* is: ``sealed``, ``numbers``, or empty for the structure around them."""
        if any(index in each for each in self.sealed):
            return SEALED
        return NUMBERS if any(index in each for each in self.numbers) else ""


def arrays() -> dict[str, np.ndarray[Any, Any]]:
    """Numbers that occur once in a file, so that they can be found in it."""
    rng = np.random.default_rng(7)
    return {
        "0.weight": rng.normal(size=(5, 4)).astype(np.float32),
        "1.weight": rng.normal(size=(3, 2)).astype(np.float32),  # a bit away from the name before
        "1.bias": rng.normal(size=4),
        "steps": rng.integers(1, 2**40, size=3),
    }


def checkpoint() -> dict[str, Any]:
    """The same as torch tensors in a training checkpoint, with a view and a tied name."""
    tensors: dict[str, Any] = {name: torch.from_numpy(array) for name, array in arrays().items()}
    moment = tensors.pop("1.bias")
    tensors["tied"] = tensors["0.weight"]
    tensors["turned"] = tensors["0.weight"].t()[1:]
    groups = [{"lr": 0.1, "params": [0]}]
    return {"model": tensors, "optimizer": {"state": {0: moment}, "param_groups": groups}, "epoch": 3}


def samples() -> list[Sample]:
    """All of them."""
    buffer, legacy = io.BytesIO(), io.BytesIO()
    torch.save(checkpoint(), buffer)
    torch.save(checkpoint(), legacy, _use_new_zipfile_serialization=False)
    stored, compressed = io.BytesIO(), io.BytesIO()
    np.savez(stored, **arrays())
    np.savez_compressed(compressed, **arrays())
    one = io.BytesIO()
    np.save(one, arrays()["0.weight"])
    tensors = {name: torch.from_numpy(array) for name, array in arrays().items()}
    packed = gzip.compress(legacy.getvalue(), mtime=0)
    return [
        _zip("zip", buffer.getvalue()),
        _zip("zip, deflated", _deflated(buffer.getvalue())),
        _zip("TorchScript", _script()),
        _zip("npz", stored.getvalue()),
        _zip("npz, deflated", compressed.getvalue()),
        Sample("gzip", packed, True, (range(10, len(packed)),)),
        Sample("tar", tar_of(), False, tuple(_tar_headers(tar_of())), _numbers(tar_of())),
        _plain("legacy", legacy.getvalue()),
        _plain("pickle, protocol 4", pickle.dumps(arrays(), 4)),
        Sample("pickle, protocol 0", pickle.dumps(arrays(), 0), False),  # its numbers are escaped text
        _plain("safetensors", safetensors_bytes(tensors, {"made": "here"})),
        _plain("npy", one.getvalue()),
    ]


def _plain(name: str, raw: bytes) -> Sample:
    return Sample(name, raw, False, (), _numbers(raw))


def _numbers(raw: bytes) -> tuple[range, ...]:
    """Where the bytes of the arrays are."""
    found = [(raw.find(array.tobytes()), array.nbytes) for array in arrays().values()]
    return tuple(range(start, start + size) for start, size in found if start >= 0)


def _zip(name: str, raw: bytes) -> Sample:
    """Sealed: the data of each record, and each place where its CRC-32 stands."""
    sealed = []
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        central = archive.start_dir
        for entry in archive.infolist():
            name_size, extra_size = struct.unpack_from("<HH", raw, entry.header_offset + 26)
            start = entry.header_offset + 30 + name_size + extra_size
            stop = start + entry.compress_size
            sealed += [range(start, stop), range(central + 16, central + 20)]
            sealed.append(range(stop + 4, stop + 8) if entry.flag_bits & 8 else _local_crc(entry))
            central += 46 + sum(struct.unpack_from("<3H", raw, central + 28))
    return Sample(name, raw, True, tuple(sealed))


def _local_crc(entry: zipfile.ZipInfo) -> range:
    return range(entry.header_offset + 14, entry.header_offset + 18)


def _deflated(raw: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    return target.getvalue()


def _script() -> bytes:
    module = torch.nn.Linear(3, 2)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated; its files stay
        torch.jit.save(torch.jit.trace(module, torch.ones(1, 3)), buffer)
    return buffer.getvalue()


class _Id:
    """What a tar's pickle says in place of a tensor."""

    def __init__(self, key: int) -> None:
        self.key = key


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        return obj.key if isinstance(obj, _Id) else None


def tar_of(members: Mapping[str, bytes] | None = None) -> bytes:
    """A tar of *members*: by default what torch.save wrote in PyTorch 0.1, as ``inert.tar.read_tar`` describes it."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in (_members() if members is None else members).items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return target.getvalue()


def _members() -> dict[str, bytes]:
    kinds = {"f4": b"FloatStorage", "f8": b"DoubleStorage", "i8": b"LongStorage"}

    def described(*fields: bytes) -> bytes:
        return b"\x80\x02" + b"".join(fields) + b"\x87."

    storages, tensors = pickle.dumps(len(arrays()), 2), pickle.dumps(len(arrays()), 2)
    for key, array in enumerate(arrays().values()):
        kind = b"ctorch\n" + kinds[array.dtype.str[1:]] + b"\n"
        text = b"X\x03\x00\x00\x00cpu"
        storages += described(b"K%c" % key, text, kind) + struct.pack("<q", array.size) + array.tobytes()
        strides = [step // array.itemsize for step in array.strides]
        tensors += described(b"K%c" % (10 + key), b"K%c" % key, kind.replace(b"Storage", b"Tensor"))
        tensors += struct.pack(f"<ii{2 * array.ndim + 1}q", array.ndim, 0, *array.shape, *strides, 0)
    content = io.BytesIO()
    _Pickler(content, 2).dump({name: _Id(10 + index) for index, name in enumerate(arrays())})
    return {
        "sys_info": pickle.dumps({"protocol_version": 1000}, 2),
        "pickle": content.getvalue(),
        "tensors": tensors,
        "storages": storages + pickle.dumps([], 2),
    }


def _tar_headers(raw: bytes) -> Iterator[range]:
    """The headers, without the end of the checksum field, which holds nothing."""
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        for info in archive:
            yield range(info.offset, info.offset + 154)
            yield range(info.offset + 156, info.offset + 512)
