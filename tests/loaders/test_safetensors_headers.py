"""Headers of safetensors that are odd: accepted and refused exactly as the library does, with the same tensors."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import SafetensorError, safe_open
from tests.support.tools import torch2grid

from torch2grid_builtin._loaders.safetensors import Safetensors
from torch2grid_core import LoadError
from torch2grid_core.sources import LocalSource

W = '"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
I32 = '"w":{"dtype":"I32","shape":[1,2],"data_offsets":[0,8]}'


def info(**changed: str) -> str:
    """A header of one tensor, some of its fields (as JSON) changed, added, or left out (an empty text)."""
    fields = {"dtype": '"F32"', "shape": "[2]", "data_offsets": "[0,8]", **changed}
    return '{"w":{' + ",".join(f'"{key}":{value}' for key, value in fields.items() if value) + "}}"


HEADERS: dict[str, str | bytes] = {
    "plain": "{" + W + "}",
    "no metadata": '{"__metadata__":null,' + W + "}",
    "empty metadata": '{"__metadata__":{},' + W + "}",
    "metadata last": "{" + W + ',"__metadata__":{"a":"1"}}',
    "metadata of a number": '{"__metadata__":{"a":1},' + W + "}",
    "metadata of null": '{"__metadata__":{"a":null},' + W + "}",
    "metadata that is a list": '{"__metadata__":[],' + W + "}",
    "metadata that is text": '{"__metadata__":"",' + W + "}",
    "metadata that is a number": '{"__metadata__":0,' + W + "}",
    "metadata that is false": '{"__metadata__":false,' + W + "}",
    "a key of metadata twice": '{"__metadata__":{"a":"1","a":"2"},' + W + "}",
    "a key of metadata twice, once a number": '{"__metadata__":{"a":1,"a":"2"},' + W + "}",
    "metadata twice": '{"__metadata__":{"a":"1"},"__metadata__":{"a":"2"},' + W + "}",
    "metadata twice, then null": '{"__metadata__":{"a":"1"},"__metadata__":null,' + W + "}",
    "spaces behind": "{" + W + "}   ",
    "line feeds behind": "{" + W + "}\r\n\t",
    "NULs behind": "{" + W + "}\0\0",
    "a form feed behind": "{" + W + "}\f",
    "spaces in front": "  {" + W + "}",
    "a byte order mark": "\ufeff{" + W + "}",
    "line feeds inside": "{\n" + W + "\n}",
    "a comma too many": "{" + W + ",}",
    "text behind": "{" + W + "}x",
    "a tensor twice": "{" + W + "," + W + "}",
    "a tensor twice, differently": "{" + W + "," + I32 + "}",
    "a tensor twice, at different places": "{" + W + "," + W.replace("[0,8]", "[8,16]") + "}",
    "a tensor twice, once null": '{"w":null,' + W + "}",
    "a field twice": info(dtype='"I32","dtype":"F32"'),
    "a field more": info(x="1"),
    "a field more, a fraction": info(x="1.5"),
    "a field more, out of range": info(x="1e999"),
    "a field more, a long number": info(x="9" * 50),
    "a field more, too long a number": info(x="9" * 310),
    "a field more, NaN": info(x="NaN"),
    "a field more, twice": info(x='1,"x":2'),
    "a field more, a key in it twice": info(x='{"a":1,"a":2}'),
    "a field more, deep": info(x="[" * 125 + "]" * 125),
    "a field more, too deep": info(x="[" * 126 + "]" * 126),
    "a field more, mappings too deep": info(x='{"a":' * 126 + "1" + "}" * 126),
    "values alone": '{"w":["F32",[2],[0,8]]}',
    "values alone, too many": '{"w":["F32",[2],[0,8],1]}',
    "values alone, too few": '{"w":["F32",[2]]}',
    "a dtype as a mapping": info(dtype='{"F32":null}'),
    "a dtype as a mapping to something": info(dtype='{"F32":{}}'),
    "a dtype as a mapping twice": info(dtype='{"F32":null,"F32":null}'),
    "no dtype": info(dtype=""),
    "no shape": info(shape=""),
    "a dtype in small letters": info(dtype='"f32"'),
    "a dtype that is null": info(dtype="null"),
    "a fraction in the shape": info(shape="[2.0]"),
    "an exponent in the shape": info(shape="[2e0]"),
    "text in the shape": info(shape='["2"]'),
    "a zero in front": info(shape="[02]"),
    "a shape that is null": info(shape="null"),
    "minus zero": info(data_offsets="[-0,8]"),
    "three offsets": info(data_offsets="[0,8,9]"),
    "one offset": info(data_offsets="[0]"),
    "an empty name": "{" + W.replace('"w"', '""') + "}",
    "half a character": "{" + W.replace('"w"', '"\\ud800"') + "}",
    "both halves of a character": "{" + W.replace('"w"', '"\\ud83d\\ude00"') + "}",
    "half a character in the metadata": '{"__metadata__":{"a":"\\udc00"},' + W + "}",
    "half a character in a field more": info(x='"\\ud800"'),
    "half a character in the name of a field more": info(x='1,"\\ud800":1'),
    "no UTF-8": b'{"\xff":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
    "a control character in a name": "{" + W.replace('"w"', '"\x01"') + "}",
    "a slash with an escape": "{" + W.replace('"w"', '"a\\/b"') + "}",
    "an empty tensor behind": "{" + W + ',"v":{"dtype":"F32","shape":[0],"data_offsets":[8,8]}}',
    "an empty tensor in front": "{" + W + ',"v":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}',
    "an empty tensor in the middle": "{" + W + ',"v":{"dtype":"F32","shape":[0],"data_offsets":[4,4]}}',
    "a shape that overflows before its zero": "{"
    + W
    + f',"v":{{"dtype":"F32","shape":[{2**32},{2**32},0],"data_offsets":[8,8]}}}}',
    "a shape that would overflow behind its zero": "{"
    + W
    + f',"v":{{"dtype":"F32","shape":[0,{2**32},{2**32}],"data_offsets":[8,8]}}}}',
    "a length of 64 bits": "{" + W + f',"v":{{"dtype":"F32","shape":[{2**64 - 1},0],"data_offsets":[8,8]}}}}',
    "a length of 65 bits": "{" + W + f',"v":{{"dtype":"F32","shape":[{2**64},0],"data_offsets":[8,8]}}}}',
    "a hole": info(data_offsets="[4,12]"),
    "less than the data": info(data_offsets="[0,4]", shape="[1]"),
}


def written(path: Path, header: str | bytes, data: bytes = bytes(range(8))) -> Path:
    raw = header if isinstance(header, bytes) else header.encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + data)
    return path


def by_library(path: Path) -> tuple[dict[str, Any], dict[str, str]] | None:
    """Shapes and values by name, and the metadata, as the library reads them; ``None`` where it refuses."""
    try:
        with safe_open(str(path), "np") as file:
            names = list(file.keys())
            return {name: _read(file, name) for name in names}, file.metadata() or {}
    except SafetensorError:
        return None


def _read(file: Any, name: str) -> Any:
    try:
        return file.get_slice(name).get_shape(), file.get_tensor(name).tolist()
    except ValueError:  # of numpy, for an empty array whose other lengths are too long
        return None


def by_us(path: Path) -> tuple[dict[str, Any], dict[str, str]] | None:
    try:
        checkpoint = Safetensors().load(LocalSource(path))
    except LoadError:
        return None
    skipped = {skip.name: None for skip in checkpoint.skipped}
    found = {name: (list(tensor.shape), tensor.numpy().tolist()) for name, tensor in checkpoint.items()}
    return {**found, **skipped}, checkpoint.metadata


@pytest.mark.parametrize("kind", HEADERS)
def test_an_odd_header_opens_where_the_library_opens_it(kind: str, tmp_path: Path) -> None:
    path = written(tmp_path / "x.safetensors", HEADERS[kind])
    expected, found = by_library(path), by_us(path)
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert found[1] == expected[1]
        assert found[0] == {name or "tensor": value for name, value in expected[0].items()}  # the name of "" in every format


VALUES = [
    "null",
    "0",
    "1",
    "8",
    "-0",
    "2.0",
    "true",
    '"F32"',
    '"I16"',
    '"\\ud800"',
    "[]",
    "[2]",
    "[0,8]",
    "[4]",
    "{}",
    '{"F32":null}',
]


def random_header(source: random.Random) -> str:
    def mapping(pairs: list[tuple[str, str]]) -> str:
        if pairs and source.random() < 0.3:
            pairs.append((source.choice(pairs)[0], source.choice(VALUES)))
        source.shuffle(pairs)
        return "{" + ",".join(f"{json.dumps(key)}:{value}" for key, value in pairs) + "}"

    def tensor() -> str:
        good = [("dtype", '"F32"'), ("shape", "[2]"), ("data_offsets", "[0,8]")]
        fields = [(key, source.choice(VALUES) if source.random() < 0.1 else value) for key, value in good]
        return mapping(fields + [("x", source.choice(VALUES))] * (source.random() < 0.3))

    entries = [("w", tensor())]
    if source.random() < 0.5:
        about = source.choice(VALUES) if source.random() < 0.4 else mapping([("a", '"1"'), ("b", source.choice(['"2"', "2"]))])
        entries.append(("__metadata__", about))
    return mapping(entries) + source.choice(["", " ", "\n", "\t  "])


def test_headers_at_random_open_where_the_library_opens_them(tmp_path: Path) -> None:
    source, outcomes = random.Random(7), []
    for _ in range(1500):
        header = random_header(source)
        path = written(tmp_path / "x.safetensors", header)
        expected, found = by_library(path), by_us(path)
        assert found == expected, header
        outcomes.append(expected is None)
    assert 300 < sum(outcomes) < 1200


def test_metadata_of_null_through_the_command(tmp_path: Path) -> None:
    written(tmp_path / "x.safetensors", HEADERS["no metadata"], np.array([1.5, np.nan], np.float32).tobytes())
    run = torch2grid("check", "x.safetensors", cwd=tmp_path)
    assert run.returncode == 1
    assert "T101 error w[1]: 1 of 2 weights is NaN" in run.stdout


def test_a_tensor_that_is_described_twice_is_said(tmp_path: Path) -> None:
    written(tmp_path / "x.safetensors", HEADERS["a tensor twice, differently"])
    run = torch2grid("x.safetensors", "--format", "json", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "its header describes w more than once; the last counts, as in the library" in run.stderr
    assert "int32" in run.stderr
