"""Archives that PyTorch loads as a program, whatever weights lie beside it; names of the packages that come with PyTorch."""

from __future__ import annotations

import importlib.metadata
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.hostile.test_evasions import said_of
from tests.support.hostile.evasions import Files, before, call, name, text
from tests.support.hostile.loading import left
from tests.support.tools import torch2grid

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="the payloads name what Linux has"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def records(path: Path) -> dict[str, bytes]:
    """What is in the archive, by the names without the folder that all are in."""
    with zipfile.ZipFile(path) as archive:
        return {each.partition("/")[2]: archive.read(each) for each in archive.namelist()}


def joined(path: Path, *parts: dict[str, bytes]) -> str:
    with zipfile.ZipFile(path, "w") as archive:
        for part in parts:
            for each, raw in part.items():
                archive.writestr(f"m/{each}", raw)
    return path.name


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layer(x)
        return y + x.shape[0]


def test_an_exported_program_with_a_checkpoint_beside_it(tmp_path: Path) -> None:
    """``torch.export.load`` evaluates texts of ``models/model.json`` and looks at nothing else."""
    program = torch.export.export(Model(), (torch.ones(4, 3),), dynamic_shapes=({0: torch.export.Dim("b", max=100)},))
    torch.export.save(program, tmp_path / "honest.pt2")
    torch.save({"w": torch.ones(3)}, tmp_path / "weights.pt")
    exported, weights = records(tmp_path / "honest.pt2"), records(tmp_path / "weights.pt")
    assert "models/model.json" in exported
    assert "data.pkl" in weights
    with torch.package.PackageExporter(tmp_path / "package.pt") as exporter:
        exporter.save_pickle("model", "model.pkl", {"w": torch.ones(3)})
    np.savez(tmp_path / "arrays.npz", w=np.ones(3))
    with zipfile.ZipFile(tmp_path / "arrays.npz") as archive:
        arrays = {each: archive.read(each) for each in archive.namelist()}
    telling = ("archive_format", "models/model.json")
    files = []
    for place, beside in enumerate((weights, records(tmp_path / "package.pt"), arrays)):
        only = {each: raw for each, raw in beside.items() if each not in exported}
        files += [
            joined(tmp_path / f"{place}-before.pt", exported, only),
            joined(tmp_path / f"{place}-after.pt", only, exported),
        ]
        for kept in telling:  # neither record alone makes it less of a program
            files.append(joined(tmp_path / f"{place}-{kept[:2]}.pt", only, {kept: exported[kept]}))
        capitals = {each.upper(): raw for each, raw in exported.items()}
        files.append(joined(tmp_path / f"{place}-capitals.pt", only, capitals))
    for file, said in said_of(tmp_path, files).items():
        assert "is a program that torch.export saved (.pt2)" in said, file


@pytest.mark.parametrize("record", ["serialized_exported_program.json", "data/aotinductor/model/a.so", "model.json"])
def test_other_programs_with_a_checkpoint_beside_them(record: str, tmp_path: Path) -> None:
    torch.save({"w": torch.ones(3)}, tmp_path / "weights.pt")
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "script.pt"))
    for kind in ("weights", "script"):
        joined(tmp_path / f"{kind}-both.pt", records(tmp_path / f"{kind}.pt"), {record: b"{}"})
        run = torch2grid("check", "--no-plugins", f"{kind}-both.pt", "--select", "T304", "-q", cwd=tmp_path)
        assert run.returncode == 2
        assert run.stderr.count("\n") == 1
        said = {"s": "torch.export saved", "d": "AOTInductor compiled", "m": "TorchScript archive of PyTorch 1.0–1.3"}
        assert said[record[0]] in run.stderr
        clean = torch2grid("check", "--no-plugins", f"{kind}.pt", "--select", "T304", "-q", cwd=tmp_path)
        assert clean.returncode == 0


