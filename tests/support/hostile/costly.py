"""Files that cost more than they weigh, one generator for each kind: what they repeat is charged where it is done.

Each takes a scale of 0 to 1: at 1 it is as costly as such a file was found to be, in the suite it is a small part of that.
"""

from __future__ import annotations

import io
import struct
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.hostile.large import MAGIC, _header, _zip

PROTO = b"\x80\x02"
_NAMES = {0: b"ctorch._utils\n_rebuild_tensor_v2\n", 1: b"ctorch\nFloatStorage\n", 2: b"ctorch._utils\n_rebuild_qtensor\n"}
_NAMES |= {3: b"ctorch\nQInt8Storage\n", 4: b"ctorch\nper_channel_affine\n", 5: b"ccollections\nOrderedDict\n"}
_START = PROTO + b"".join(name + b"q%c0" % slot for slot, name in _NAMES.items())


def text(value: bytes) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value


def storage(slot: int, key: bytes = b"0", numel: int = 4) -> bytes:
    """A persistent id, loaded."""
    return b"(" + text(b"storage") + b"h%c" % slot + text(key) + text(b"cpu") + b"J" + struct.pack("<i", numel) + b"tQ"


def archive(path: Path, pickle: bytes, data: bytes = bytes(16)) -> Path:
    path.write_bytes(b"".join(_zip([(b"a/data.pkl", pickle), (b"a/data/0", data)])))
    return path


def metadata_of_tensors(folder: Path, scale: float) -> list[Path]:
    """``_rebuild_tensor_v2`` with a metadata mapping of many entries, again and again."""
    entries = b"".join(b"J" + struct.pack("<i", key) + b"N" for key in range(int(2_000_000 * scale)))
    held = storage(1) + b"q\x100" + b"}(" + entries + b"uq\x110"
    one = b"(h\x10K\0(K\x02K\x02t(K\x02K\x01t\x89h\x05)Rh\x11tq\x120"
    return [archive(folder / "metadata.pt", _START + held + one + b"](" + b"h\0h\x12R" * int(100_000 * scale) + b"e.")]


def channels(folder: Path, scale: float) -> list[Path]:
    """``_rebuild_qtensor`` with many channels of stride 0, several times."""
    count = int((1 << 20) * scale)
    scales = b"](" + b"G" + struct.pack(">d", 1.0) + b"2" * (count - 1) + b"eq\x110](" + b"K\0" * count + b"eq\x120"
    size = b"J" + struct.pack("<i", count)
    one = b"(" + storage(3, numel=1) + b"K\0(" + size + b"t(K\0t(h\x04h\x11h\x12K\0t\x89h\x05)Rtq\x130"
    return [archive(folder / "channels.pt", _START + scales + one + b"](" + b"h\x02h\x13R" * 60 + b"e.")]


def dimensions(folder: Path, scale: float) -> list[Path]:
    """Tensors of 64 dimensions from the memo."""
    ones = b"(" + b"K\x01" * 64 + b"tq\x110"
    one = b"(" + storage(1) + b"K\0h\x11h\x11\x89h\x05)Rtq\x120"
    return [archive(folder / "dimensions.pt", _START + ones + one + b"](" + b"h\0h\x12R" * int(1_900_000 * scale) + b"e.")]


def keys(folder: Path, scale: float) -> list[Path]:
    """A persistent id with a long key, again and again; as a byte string, which is decoded each time."""
    key = b"0" * 60_000
    saved = b"(" + text(b"storage") + b"h\x01T" + struct.pack("<i", len(key)) + key + text(b"cpu") + b"K\x04tq\x110"
    pickle = _START + saved + b"](" + b"h\x11Q" * int(5_000_000 * scale) + b"e."
    path = folder / "keys.pt"
    path.write_bytes(b"".join(_zip([(b"a/data.pkl", pickle), (b"a/data/" + key, bytes(16))])))
    return [path]


def shards(folder: Path, scale: float) -> list[Path]:
    """Four shards, each just within the limits of one."""
    names = [f"{index}.bin" for index in range(4)]
    for name in names:
        one = b"h\0(" + storage(1) + b"K\0(K\x02K\x02t(K\x02K\x01t\x89h\x05)RtR"
        archive(folder / name, _START + b"N0" * int(11_000_000 * scale) + b"}" + text(name.encode()) + one + b"s.")
    index = ",".join(f'"w{place}":"{name}"' for place, name in enumerate(names))
    (folder / "model.bin.index.json").write_text(f'{{"weight_map":{{{index}}}}}')
    return [folder / "model.bin.index.json"]


def pickles_of_a_stream(folder: Path, scale: float) -> list[Path]:
    """The five pickles of a legacy stream, each just within the limits of one."""
    idle = b"N0" * int(11_000_000 * scale)
    path = folder / "stream.pt"
    with path.open("wb") as file:
        file.write(PROTO + b"\x8a\x0a" + MAGIC.to_bytes(10, "little") + b"." + PROTO + idle + b"M\xe9\x03.")
        file.write(PROTO + idle + b"}." + PROTO + idle + b"]." + PROTO + idle + b"].")
    return [path]


def storages_of_a_tar(folder: Path, scale: float) -> list[Path]:
    """Ten storages of a tar, each described by a pickle just within the limits of one."""
    idle, kind = b"N0" * int(4_000_000 * scale), b"ctorch\nFloatStorage\n"
    rest = text(b"cpu") + kind + b"t." + struct.pack("<q", 1) + b"data"
    described = b"".join(PROTO + idle + b"(" + text(b"%d" % key) + rest for key in range(10))
    members = {
        "storages": PROTO + b"K\x0a." + described + PROTO + b"].",
        "tensors": PROTO + b"K\x00.",
        "pickle": PROTO + b"}.",
    }
    path = folder / "storages.tar"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, raw in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(raw)
            archive.addfile(entry, io.BytesIO(raw))
    return [path]


