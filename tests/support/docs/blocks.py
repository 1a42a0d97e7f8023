"""Code blocks of Markdown pages, and how those that say so are run.

- ``python title="NAME.py"`` is a file, written into the page's folder;
- ``python title="Python"`` is run there by the interpreter; a block ``text title="prints"`` behind it is what it prints;
- ``console``: each line that begins with ``$ `` is run there as by bash, and what follows is what it prints.

An ellipsis in what is printed stands for any text, alone on a line for any lines. Exit codes are 0 unless the text shows
another. The folder of a page begins with ``model.pth``, the demo's trained network, ``untrained.pth`` and, in ``examples/``,
the scripts that pages run.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.explore import installed
from tests.support.forked import run as run_forked
from tests.support.tools import DIGITS, PROJECT, torch2grid

DOCS = PROJECT / "docs"
RUN = ("planted_models.py", "exported_models.py")  # examples that pages run
_FENCE = re.compile(r"^( *)(`{3,})([^\n`]*)\n(.*?)^\1\2 *$", flags=re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block. line: of its first fence, from 1."""

    page: Path
    line: int
    info: str
    text: str

    @property
    def language(self) -> str:
        return self.info.split()[0] if self.info.split() else ""

    @property
    def title(self) -> str:
        found = re.search(r'title="([^"]*)"', self.info)
        return found[1] if found else ""

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(PROJECT)}:{self.line}"


def pages() -> list[Path]:
    """Every Markdown page of the documentation."""
    return sorted(DOCS.rglob("*.md"))


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of *page*, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        inner = re.sub(rf"^{match[1]}", "", match[4], flags=re.MULTILINE)
        found.append(Block(page, text.count("\n", 0, match.start()) + 1, match[3].strip(), inner))
    return found


_DATA = ("yaml", "toml", "json", "csv")  # a block with a title is a file that commands read


def runs(block: Block) -> bool:
    """True for a block that says it runs."""
    return block.language == "console" or (block.language == "python" and bool(block.title))


def prepare(folder: Path) -> None:
    """The files that every page finds."""
    shutil.copy(DIGITS, folder / "model.pth")
    shutil.copy(DIGITS.with_name("digits_untrained.pth"), folder / "untrained.pth")
    (folder / "examples").mkdir(exist_ok=True)
    for name in RUN:
        shutil.copy(PROJECT / "examples" / name, folder / "examples")


def run_page(page: Path, folder: Path) -> int:
    """Run what *page* says runs, in order, in *folder*; the number of blocks. Raises ``AssertionError`` with place and text."""
    prepare(folder)
    found = blocks(page)
    done = 0
    for block, after in zip(found, [*found[1:], None], strict=True):
        if not runs(block):
            if block.title and block.language in _DATA:
                (folder / block.title).write_text(block.text, encoding="utf-8")
            continue
        done += 1
        if block.language == "console":
            for command, expected in commands(block):
                _compare(block, command, expected, _run_line(command, folder, block))
        elif block.title.endswith(".py"):
            (folder / block.title).write_text(block.text, encoding="utf-8")
        else:
            printed = _run([sys.executable, "-c", block.text], folder, block)
            if after is not None and after.title == "prints":
                _compare(block, "it", after.text, printed)
    return done


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """(command, what it prints) of a console block."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        yield command, expected


def environment() -> dict[str, str]:
    """Variables with the interpreter's own folder first on the path, and no colours."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", "COLUMNS": "110", "NO_COLOR": "1"}


def _variables(line: str, folder: Path) -> dict[str, str]:
    """The environment of a command; the explorer is installed for its own commands."""
    if not line.startswith("torch2grid explore "):
        return environment()
    site = folder.parent / f"{folder.name}-site"
    return {**environment(), "PYTHONPATH": os.pathsep.join(map(str, installed(site)))}


_SHELL = frozenset("|&;<>()$`*?[]{}~#!\\\n")  # a line without them is words alone, and to the shell a command of ours

_QUOTED = re.compile(r"""'[^']*'|"[^"$`\\]*\"""")  # in quotes they are characters like others

_CODE = '; echo "exit code $?"'
_ANY_CODE = " || true"


# One run of ranks in forty aborts in PyTorch's C++ after the last line of the script, when the interpreter has ended (2.13).
_ABORTED, _TRIES = "terminate called without an active exception", 4

_SCRIPT = re.compile(r"python ([\w/]+\.py)((?: [\w./-]+)*)")


def _run_line(line: str, folder: Path, block: Block) -> str:
    command = line.strip().removesuffix(_CODE).removesuffix(_ANY_CODE)
    if script := _SCRIPT.fullmatch(command):
        return _run([sys.executable, script[1], *script[2].split()], folder, block)
    if not command.startswith("torch2grid ") or not _SHELL.isdisjoint(_QUOTED.sub("", command)):
        return _run(["bash", "-c", line], folder, block)
    done = torch2grid(*shlex.split(command)[1:], cwd=folder, env=_variables(command, folder), timeout=300, merged=True)
    if line.strip().endswith(_CODE):
        return f"{done.stdout}exit code {done.returncode}\n"
    if line.strip().endswith(_ANY_CODE):
        return done.stdout
    return _printed(done, line, block)


def _run(words: list[str], folder: Path, block: Block) -> str:
    variables, done = _variables(words[-1], folder), None
    if words[0] == sys.executable:
        done = run_forked(words, cwd=folder, environment=variables, stdin="", timeout=300, merged=True)
    for _ in range(_TRIES):
        if done is not None and not (done.returncode and _ABORTED in done.stdout):
            break
        done = subprocess.run(
            words, cwd=folder, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=300, check=False,
        )  # fmt: skip
    assert done is not None
    return _printed(done, words[-1], block)


def _printed(done: subprocess.CompletedProcess[str], line: str, block: Block) -> str:
    assert done.returncode == 0, f"{block.where}: {line}\nexits with {done.returncode}:\n{done.stdout}"
    return done.stdout


def _compare(block: Block, command: str, expected: str, printed: str) -> None:
    assert matches(expected, printed), f"{block.where}: {command}\nprints\n{printed}\nthe page says\n{expected}"


def matches(expected: str, printed: str) -> bool:
    """True where *printed* is *expected*, an ellipsis standing for any text."""
    pattern = ""
    for line in expected.rstrip("\n").split("\n"):
        if line.strip() == "…":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += r".*?".join(re.escape(part.rstrip()) for part in line.split("…")) + r"\s*?\n"
    return re.fullmatch(pattern, printed.rstrip("\n") + "\n") is not None
