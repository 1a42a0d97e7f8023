"""Texts of an exported program that PyTorch compiles, imports or evaluates as it loads the program: each is told.

Each file is loaded for real in a child process, and the code of each only creates a folder.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.hostile.test_evasions import said_of
from tests.hostile.test_programs import joined, records
from tests.support.hostile.loading import left
from tests.support.tools import torch2grid

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the children are forked"),
    pytest.mark.filterwarnings("ignore"),
]

MODEL = "models/model.json"
CODES = ('{text}=__import__("os").mkdir("{path}")', '__import__("os").mkdir("{path}")')  # a default value, an expression


class Branch(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = torch.cond(x.sum() > 0, lambda x: x.sin(), lambda x: x.cos(), (x,))
        return y


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.branch, self.kept = torch.nn.Linear(2, 2), Branch(), torch.arange(2.0)
        self.register_buffer("b", torch.ones(2))

    def forward(self, x: torch.Tensor, more: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        return self.branch(self.layer(x)) + self.b + self.kept + x.shape[0], torch.add(x, more["a key"], alpha=2)


def exported(path: Path, more: dict[str, torch.Tensor]) -> dict[str, bytes]:
    """The records of a program whose second input is *more*."""
    rows = {0: torch.export.Dim("n", max=100)}
    shapes = {"x": rows, "more": {"a key": rows}}
    torch.export.save(torch.export.export(Model(), (torch.ones(3, 2), more), dynamic_shapes=shapes), path)
    return records(path)


def texts(value: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Every text of a program that is no field of its schema: values, and names that values are kept under."""
    if isinstance(value, dict):
        for key, each in value.items():
            if path and path[-1].endswith("_values"):
                yield key
            yield from texts(each, (*path, key))
    elif isinstance(value, list):
        for each in value:
            yield from texts(each, path)
    elif isinstance(value, str):
        yield value


def renamed(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {new if key == old else key: renamed(each, old, new) for key, each in value.items()}
    if isinstance(value, list):
        return [renamed(each, old, new) for each in value]
    return new if value == old else value


def runs(file: Path, made: Path) -> bool:
    """True where loading *file* in a process of its own, with its folder on the import path, makes the folder *made*."""
    code = "import sys, torch; torch.export.load(sys.argv[1]).module()"
    left(code, file, folder=file.with_name(f"in {file.name}"), path=str(file.parent))
    return made.is_dir()


def test_a_text_of_a_program_that_is_code_where_it_stands(tmp_path: Path) -> None:
    kept = exported(tmp_path / "honest.pt2", {"a key": torch.ones(3, 2)})
    program = json.loads(kept[MODEL])
    there = [each for each in dict.fromkeys(texts(program)) if 0 < len(each) < 200 and not re.match(r"File|\d|torch|.*;", each)]
    files, ran = [], []
    for place, each in enumerate(there):
        for which, code in enumerate(CODES):
            made = tmp_path / f"made-{place}-{which}"
            changed = renamed(program, each, code.format(text=each, path=made))
            files.append(joined(tmp_path / f"{place}-{which}.pt2", {**kept, MODEL: json.dumps(changed).encode()}))
            if runs(tmp_path / files[-1], made):
                ran.append(files[-1])
    assert len(ran) >= 3, ran  # the name of an input, of a branch's input, a size
    said = said_of(tmp_path, ran)
    assert [each for each in ran if "exec(" not in said[each] and "sympify(" not in said[each]] == []


class Moded(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.odd = torch.nn.ModuleDict({"it's": torch.nn.Linear(2, 2), "a b": torch.nn.Linear(2, 2)})

    def forward(self, x: torch.Tensor, mode: str) -> torch.Tensor:
        for each in self.odd.values():
            x = each(x)
        return x


def test_a_text_that_a_program_is_given(tmp_path: Path) -> None:
    """A guard compares it, and is compiled with it between quotes."""
    torch.export.save(torch.export.export(Moded(), (torch.ones(1, 2), "up")), tmp_path / "honest.pt2")
    kept, made = records(tmp_path / "honest.pt2"), tmp_path / "made"
    program = renamed(json.loads(kept[MODEL]), "up", f"up' or __import__('os').mkdir('{made}') or '")
    joined(tmp_path / "evil.pt2", {**kept, MODEL: json.dumps(program).encode()})
    code = "import sys, torch; torch.export.load(sys.argv[1]).module()(torch.ones(1, 2), 'down')"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "evil.pt2")], capture_output=True, check=False)
    assert made.is_dir()
    assert "exec(" in said_of(tmp_path, ["evil.pt2"])["evil.pt2"]
    assert torch2grid("check", "--no-plugins", "honest.pt2", "--select", "T304", cwd=tmp_path).returncode == 0


def specified(change: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    def changed(program: dict[str, Any]) -> None:
        signature = program["graph_module"]["module_call_graph"][0]["signature"]
        spec = json.loads(signature["in_spec"])
        change(spec[1])
        signature["in_spec"] = json.dumps(spec)

    return changed


def imports(spec: dict[str, Any]) -> None:
    factory = {"default_factory_module": "t2g_of_a_spec", "default_factory_name": "made", "dict_context": ["a key"]}
    spec["children_spec"][0]["children_spec"][1].update(type="collections.defaultdict", context=factory)


def test_the_factory_of_a_mapping_is_imported(tmp_path: Path) -> None:
    kept = exported(tmp_path / "honest.pt2", {"a key": torch.ones(3, 2)})
    program = json.loads(kept[MODEL])
    specified(imports)(program)
    joined(tmp_path / "evil.pt2", {**kept, MODEL: json.dumps(program).encode()})
    (tmp_path / "t2g_of_a_spec.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'made')!r})\nmade = list\n")
    assert runs(tmp_path / "evil.pt2", tmp_path / "made")
    assert "import_module('t2g_of_a_spec.made')" in said_of(tmp_path, ["evil.pt2"])["evil.pt2"]


def test_a_program_that_is_nested_as_deep_as_a_parser_reads(tmp_path: Path) -> None:
    """How deep that is depends on who calls it: PyTorch calls it from fewer functions than torch2grid."""
    kept = exported(tmp_path / "honest.pt2", {"a key": torch.ones(3, 2)})
    program = json.loads(kept[MODEL])
    values = program["graph_module"]["graph"]["tensor_values"]
    ran, files = [], []
    for depth in (100, *range(900, 1000, 6)):
        made = tmp_path / f"made-{depth}"
        size = {"as_expr": {"expr_str": f"__import__('os').mkdir({str(made)!r})", "hint": None}}
        next(iter(values.values()))["sizes"][0] = size
        raw = f'{{"more": {"[" * depth}{"]" * depth}, {json.dumps(program)[1:]}'
        files.append(joined(tmp_path / f"{depth}.pt2", {**kept, MODEL: raw.encode()}))
        if runs(tmp_path / files[-1], made):
            ran.append(files[-1])
    assert len(ran) >= 3
    said = said_of(tmp_path, ran)
    assert [each for each in ran if "sympify(" not in said[each] and "is not read" not in said[each]] == []


@pytest.mark.parametrize("more", [{"a key": torch.ones(3, 2)}, defaultdict(list, {"a key": torch.ones(3, 2)})])
def test_an_honest_program_is_clean(more: dict[str, torch.Tensor], tmp_path: Path) -> None:
    exported(tmp_path / "honest.pt2", more)
    with zipfile.ZipFile(tmp_path / "honest.pt2") as archive:
        assert any(each.endswith(MODEL) for each in archive.namelist())
    run = torch2grid("check", "--no-plugins", "honest.pt2", "--select", "T304", cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "no finding" in run.stderr
