"""``torch2grid new-plugin NAME``: a project to start a plugin from, its tests passing as they are."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Collection
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

import click

from torch2grid_core import Command, PluginManager, Torch2GridError, UsageError

# Kind → the hook that brings it, and what the template calls its thing; each kind has a file of its name.
HOOKS = {
    "loader": ("torch2grid_loaders", "raw_floats"),
    "filter": ("torch2grid_filters", "dimensions"),
    "transformer": ("torch2grid_transformers", "sorted_units"),
    "view": ("torch2grid_views", "spread"),
    "renderer": ("torch2grid_renderers", "tsv"),
    "rule": ("torch2grid_rules", "large_weights"),
    "command": ("torch2grid_commands", "count"),
}
_PREFIX = "torch2grid-"
_BLOCKS = "\n\n\n"  # what stands between the functions of a formatted module
_CODE = "X101"  # of the template's rule


class NewPlugin(Command):
    """write a project to start a plugin from, with tests that pass"""

    name: ClassVar[str] = "new-plugin"

    def build(self) -> click.Command:
        def run(manager: PluginManager, /, name: str, kinds: tuple[str, ...], output: str) -> None:
            folder = new_plugin(manager, name, kinds or tuple(HOOKS), output)
            click.echo(folder)
            click.echo(f"next: pip install -e '{folder}[test]', then pytest {folder}", err=True)

        return click.Command(
            self.name,
            callback=click.pass_obj(run),
            params=[
                click.Argument(["name"]),
                click.Option(
                    ["--kind", "kinds"],
                    multiple=True,
                    type=click.Choice(list(HOOKS)),
                    help="bring only this kind (repeatable); else all of these",
                ),
                click.Option(
                    ["-o", "--output"], default=".", show_default=True, metavar="DIR", help="the folder to put the project in"
                ),
            ],
            help="Write a project torch2grid-NAME: a plugin whose things are called NAME, with a README, a script for CI and "
            "tests that pass. Prints the project's folder.",
            context_settings={"help_option_names": ["-h", "--help"]},
        )


def new_plugin(manager: PluginManager, name: str, kinds: Collection[str], output: str) -> Path:
    """Write the project *name* with *kinds* below *output*; its folder, which must not exist.

    Raises ``UsageError`` for a name that no distribution can have or that something installed has, ``Torch2GridError`` where
    the files cannot be written.
    """
    short = re.sub(r"[-_.\s]+", "-", name.strip().lower()).strip("-").removeprefix(_PREFIX)
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", short) or len(short) > 60:
        raise UsageError(f"{name!r}: a name has letters, digits and hyphens, and begins with a letter")
    thing = short.replace("-", "_")
    for kind in HOOKS:
        taken = manager.names(kind).get(thing) or manager.names(kind).get(short)
        if kind in kinds and taken is not None:
            raise UsageError(f"{taken.record.owner} brings a {kind} {taken.name!r} already; choose another name")
    if "command" in kinds and thing in ("plugins", "config", "completion", "draw"):
        raise UsageError(f"{thing!r} is a command of torch2grid; choose another name")
    folder = Path(output) / f"{_PREFIX}{short}"
    try:
        folder.mkdir(parents=True)
        for path, text in project(short, kinds).items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
            if target.suffix == ".sh":
                target.chmod(0o755)
    except FileExistsError as error:
        raise UsageError(f"{folder} exists; remove it, or choose another name or --output") from error
    except OSError as error:
        raise Torch2GridError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return folder


def project(short: str, kinds: Collection[str]) -> dict[str, str]:
    """The files of the project ``torch2grid-<short>`` with *kinds*: relative path → text."""
    packed = files("torch2grid_builtin") / "data" / "plugin_template.json"
    template: dict[str, list[str]] = json.loads(packed.read_text(encoding="utf-8"))
    package = f"torch2grid_{short.replace('-', '_')}"
    absent = [kind for kind in HOOKS if kind not in kinds]
    written = {}
    for path, lines in template.items():
        if any(path.endswith(f"/{kind}.py") for kind in absent):
            continue
        text = _renamed(_without("\n".join(lines) + "\n", path, absent), short)
        written[path.replace("torch2grid_myplugin", package)] = text
    return written


def _without(text: str, path: str, absent: Collection[str]) -> str:
    """A file of the template as it is without some kinds."""
    if path.endswith("plugin.py"):
        hooks = {f"def {HOOKS[kind][0]}()" for kind in absent}
        blocks = [block for block in text.rstrip("\n").split(_BLOCKS) if not any(hook in block for hook in hooks)]
        return _BLOCKS.join(blocks) + "\n"
    if path == "README.md":
        lines = [line for line in text.splitlines() if not any(line.startswith(f"| `{kind}.py`") for kind in absent)]
        text = "\n".join(lines) + "\n"
        return (
            text.replace(
                "a small loader, filter, transformer, view, renderer, rule and command, all of them working",
                "small and working",
            )
            if absent
            else text
        )
    if path == "pyproject.toml" and "command" in absent:
        return text.replace('  "click>=8.1",\n', "")
    if path.startswith("tests/") and "loader" in absent:
        blocks = [block for block in text.rstrip("\n").split(_BLOCKS) if not block.startswith("def write_files")]
        text = _BLOCKS.join(blocks) + "\n"
        for gone in ("from pathlib import Path\n\n", "import numpy as np\n\n", ", files=write_files"):
            text = text.replace(gone, "")
    return text


def _renamed(text: str, short: str) -> str:
    """The template's names replaced: of the distribution, the package, and what they bring."""
    thing = short.replace("-", "_")
    text = text.replace("torch2grid-myplugin", f"{_PREFIX}{short}").replace("torch2grid_myplugin", f"torch2grid_{thing}")
    text = re.sub(r"\bmyplugin\b", short, text)
    for _, name in HOOKS.values():
        text = re.sub(rf'"{name}"', f'"{thing}"', text)
        # in the README and the docstrings, where a user types it
        text = re.sub(rf"(--(?:filter|plugin|view|format|rule) |torch2grid ){name}\b", rf"\g<1>{thing}", text)
    text = text.replace('formats = ("tsv",)', f'formats = ("{thing}",)').replace('formats=("tsv",)', f'formats=("{thing}",)')
    return text.replace(_CODE, f"X{100 + zlib.crc32(short.encode()) % 900}")
