"""What other readers of a file run that PyTorch's own pickle says nothing of: numpy, TorchScript, and a file that is two."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.hostile.test_evasions import GADGET, said_of
from tests.support.hostile.evasions import Files, before, call, name, raw_bytes, text
from tests.support.tools import torch2grid

from torch2grid_builtin._inert.actions import Actions
from torch2grid_builtin._inert.limits import Work
from torch2grid_builtin._inert.script_code import note_operators

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="the payloads name what Linux has"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def array(value: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, value, allow_pickle=True)
    return buffer.getvalue()


def add(source: Path, target: Path, record: str, raw: bytes, method: int = zipfile.ZIP_STORED) -> None:
    """*source* with one record more, or another in its place."""
    with zipfile.ZipFile(source) as read, zipfile.ZipFile(target, "w") as archive:
        for entry in read.infolist():
            if entry.filename != record:
                archive.writestr(entry.filename, read.read(entry))
        archive.writestr(record, raw, method)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("record", ["m/evil", "m/notes.npy", "m/data/7", "m/extra/a.txt"])
def test_arrays_of_objects_in_a_zip_under_any_name(record: str, method: int, tmp_path: Path) -> None:
    torch.save({"w": torch.ones(3)}, tmp_path / "m.pt")
    add(tmp_path / "m.pt", tmp_path / "evil.pt", record, Files(tmp_path).npy(GADGET), method)
    said = said_of(tmp_path, ["evil.pt"])["evil.pt"]
    assert "os.mkdir" in said
    assert "array of Python objects" in said


def test_an_array_of_objects_that_is_too_large_to_be_read_at_opening(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(3)}, tmp_path / "m.pt")
    add(tmp_path / "m.pt", tmp_path / "evil.pt", "m/evil", Files(tmp_path).npy(GADGET) + bytes(17 << 20))
    assert "os.mkdir" in said_of(tmp_path, ["evil.pt"])["evil.pt"]


def test_a_storage_that_is_an_array_of_objects(tmp_path: Path) -> None:
    raw = Files(tmp_path).npy(GADGET)
    torch.save({"w": torch.frombuffer(bytearray(raw), dtype=torch.uint8), "v": torch.ones(2)}, tmp_path / "evil.pt")
    said = said_of(tmp_path, ["evil.pt"])["evil.pt"]
    assert "os.mkdir" in said
    assert "array of Python objects" in said
    run = torch2grid("check", "--no-plugins", "evil.pt", cwd=tmp_path)
    assert run.returncode != 0


@pytest.mark.parametrize(
    "value",
    [np.arange(6.0), np.array(["a", "bc"]), np.zeros(2, dtype=[("x", "<f4"), ("y", "<i4")]), np.zeros(2, "M8[ns]")],
    ids=["numbers", "texts", "structure", "times"],
)
def test_plain_arrays_in_a_zip_are_clean(value: np.ndarray, tmp_path: Path) -> None:
    stored = torch.frombuffer(bytearray(array(value)), dtype=torch.uint8)
    torch.save({"w": torch.ones(3), "raw": stored}, tmp_path / "m.pt")
    add(tmp_path / "m.pt", tmp_path / "more.pt", "m/more", array(value))
    run = torch2grid("check", "--no-plugins", "more.pt", "--select", "T304", cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<f4', 'des' 'cr': '|O', 'fortran_order': False, 'shape': (1,), }",
        b"{'descr': '\\x4f', 'fortran_order': False, 'shape': (1,), }",
        b"{'descr': [('a', 'O')], 'fortran_order': False, 'shape': (1,), }",
        b"{'descr': 'object', 'fortran_order': False, 'shape': (1,), }",
        b"{'descr': 'O,O', 'fortran_order': False, 'shape': (1,), }",
    ],
)
def test_headers_that_spell_objects(header: bytes, tmp_path: Path) -> None:
    torch.save({"w": torch.ones(3)}, tmp_path / "m.pt")
    head = header + b" " * 20 + b"\n"
    raw = b"\x93NUMPY\x01\0" + len(head).to_bytes(2, "little") + head + before(b"\x80\x04N.", GADGET)
    add(tmp_path / "m.pt", tmp_path / "evil.pt", "m/evil", raw)
    assert "os.mkdir" in said_of(tmp_path, ["evil.pt"])["evil.pt"]


def test_arrays_of_objects_in_a_package(tmp_path: Path) -> None:
    with torch.package.PackageExporter(str(tmp_path / "p.pt")) as exporter:
        exporter.save_pickle("model", "model.pkl", {"w": torch.ones(3)})
    for size in (0, 17 << 20):
        add(tmp_path / "p.pt", tmp_path / "evil.pt", "p/evil.txt", Files(tmp_path).npy(GADGET) + bytes(size))
        assert "os.mkdir" in said_of(tmp_path, ["evil.pt"])["evil.pt"]


class Honest(torch.nn.Module):
    """Has an attribute called as an operator is, and texts that speak of one."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.ReLU())
        self.save = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.dim() == 7:
            raise ValueError("use torch.save(x, path)\n or ops.image.write_file, not this")
        y: torch.Tensor = self.layers(x)
        return y + 1 if self.save else y


