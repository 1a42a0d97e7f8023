"""``make mutants``: changes the kernels a little, thousands of times, and counts how often a test notices.

``python -m tests.mutation.run [KERNEL …]`` copies the packages and the kernel's tests to ``build/mutation/KERNEL`` in the
form that mutmut expects (one ``src``), runs mutmut there, prints every survivor, and writes the kernel's line in docs/tests.md.
Exit code 1 where less than ``LEAST`` of a kernel's mutants were killed, or a run broke off.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from mutmut.stats import status_by_exit_code

PROJECT = Path(__file__).resolve().parents[2]
BUILD = PROJECT / "build" / "mutation"
PAGE = PROJECT / "docs" / "tests.md"
LEAST = 0.9
SOURCES = ("src/torch2grid", "torch2grid_core/src/torch2grid_core", "torch2grid_builtin/src/torch2grid_builtin")
# The text of an error is not mutated: whether it is raised is. (A pattern takes the expressions that begin on its line.)
UNTOUCHED = (r"^\s*raise [A-Z]\w+\(",)
# Every mutant is a run of pytest of its own: what these look for (garbage, above all) takes longer than most tests.
WITHOUT = tuple(f"no:{name}" for name in ("unraisableexception", "threadexception", "faulthandler", "cacheprovider", "xdist"))


@dataclass(frozen=True)
class Kernel:
    """files: by their path in the packages; tests: the files that speak of them, less those deselected.

    deselected: tests of speed, memory or other processes, which say nothing under a mutant or take seconds each.
    """

    name: str
    files: tuple[str, ...]
    tests: tuple[str, ...]
    deselected: tuple[str, ...] = ()


READER_TESTS = (
    *("opcodes", "machine", "machine_limits", "stream", "computed", "storages"),
    *("walk", "rebuild", "rebuild_rare", "legacy", "tar", "nested", "torch_made", "torch_rare"),
)
KERNELS = (
    Kernel(
        "raster",
        tuple(f"torch2grid_core/_pictures/{name}.py" for name in ("raster", "reductions", "cells", "axes", "layouts")),
        tuple(f"tests/raster/test_{name}.py" for name in ("raster", "blocks", "axes", "ready_layouts", "reduced_grids")),
        (
            "tests/raster/test_raster.py::test_ten_million_weights_in_one_cell_are_added_accurately",
            "tests/raster/test_raster.py::test_memory_follows_the_cells_of_the_tensor",
        ),
    ),
    Kernel(
        "distribution",
        tuple(f"torch2grid_core/_summary/{name}.py" for name in ("distribution", "moments", "buckets")),
        tuple(
            f"tests/summary/test_{name}.py" for name in ("distribution", "merging", "distribution_state", "moments", "buckets")
        ),
        ("tests/summary/test_distribution.py::test_one_outlier_among_millions",),
    ),
    Kernel(
        "reader",
        tuple(
            f"torch2grid_builtin/_inert/{name}.py"
            for name in ("machine", "opcodes", "stream", "walk", "storages", "legacy", "torch_values")
        ),
        tuple(f"tests/loaders/test_{name}.py" for name in READER_TESTS),
        (
            "tests/loaders/test_torch_made.py::test_a_random_checkpoint_reads_back_equal",
            "tests/loaders/test_torch_made.py::test_a_training_checkpoint_has_parts",
        ),
    ),
)

SETTINGS = """
[tool.pytest.ini_options]
testpaths = ["tests"]
pythonpath = ["."]
addopts = ["--strict-markers", "--import-mode=importlib"]
xfail_strict = true
filterwarnings = ["error", "ignore:.*fork:DeprecationWarning"]

[tool.mutmut]
source_paths = ["src"]
only_mutate = {files}
do_not_mutate_patterns = {untouched}
pytest_add_cli_args_test_selection = {tests}
pytest_add_cli_args = {arguments}
timeout_constant = 4.0
timeout_multiplier = 3.0
use_git_change_detection = false
track_dependencies = false
"""


def stage(kernel: Kernel) -> Path:
    """The folder of *kernel* with the packages under one ``src``, the tests, and mutmut's settings."""
    folder = BUILD / kernel.name
    shutil.rmtree(folder, ignore_errors=True)
    ignore = shutil.ignore_patterns("__pycache__")
    for source in SOURCES:
        shutil.copytree(PROJECT / source, folder / "src" / Path(source).name, ignore=ignore)
    shutil.copytree(PROJECT / "tests", folder / "tests", ignore=ignore)
    arguments = [word for plugin in ("tests.mutation.quick", *WITHOUT) for word in ("-p", plugin)]
    for test in kernel.deselected:
        file, _, name = test.partition("::")
        if f"\ndef {name}(" not in (PROJECT / file).read_text(encoding="utf-8"):
            raise ValueError(f"{test} is deselected, but is not there")
        arguments += ["--deselect", test]
    settings = SETTINGS.format(
        files=json.dumps([f"src/{file}" for file in kernel.files]),
        untouched=json.dumps(list(UNTOUCHED)),
        tests=json.dumps(list(kernel.tests)),
        arguments=json.dumps(arguments),
    )
    (folder / "pyproject.toml").write_text(settings, encoding="utf-8")
    return folder