def wide_texts(folder: Path, scale: float) -> list[Path]:
    """Texts with one character outside the BMP take four bytes a character."""
    one = text("\U0001f600".encode() + b"a" * 65_000)
    return [archive(folder / "texts.pt", PROTO + b"](" + one * int(6000 * scale) + b"e.")]


def escapes(folder: Path, scale: float) -> list[Path]:
    """A text of protocol 0 that is one line of escapes, nearly as long as one may be."""
    path = folder / "escapes.pkl"
    path.write_bytes(b"(lp0\nV" + b"\\U0001f600" * int(6_700_000 * scale) + b"\np1\na.")
    return [path]


def metadata_of_safetensors(folder: Path, scale: float) -> list[Path]:
    entries = b",".join(b'"%x":""' % each for each in range(int(5_900_000 * scale)))
    path = folder / "metadata.safetensors"
    path.write_bytes(b"".join(_header(b'{"__metadata__":{', entries, b"}}")))
    return [path]


def names_of_an_index(folder: Path, scale: float) -> list[Path]:
    path = folder / "names.index.json"
    entries = b",".join(b'"%x":"a"' % each for each in range(int(2_900_000 * scale)))
    path.write_bytes(b'{"weight_map":{' + entries + b"}}")
    return [path]


def empty_records(folder: Path, scale: float) -> list[Path]:
    path = folder / "records.pt"
    path.write_bytes(b"".join(_zip((b"%08x" % each, b"") for each in range(int(1_500_000 * scale)))))
    return [path]


def names_of_one_tensor(folder: Path, scale: float) -> list[Path]:
    """Lists that hold the list before them twice: 2 to the power of their number would be the names of one tensor."""
    one = b"h\0(" + storage(1) + b"K\0(K\x02K\x02t(K\x02K\x01t\x89h\x05)RtR"
    made = []
    for count, held in ((14, 2), (40, 2), (4, 200)):
        nested = b"".join(b"q\x110](" + b"h\x11" * held + b"e" for _ in range(count))
        made.append(archive(folder / f"names{count}.pt", _START + b"}" + text(b"x") + one + nested + b"s."))
    return made


def _again(folder: Path, name: str, held: bytes, function: bytes, each: bytes, times: int) -> Path:
    """A pickle that keeps *held* in slot 1 and *function* in slot 2, and does *each* with them again and again."""
    path = folder / f"{name}.pkl"
    path.write_bytes(PROTO + held + b"q\x010" + function + b"q\x020](" + each * times + b"e.")
    return path


def states_of_dtypes(folder: Path, scale: float) -> list[Path]:
    """A dtype that is given the same state of many fields again and again; a subarray of many long lengths."""
    plain = b"cnumpy\ndtype\n" + text(b"f4") + b"\x89\x88\x87Rq\x030"
    fields = b"}(" + b"".join(text(b"%x" % each) + b"h\x04" for each in range(int(20_000 * scale))) + b"u"
    state = plain + b"h\x03K\0\x86q\x040(K\x03" + text(b"|") + b"NN" + fields + b"K\x04K\x01K\0t"
    made = b"cnumpy\ndtype\n" + text(b"V4") + b"\x89\x88\x87R"
    long = b"\x8a\xfe" + b"\x7f" * 254 + b"q\x050"
    lengths = plain + long + b"(K\x03" + text(b"|") + b"h\x03(" + b"h\x05" * int(40_000 * scale) + b"t\x86NNK\x04K\x01K\0t"
    return [
        _again(folder, "fields", state, made, b"h\x02h\x01b", int(30_000 * scale)),
        _again(folder, "lengths", lengths, made, b"h\x02h\x01b", 2),
    ]


def long_arguments(folder: Path, scale: float) -> list[Path]:
    """Calls and texts with tens of thousands of items or characters, from the memo."""
    times, many = int(400_000 * scale), b"(" + b"K\x01" * 60_000 + b"t"
    digits, raw = text(b"1" * 65_000), b"T" + struct.pack("<i", 60_000) + b"a" * 60_000
    key, mapping = text(b"k" * 60_000), b"}" + text(b"k" * 60_000) + b"K\x01s"
    call = b"h\x02h\x01R"
    return [
        _again(folder, "arguments", many, b"cre\ncompile\n", call, times),
        _again(folder, "numbers", many, b"cuuid\nUUID\n", call, times),
        _again(folder, "digits", digits + b"\x85", b"cfractions\nFraction\n", call, times),
        _again(folder, "names", raw, raw, b"h\x02h\x01\x93", times),
        _again(folder, "keys", mapping, b"ctorch.optim.adam\nAdam\n", b"h\x02)\x81h\x01b", times),
        _again(folder, "bytes", b"}" + raw + b"K\x01s\x85", b"ccollections\nOrderedDict\n", call, times),
        _again(folder, "items", key + b"\x85", b"ccollections\nCounter\n", call, times),
    ]


KINDS: dict[str, Callable[[Path, float], list[Path]]] = {
    each.__name__: each
    for each in (
        *(metadata_of_tensors, channels, dimensions, keys, shards, pickles_of_a_stream, storages_of_a_tar, wide_texts, escapes),
        *(metadata_of_safetensors, names_of_an_index, empty_records, names_of_one_tensor),
        *(states_of_dtypes, long_arguments),
    )
}


def files(folder: Path, scale: float = 1.0) -> Iterator[tuple[str, Path]]:
    """Every kind, and the file to open."""
    for name, write in KINDS.items():
        (folder / name).mkdir()
        for path in write(folder / name, scale):
            yield name.replace("_", " "), path