class Recurrent(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.lstm(x)[0]
        return y


def test_honest_scripts_are_clean(tmp_path: Path) -> None:
    x = torch.ones(2, 3)
    encoder = torch.nn.TransformerEncoderLayer(6, 2, 8)
    made = {
        "honest": torch.jit.script(Honest()),
        "traced": torch.jit.trace(Honest(), x),
        "frozen": torch.jit.freeze(torch.jit.script(Honest().eval())),
        "recurrent": torch.jit.script(Recurrent()),
        "conv": torch.jit.script(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))),
        "attention": torch.jit.script(encoder),
        "embedding": torch.jit.script(torch.nn.EmbeddingBag(5, 3)),
    }
    if torch.backends.quantized.engine != "none":
        quantised = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(torch.nn.Linear(3, 3)), {torch.nn.Linear})
        made["quantised"] = torch.jit.script(quantised)
    for label, module in made.items():
        module.save(str(tmp_path / f"{label}.pt"))
    files = [f"{label}.pt" for label in made]
    run = torch2grid("check", "--no-plugins", *files, "--select", "T304", cwd=tmp_path, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr


def records(path: Path) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        return [(entry, archive.read(entry)) for entry in archive.namelist() if entry.endswith(".py")]


class Scripted(torch.nn.Module):
    """Has a ``__setstate__`` in TorchScript, as quantised layers have."""

    def __init__(self) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.ones(2))

    @torch.jit.export
    def __getstate__(self) -> tuple[torch.Tensor, bool]:
        return (self.w, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]) -> None:
        self.w = state[0]
        self.training = state[1]
        print("here")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.w


# What stands in place of a print: the operator, and whether this version of PyTorch must run it.
SCRIPTS = {
    "torch.save": ('torch.save([1], "t2g-made")', "torch.save", True),
    "from_file": ('print(torch.from_file("t2g-made", True, 4))', "torch.from_file", True),
    "operator": ('print(ops.aten.from_file("t2g-made", True, 4))', "torch.ops.aten.from_file", True),
    "spaced": ('torch . \\\n save([1], "t2g-made")', "torch.save", False),
    "alias": ('t = torch\n    t.save([1], "t2g-made")', "torch.save", False),
    "function": ('f = torch.save\n    f([1], "t2g-made")', "torch.save", False),
    "self": ('self = torch\n    self.save([1], "t2g-made")', "torch.save", False),
    "annotated": ('self : Any = torch\n    y = self.save\n    y([1], "t2g-made")', "torch.save", False),
    "in brackets": ('(self) = torch\n    (self.save)([1], "t2g-made")', "torch.save", False),
    "continued": ('self \\\n = torch\n    y = self.save\n    y([1], "t2g-made")', "torch.save", False),
    "in a value": ('y = self.save\n    y([1], "t2g-made")', "torch.save", False),
    "getattr": ('getattr((torch), "save")([1], "t2g-made")', "torch.save", False),
    "joined": ('getattr(torch, "sa" "ve")([1], "t2g-made")', "torch.save", False),
    "joined over lines": ('getattr(torch, "sa" #\n  "ve")([1], "t2g-made")', "torch.save", False),
    "escaped": ('getattr(torch, "s\\x61ve")([1], "t2g-made")', "torch.save", False),
    "commented": ('torch.save([1], # "\n      "t2g-made")', "torch.save", False),
    "of another": ('ops.image.write_file("t2g-made", x)', "torch.ops.image.write_file", False),
    "an image": ('ops.video.open_stream("t2g-made")', "torch.ops.video.open_stream", False),
    "remote": ("ops.c10d.barrier(x)", "torch.ops.c10d", False),
}