def mutate(folder: Path) -> None:
    """Run mutmut in *folder*. Raises ``SystemExit`` where it could not."""
    command = [str(Path(sys.executable).parent / "mutmut"), "run", "--max-children", str(min(os.cpu_count() or 1, 2))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    environment["TORCH2GRID_CORPUS"] = str(folder / "no corpus")  # the same tests wherever it runs
    environment["TMPDIR"] = str(folder / "tmp")  # mutants that are stopped leave what they unpacked
    (folder / "tmp").mkdir()
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    output = done.stdout.decode("utf-8", "replace").replace("\r", "\n")
    (folder / "mutmut.log").write_text(output, encoding="utf-8")
    if done.returncode:
        raise SystemExit(f"mutmut broke off in {folder}:\n" + "\n".join(output.splitlines()[-40:]))


def verdicts(folder: Path, kernel: Kernel) -> dict[str, str]:
    """mutant → killed, timeout or survived. Raises ``SystemExit`` where one was not checked."""
    found = {}
    for file in kernel.files:
        codes = json.loads((folder / "mutants" / "src" / f"{file}.meta").read_text(encoding="utf-8"))["exit_code_by_key"]
        for name, code in codes.items():
            status = status_by_exit_code[code]
            if status in ("not checked", "check was interrupted by user"):
                raise SystemExit(f"{name} was not checked")
            # A mutant that no test reaches survives; one that ends the process of its tests does not.
            found[name] = {"survived": "survived", "no tests": "survived", "timeout": "timeout"}.get(status, "killed")
    return found


def share(found: dict[str, str]) -> float:
    """The share of mutants that were killed or timed out."""
    return sum(status != "survived" for status in found.values()) / len(found)


def row(kernel: Kernel, found: dict[str, str]) -> str:
    """The kernel's line of the table in docs/tests.md."""
    counts = Counter(found.values())
    files = ", ".join(f"`{Path(file).name}`" for file in kernel.files)
    folder = str(Path(kernel.files[0]).parent).replace("/", ".")
    numbers = f"{len(found):,} | {counts['killed']:,} | {counts['timeout']:,} | {counts['survived']:,} | {share(found):.1%}"
    ran = f"{datetime.date.today().isoformat()}, mutmut {version('mutmut')}, Python {platform.python_version()}"
    return f"| {kernel.name} | `{folder}`: {files} | {numbers} | {ran} |"


def write_row(kernel: Kernel, line: str) -> None:
    """Put *line* in the place of the kernel's line in docs/tests.md."""
    page = PAGE.read_text(encoding="utf-8")
    changed, times = re.subn(rf"^\| {kernel.name} \| `.*\|$", lambda _: line, page, flags=re.MULTILINE)
    if times != 1:
        raise SystemExit(f"{PAGE} has {times} lines for {kernel.name}, not one")
    PAGE.write_text(changed, encoding="utf-8")


def main(names: Sequence[str]) -> int:
    """Run the kernels *names*, or all of them."""
    unknown = set(names) - {kernel.name for kernel in KERNELS}
    if unknown:
        raise SystemExit(f"no kernel {', '.join(sorted(unknown))}; there are {', '.join(kernel.name for kernel in KERNELS)}")
    shares = []
    for kernel in KERNELS:
        if names and kernel.name not in names:
            continue
        began = time.monotonic()
        folder = stage(kernel)
        mutate(folder)
        found = verdicts(folder, kernel)
        shares.append(share(found))
        write_row(kernel, row(kernel, found))
        for name, status in found.items():
            if status == "survived":
                print(f"survived: {name}")
        print(f"{row(kernel, found)} {(time.monotonic() - began) / 60:.1f} minutes", flush=True)
    print(f"What a survivor changed: cd {BUILD}/KERNEL && mutmut show NAME")
    return int(min(shares) < LEAST)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
