"""Compares ``torch2grid check`` with picklescan on the test files of scanners: ``make scanners FOLDER=…``.

*FOLDER* holds checkouts of picklescan, modelscan and fickling under these names; nothing is fetched. Their files are never
unpickled: picklescan, which runs from its checkout, reads opcodes, and so does torch2grid.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.scanners.assembled import pickles

PROJECTS = {"picklescan": "tests", "modelscan": "tests", "fickling": "test"}
COMMAND = Path(sys.executable).parent / "torch2grid"
_UNKNOWN = "unknown"  # what picklescan calls a part of a name that it cannot tell
_SCAN = """
import json, logging, sys
sys.path.insert(0, sys.argv[1])
from picklescan.scanner import SafetyLevel, scan_file_path
logging.disable(logging.CRITICAL)
for path in json.load(sys.stdin):
    try:
        found = scan_file_path(path).globals
    except Exception:
        found = []
    names = sorted({f"{each.module}.{each.name}" for each in found if each.safety == SafetyLevel.Dangerous})
    print(json.dumps(names), flush=True)
"""


@dataclass
class Tally:
    """Of the files of one project: how many there are and were reported, and each name that was not said."""

    files: int = 0
    dangerous: int = 0
    names: int = 0
    findings: int = 0
    refused: int = 0
    missed: list[str] = field(default_factory=list)
    clean: list[str] = field(default_factory=list)


def files_of(folder: Path, project: str, scratch: Path) -> Iterator[Path]:
    """The files that its tests read, and the pickles that their source spells, written to *scratch*."""
    for path in sorted((folder / project / PROJECTS[project]).rglob("*")):
        if path.suffix == ".py":
            for index, raw in enumerate(dict.fromkeys(pickles(path))):
                spelled = scratch / f"{project}-{path.stem}-{index:02}.pkl"
                spelled.write_bytes(raw)
                yield spelled
        elif path.is_file():
            yield path


def reported(folder: Path, files: Iterable[Path]) -> list[list[str]]:
    """The names that picklescan calls dangerous in each of *files*."""
    run = subprocess.run(
        [sys.executable, "-c", _SCAN, str(folder / "picklescan" / "src")],
        input=json.dumps([str(path) for path in files]),
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in run.stdout.splitlines()]


def said(files: Iterable[Path]) -> list[tuple[bool, str]]:
    """Of each of *files*: whether ``check`` refuses it, and all that it says."""
    words = ("check", "--no-plugins", "--select", "T304", "--format", "json", "-q")
    run = subprocess.run([str(COMMAND), *words, *map(str, files)], capture_output=True, text=True, check=False)
    models: list[dict[str, Any]] = json.loads(run.stdout)["models"]
    return [
        (bool(model.get("error")), " ".join(each["message"] for each in model["findings"]) + model.get("error", ""))
        for model in models
    ]


def tally(files: list[Path], dangerous: list[list[str]], told: list[tuple[bool, str]]) -> Tally:
    """The comparison of one project's files."""
    found = Tally(len(files))
    for path, names, (refused, line) in zip(files, dangerous, told, strict=True):
        known = [name for name in names if _UNKNOWN not in name.split(".")]
        found.dangerous += bool(names)
        found.names += len(known)
        found.refused += bool(names) and refused
        found.findings += bool(names) and bool(line) and not refused
        found.missed += [f"{path.name}: {name}" for name in known if name not in line]
        found.clean += [path.name] if names and not line else []
    return found


def table(tallies: dict[str, Tally]) -> str:
    """The comparison as a table of Markdown."""
    lines = ["| tests of | files | picklescan reports | findings | refused | names reported | named by `check` |"]
    lines.append("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for project, each in tallies.items():
        named = each.names - len(each.missed)
        counts = (each.files, each.dangerous, each.findings, each.refused, each.names, named)
        lines.append(f"| {project} | " + " | ".join(map(str, counts)) + " |")
    return "\n".join(lines)


def main(folder: Path) -> int:
    """Print the table and whatever was missed; 1 where anything was."""
    tallies: dict[str, Tally] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for project in PROJECTS:
            files = list(files_of(folder, project, Path(scratch)))
            tallies[project] = tally(files, reported(folder, files), said(files))
    print(table(tallies))
    wrong = [line for each in tallies.values() for line in (*each.missed, *(f"{name}: clean" for name in each.clean))]
    print("\n".join(wrong), end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