# Loads each script in a folder of its own; that most of them are errors is no error.
LOADING = """
import os, sys, torch
for label in sys.argv[1:]:
    os.chdir(f"of {label}")
    try:
        torch.jit.load(os.path.join("..", f"{label}.pt"))
    except (RuntimeError, AttributeError):
        pass
    os.chdir("..")
"""


@pytest.mark.parametrize("method", ["__setstate__", "forward"])
def test_scripts_that_touch_the_machine(method: str, tmp_path: Path) -> None:
    torch.jit.script(Scripted()).save(str(tmp_path / "clean.pt"))
    ((record, code),) = records(tmp_path / "clean.pt")
    printed = next(line for line in code.decode().splitlines() if "print" in line)
    for label, (line, _, _) in SCRIPTS.items():
        changed = code.decode().replace(printed, f"    {line}")
        if method == "forward":
            changed = code.decode().replace(
                "    w = self.w\n    return torch.add", f"    w = self.w\n    {line}\n    return torch.add"
            )
        assert changed != code.decode()
        add(tmp_path / "clean.pt", tmp_path / f"{label}.pt", record, changed.encode())
    said = said_of(tmp_path, [f"{label}.pt" for label in SCRIPTS])
    for label, (_, operator, _) in SCRIPTS.items():
        assert f"calls {operator}" in said[f"{label}.pt"], (label, said[f"{label}.pt"])
    assert torch2grid("check", "--no-plugins", "clean.pt", "--select", "T304", cwd=tmp_path).returncode == 0
    if method == "__setstate__":  # which runs, where it is loaded
        for label in SCRIPTS:
            (tmp_path / f"of {label}").mkdir()
        subprocess.run([sys.executable, "-c", LOADING, *SCRIPTS], cwd=tmp_path, capture_output=True, timeout=200, check=True)
        for label, (_, _, runs) in SCRIPTS.items():
            assert not runs or os.listdir(tmp_path / f"of {label}"), label


REBOUND = {
    "annotated": "self : Any = torch\n  y = self.save\n  y(x, 't2g-made')",
    "in brackets": "(self) = torch\n  (self.save)(x, 't2g-made')",
    "continued": "self \\\n = torch\n  y = self.save\n  y(x, 't2g-made')",
}


def test_self_may_be_another_name_for_torch(tmp_path: Path) -> None:
    torch.jit.script(Scripted()).save(str(tmp_path / "clean.pt"))
    ((record, code),) = records(tmp_path / "clean.pt")
    printed = next(line for line in code.decode().splitlines() if "print" in line)
    module = record.partition("/code/")[2].removesuffix(".py").replace("/", ".")
    for label, body in REBOUND.items():
        helper = f"def helper(x: Tensor) -> NoneType:\n  {body}\n  return None\n"
        changed = helper + code.decode().replace(printed, f"    {module}.helper((state)[0])")
        add(tmp_path / "clean.pt", tmp_path / f"{label}.pt", record, changed.encode())
        (tmp_path / f"of {label}").mkdir()
    subprocess.run([sys.executable, "-c", LOADING, *REBOUND], cwd=tmp_path, capture_output=True, timeout=200, check=True)
    said = said_of(tmp_path, [f"{label}.pt" for label in REBOUND])
    for label in REBOUND:
        assert os.listdir(tmp_path / f"of {label}") == ["t2g-made"], label
        assert "calls torch.save" in said[f"{label}.pt"]


