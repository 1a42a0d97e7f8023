"""Changes of a pickle, opcode by opcode: what stays a pickle goes further than flipped bits."""

from __future__ import annotations

import pickletools
import random
import struct
from collections.abc import Sequence

OPS = b"NK\x00)]}\x88\x89"
GLOBALS = (
    *(b"torch._utils\n_rebuild_tensor_v2", b"torch._utils\n_rebuild_tensor", b"torch\n_utils._rebuild_tensor_v2"),
    *(
        b"torch._utils\n_rebuild_parameter",
        b"torch._utils\n_rebuild_parameter_with_state",
        b"torch._tensor\n_rebuild_from_type_v2",
    ),
    *(
        b"torch.nn.parameter\nParameter",
        b"torch\nnn.parameter.Parameter",
        b"torch\nTensor",
        b"torch\nSize",
        b"torch\nFloatTensor",
    ),
    *(b"collections\nOrderedDict", b"collections\nCounter", b"builtins\nset", b"builtins\nbytearray", b"_codecs\nencode"),
    *(
        b"torch\nFloatStorage",
        b"torch\nDoubleStorage",
        b"torch\nLongStorage",
        b"torch\nByteStorage",
        b"torch.storage\nUntypedStorage",
    ),
    *(b"torch._utils\n_rebuild_qtensor", b"torch\nper_channel_affine", b"torch\nfloat32", b"torch._utils\n_rebuild_tensor_v3"),
)


def operations(raw: bytes) -> list[bytes]:
    """The opcodes of the pickle that *raw* begins with, each with its argument."""
    places = [place for _, _, place in pickletools.genops(raw)]
    return [raw[start:stop] for start, stop in zip(places, [*places[1:], places[-1] + 1], strict=True)]


def text(value: str, rng: random.Random) -> bytes:
    """A short text, as Python 3 writes it, now and then as Python 2 does."""
    raw = value.encode()
    return b"U%c" % len(raw) + raw if rng.random() < 0.2 else b"X" + struct.pack("<I", len(raw)) + raw


def changed(raw: bytes, rng: random.Random) -> bytes:
    """The pickle *raw* with one to three changes of its opcodes."""
    ops = operations(raw)
    texts = sorted({op for op in ops if op[:1] == b"X"})
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        _one(ops, texts, rng)
    return b"".join(ops)


def _one(ops: list[bytes], texts: Sequence[bytes], rng: random.Random) -> None:
    place = rng.randrange(len(ops))
    kind = rng.randrange(10)
    if kind == 0:
        del ops[place]
    elif kind == 1:
        ops.insert(place, ops[place])
    elif kind == 2 and place:
        ops[place - 1], ops[place] = ops[place], ops[place - 1]
    elif kind == 3:
        ops[place:place] = _between(ops, rng)
    elif kind == 4:
        ops.insert(place, bytes([rng.choice(OPS)]) + b"")
    elif kind == 5:
        ops[place:place] = _state(ops, rng)
    else:
        same = [index for index, op in enumerate(ops) if op[:1] in b"KXhqcrjJM" and len(op) > 1]
        place = rng.choice(same)
        ops[place] = _argument(ops[place], texts, rng)


def _between(ops: Sequence[bytes], rng: random.Random) -> list[bytes]:
    """A run of opcodes of the same pickle: often a whole value, from its first opcode to a REDUCE or BINPERSID."""
    ends = [index for index, op in enumerate(ops) if op[:1] in b"RQt"]
    end = rng.choice(ends) + 1
    return list(ops[max(end - rng.randint(1, 40), 0) : end])


def _argument(op: bytes, texts: Sequence[bytes], rng: random.Random) -> bytes:
    code, rest = op[:1], op[1:]
    if code == b"X":
        pick = rng.random()
        if pick < 0.5:
            return rng.choice(list(texts))
        plain = rest[4:].decode()
        return text(rng.choice((plain, plain.upper(), plain.swapcase(), plain + "\0", "data", "neg", "conj", "")), rng)
    if code == b"c":
        return b"c" + rng.choice(GLOBALS) + b"\n"
    if code in b"KhqM" and rng.random() < 0.7:
        return code + bytes([(rest[0] + rng.choice((-2, -1, 1, 2, 4))) % 256]) + rest[1:]
    return code + bytes(byte ^ (1 << rng.randrange(8)) if rng.random() < 0.5 else byte for byte in rest)


def _state(ops: Sequence[bytes], rng: random.Random) -> list[bytes]:
    """Opcodes that give whatever stands on the stack a state: a storage with a place, attributes, flags, nothing."""
    stored = [index for index, op in enumerate(ops) if op[:1] == b"Q"]
    begins = max(index for index in range(rng.choice(stored)) if ops[index][:1] == b"(") if stored else 0
    storage = [*ops[begins : next(index for index in stored if index > begins)], b"Q"] if stored else [b"N"]
    got = [op for op in ops if op[:1] in b"hj"] or [b"N"]
    return [
        *rng.choice(
            (
                [b"(", *storage, b"K\x00", b"K\x01", b"K\x02", b"\x86", b"K\x01", b"K\x01", b"\x86", b"t"],
                [b"}", text(rng.choice(("data", "real", "grad", "tag")), rng), rng.choice(got), b"s"],
                [b"N", b"N", b"\x86"],
                [b"\x89", b"\x89", b"}", b"\x87"],
                [b"}"],
                [b")"],
            )
        ),
        b"b",
    ]