def required(distribution: str, seen: set[str]) -> Iterator[str]:
    """The distribution and whatever it requires without extras, as far as it is installed."""
    if distribution in seen:
        return
    seen.add(distribution)
    try:
        wanted = importlib.metadata.requires(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return
    yield distribution
    for each in wanted:
        if "extra ==" not in each and "platform_system" not in each:
            yield from required("".join(char if char.isalnum() or char in "-_." else " " for char in each).split()[0], seen)


def test_names_of_what_comes_with_pytorch_are_errors(tmp_path: Path) -> None:
    """Every top-level module of PyTorch, numpy and what they require: its names are judged as PyTorch's, called or not."""
    distributions = {*required("torch", set()), *required("numpy", set())}
    of = importlib.metadata.packages_distributions()
    modules = [module for module, owners in of.items() if {owner.lower() for owner in owners} & distributions]
    assert {"torch", "numpy", "sympy", "mpmath"} <= set(modules)
    uses = {
        "made": lambda found: found + text("open('t2g-made', 'w')") + b"\x85\x81",  # sympify, in sympy's __new__
        "named": lambda found: found,
        "filled": lambda found: found + b")\x81}b",
        "called": lambda found: call(found, text("x")),
    }
    made = Files(tmp_path)
    wanted = {}
    for module in sorted(filter(str.isidentifier, modules)):
        for use, payload in uses.items():
            made.write_zip(f"{module} {use}.pt", before, payload(name(f"{module}.inner", "thing")))
            wanted[f"{module} {use}.pt"] = f"{module}.inner.thing"
    run = torch2grid("check", "--no-plugins", *wanted, "--select", "T304", "-q", cwd=tmp_path, timeout=300)
    assert run.returncode == 1
    lines = run.stdout.splitlines()
    for file, full in wanted.items():
        assert any(line.startswith(f"{file}: T304 error") and full in line for line in lines), file


RUNS = "open('t2g-made', 'w').close()\n"
OF_A_PACKAGE = {  # sources by module, and a pickle that names one of theirs: its name and the source that must be said
    "a class of its own": ({"own": RUNS + "class Net: pass\n"}, name("own", "Net") + b")\x81", "own.py"),
    "a name alone": ({"own": RUNS + "Net = 1\n"}, name("own", "Net"), "own.py"),
    "harmless by name": (
        {"argparse": RUNS + "class Namespace: pass\n"},
        name("argparse", "Namespace") + b")\x81",
        "argparse.py",
    ),
    "what tensors need": (
        {"collections": RUNS + "OrderedDict = dict\n"},
        name("collections", "OrderedDict") + b")R",
        "collections.py",
    ),
    "python 2": ({"builtins": RUNS + "int = 1\n"}, name("__builtin__", "int"), "builtins.py"),
    "renamed": ({"builtins": RUNS + "map = 1\n"}, name("itertools", "imap"), "builtins.py"),
    "a folder above": ({"up": None, "up.own": "class Net: pass\n"}, name("up.own", "Net"), "up/__init__.py"),
    "the folder of the pickle": ({"model": None}, b"N", "model/__init__.py"),
    "of the standard library": ({"pathlib": RUNS + "PosixPath = str\n"}, name("pathlib", "PosixPath"), "pathlib.py"),
}


def package(path: Path, sources: dict[str, str | None], payload: bytes) -> None:
    with torch.package.PackageExporter(path) as exporter:
        for module, source in sources.items():
            exporter.save_source_string(module, source or RUNS, is_package=source is None, dependencies=False)
        exporter.save_binary("model", "model.pkl", b"\x80\x02" + payload + b".")


def test_sources_of_a_package_that_run_as_it_is_loaded(tmp_path: Path) -> None:
    loading = "import sys, torch.package; torch.package.PackageImporter(sys.argv[1]).load_pickle('model', 'model.pkl')"
    files, ran = [], 0
    for label, (sources, payload, _) in OF_A_PACKAGE.items():
        package(tmp_path / f"{label}.pt", sources, payload)
        files.append(f"{label}.pt")
        ran += "t2g-made" in left(loading, tmp_path / files[-1], folder=tmp_path / f"in {label}")
    assert ran >= len(OF_A_PACKAGE) - 2
    for spelled in ("DATA", "Data"):  # PyTorch finds its records whatever capitals they have
        with zipfile.ZipFile(tmp_path / files[0]) as read, zipfile.ZipFile(tmp_path / f"{spelled}.pt", "w") as archive:
            for entry in read.namelist():
                archive.writestr(entry.replace(".data/extern", f".{spelled}/extern"), read.read(entry))
        files.append(f"{spelled}.pt")
    said = said_of(tmp_path, files)
    wanted = [source for _, _, source in OF_A_PACKAGE.values()] + ["own.py"] * 2
    for file, source in zip(files, wanted, strict=True):
        assert f"{source} of the archive" in said[file], (file, said[file])


def test_sources_of_a_package_that_nothing_names_are_named(tmp_path: Path) -> None:
    """What is loaded next may import them: the package that a text lies in is imported for the text."""
    with torch.package.PackageExporter(tmp_path / "plain.pt") as exporter:
        exporter.save_source_string("own", RUNS)
        exporter.save_pickle("model", "model.pkl", {"w": torch.ones(3)})
    run = torch2grid("check", "--no-plugins", "plain.pt", "--select", "T304", cwd=tmp_path)
    assert run.returncode == 1, run.stdout + run.stderr
    assert "own.py of the archive" in run.stdout


MAKES = b"cos\nmkdir\n(X\x08\x00\x00\x00t2g-madetR."
RESOURCES = {  # name of a resource in the package, and bytes that PackageImporter.load_pickle runs
    "protocol 2": ("evil.pkl", b"\x80\x02" + MAKES),
    "protocol 0": ("evil.pkl", MAKES.replace(b"X\x08\x00\x00\x00t2g-made", b"S't2g-made'\n")),
    "without a protocol": ("evil.pkl", MAKES),
    "bytes behind": ("evil.pkl", b"\x80\x02" + MAKES + b"xx"),
    "no ending": ("evil", b"\x80\x02" + MAKES),
    "called source": ("evil.py", b"\x80\x02" + MAKES),
    "never ends": ("evil.txt", MAKES[:-1] + b"\xff"),
    "behind an id": ("evil.bin", b"(X\x0e\x00\x00\x00reduce_packageK\x01cos\nmkdir\n(X\x08\x00\x00\x00t2g-madettQ."),
}


def test_resources_of_a_package_that_are_pickles_of_any_kind(tmp_path: Path) -> None:
    """What ``load_pickle`` would run of a package is named, whatever the resource is called and however it begins."""
    loading = "import sys, torch.package; torch.package.PackageImporter(sys.argv[1]).load_pickle('model', sys.argv[2])"
    files, ran = [], 0
    for label, (resource, payload) in RESOURCES.items():
        file = tmp_path / f"{label}.pt"
        with torch.package.PackageExporter(file) as exporter:
            exporter.save_pickle("model", "good.pkl", {"w": torch.ones(3)})
            exporter.save_binary("model", resource, payload)
            exporter.extern(["os", "posix"])
        kept = records(file)
        with zipfile.ZipFile(file, "w") as archive:
            for each, raw in kept.items():
                archive.writestr(f"m/{each}", raw + (b"os\nposix\n" if each.endswith("extern_modules") else b""))
        files.append(file.name)
        ran += "t2g-made" in left(loading, file, resource, folder=tmp_path / f"in {label}")
    assert ran >= len(RESOURCES) - 1
    for file, found in said_of(tmp_path, files).items():
        assert "os.mkdir" in found, (file, found)


def test_texts_and_bytes_in_a_package_are_no_pickles(tmp_path: Path) -> None:
    """Resources that begin like a pickle by chance do nothing, and are no finding."""
    texts = {
        "a.txt": "config\nvalues\n",
        "b.md": "import os\nprint(os.name)\n",
        "c.csv": "cost\nprice\n(1\n",
        "d.pyi": "class Net:\n    pass\n",
        "e.json": '{"a": 1}',
    }
    with torch.package.PackageExporter(tmp_path / "plain.pt") as exporter:
        exporter.save_pickle("model", "model.pkl", {"w": torch.ones(3)})
        for name_of, content in texts.items():
            exporter.save_text("data", name_of, content)
        exporter.save_binary("data", "f.bin", bytes(range(256)) * 20)
    run = torch2grid("check", "--no-plugins", "plain.pt", "--select", "T304", cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "no finding" in run.stderr