class Saving(torch.nn.Module):
    """Has an attribute and a method with names of operators."""

    def __init__(self) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.ones(2))
        self.save = True

    @torch.jit.export
    def from_file(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.w

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.from_file(x) if self.save else x


def test_attributes_and_methods_of_a_module_are_its_own(tmp_path: Path) -> None:
    torch.jit.script(Saving()).save(str(tmp_path / "own.pt"))
    ((_, code),) = records(tmp_path / "own.pt")
    assert b"self.save" in code
    assert torch2grid("check", "--no-plugins", "own.pt", "--select", "T304", cwd=tmp_path).returncode == 0


def test_a_name_in_many_pieces_costs_what_it_is_long() -> None:
    work, actions = Work(), Actions()
    pieces = '"" ' * 1_000_000
    note_operators(f"""getattr(torch, "sa" {pieces} "ve")\ngetattr(torch, "{"a" * 40}" {pieces})""", actions, work)
    assert [asked.name for asked in actions.asked.values()] == ["save"]


@pytest.mark.parametrize("loader", [(), ("--loader", "torch-tar"), ("--loader", "pickle")])
def test_a_tar_whose_first_name_is_a_pickle(loader: tuple[str, ...], tmp_path: Path) -> None:
    for label, payload in {"python": b"cos\nmkdir\n(Vx\ntR.", "other": b"ct2g_other\nact\n(Vx\ntR."}.items():
        made = Files(tmp_path)
        made.write_tar("plain.tar", "pickle", b"N0")
        raw = bytearray((tmp_path / "plain.tar").read_bytes())
        first = bytearray(512)
        first[: len(payload)] = payload
        first[124:136], first[156:157], first[257:265] = b"00000000000\0", b"0", b"ustar\x0000"
        first[148:156] = b" " * 8
        first[148:156] = b"%06o\0 " % sum(first)
        (tmp_path / f"{label}.tar").write_bytes(bytes(first) + raw)
        run = torch2grid("check", "--no-plugins", f"{label}.tar", *loader, "-q", cwd=tmp_path)
        assert run.returncode == 2
        assert ("os.mkdir" if label == "python" else "t2g_other.act") in run.stderr
        assert "at once" in run.stderr
        assert "--loader" not in run.stderr


def test_what_is_asked_for_its_items_or_numbers(tmp_path: Path) -> None:
    made = Files(tmp_path)
    thing = name("t2g_other", "Thing") + b")\x81"
    kinds = {kind: call(name("builtins", kind), thing) for kind in ("list", "tuple", "set", "frozenset", "dict")}
    kinds |= {kind: call(name("builtins", kind), thing) for kind in ("bytes", "bytearray", "int", "float", "bool", "complex")}
    kinds |= {kind: call(name("collections", kind), thing) for kind in ("deque", "Counter", "OrderedDict")}
    kinds["defaultdict"] = call(name("collections", "defaultdict"), b"N", thing)
    kinds["list of a mapping"] = call(name("builtins", "list"), b"}" + text("a") + b"K\x01s")
    kinds["list of a text"] = call(name("builtins", "list"), text("abc"))
    kinds["set of bytes"] = call(name("builtins", "set"), raw_bytes(b"abc"))
    kinds["bytes of a number"] = call(name("builtins", "bytes"), b"K\x05")
    for kind, payload in kinds.items():
        made.write_zip(f"{kind}.pt", before, payload + b"0")
    said = said_of(tmp_path, [f"{kind}.pt" for kind in kinds])
    for kind in kinds:
        of = "bytes" if kind == "bytearray" else "complex" if kind in ("int", "float", "bool") else kind.split()[0]
        assert f".{of}" in said[f"{kind}.pt"], (kind, said[f"{kind}.pt"])


@pytest.mark.parametrize("flags", [0x1, 0x40], ids=["encrypted", "strongly encrypted"])
def test_a_zip_that_is_refused_for_its_flags_says_what_its_pickle_calls(flags: int, tmp_path: Path) -> None:
    """Other readers pass over the flag."""
    with zipfile.ZipFile(tmp_path / "plain.zip", "w") as archive:
        archive.writestr("model/config.pkl", b"cos\nmkdir\n(Vx\ntR.")
    raw = bytearray((tmp_path / "plain.zip").read_bytes())
    raw[6:8] = raw[raw.index(b"PK\1\2") + 8 : raw.index(b"PK\1\2") + 10] = flags.to_bytes(2, "little")
    (tmp_path / "flags.zip").write_bytes(raw)
    run = torch2grid("check", "--no-plugins", "flags.zip", cwd=tmp_path)
    assert run.returncode == 2
    assert "os.mkdir" in run.stderr
