"""The reference is whole: every option of every command, every public name. And what the site is built of fits together."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from tests.support.core.signatures import public_modules
from tests.support.docs.blocks import DOCS, blocks, pages
from tests.support.tools import PROJECT, torch2grid as torch2grid_command

import torch2grid
from torch2grid_core import PluginManager

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # a dependency of pytest there

MANAGER = PluginManager.discover(third_party=False)
GENERATED = {"reference/command-line.md"}


def tool(path: Path) -> ModuleType:
    """A script of the documentation as a module."""
    spec = importlib.util.spec_from_file_location(f"docs_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


API = tool(DOCS / "_tools" / "api_reference.py")
REFERENCE = tool(DOCS / "_tools" / "command_reference.py")
COMMANDS = [name for name, _, _ in REFERENCE.commands(MANAGER)]


def sections(text: str) -> dict[str, str]:
    """The page by its second-level headings, the drawing command as ``draw``."""
    parts = re.split(r"^## torch2grid (\S+).*$", text, flags=re.MULTILINE)
    return {"draw" if name == "MODEL…" else name: body for name, body in zip(parts[1::2], parts[2::2], strict=True)}


FLAG = re.compile(r"(?<![\w-])--?[a-z][\w-]*")


def printed(name: str, folder: Path) -> list[str]:
    """The options that the help of a command begins its lines with."""
    words = ("--help-all",) if name == "draw" else (name, "--help")
    lines = torch2grid_command(*words, "--no-plugins", cwd=folder).stdout.splitlines()
    firsts = [re.split(r" {2,}", line[2:])[0] for line in lines if line.startswith("  -")]
    return [flag for each in firsts for flag in FLAG.findall(re.sub(r" [A-Z\[<].*", "", each))]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_every_command_is_in_the_reference(name: str, tmp_path: Path) -> None:
    found = sections(REFERENCE.reference(MANAGER))
    assert list(found) == COMMANDS
    text = found["draw"] if REFERENCE.SAME in found[name] else found[name]
    ((command, context),) = [(each, context) for own, each, context in REFERENCE.commands(MANAGER) if own == name]
    options = list(REFERENCE.options_of(command, context))
    assert options
    listed = {flag for cell in re.findall(r"<code>([^<]*)</code>", text) for flag in FLAG.findall(cell)}
    for option in options:
        assert listed >= set(option.opts), option
        assert option.help
    if REFERENCE.SAME not in found[name]:
        assert listed == set(printed(name, tmp_path)), "the reference lists what the help does"


def test_the_help_of_the_program_names_no_other_option(tmp_path: Path) -> None:
    text = REFERENCE.reference(MANAGER)
    for flag in set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", torch2grid_command("--help", "--no-plugins", cwd=tmp_path).stdout)):
        assert flag in text


def test_the_reference_is_that_of_the_code() -> None:
    pages = API.pages()
    assert {path.name for path in pages} == {"api.md", "hooks.md", "checks.md", "command-line.md"}
    for path, text in pages.items():
        assert path.read_text(encoding="utf-8").splitlines() == text.splitlines(), "write it again with 'make reference'"


def test_every_public_name_is_in_the_reference() -> None:
    text = (DOCS / "reference" / "api.md").read_text(encoding="utf-8")
    found = re.findall(r'^<a id="([\w.]+)"></a>\n\n#', text, flags=re.MULTILINE)
    assert len(set(found)) == len(found)
    modules = public_modules()
    names = {f"{module}.{name}" for module in modules for name in importlib.import_module(module).__all__}
    assert {each for each in found if each.startswith("torch2grid_core")} == names | set(modules)
    own = {f"torch2grid.{name}" for name in torch2grid.__all__ if torch2grid._HOMES[name].startswith("torch2grid._")}
    assert {each for each in found if re.fullmatch(r"torch2grid\.\w+", each)} == own


def test_the_reference_shows_signatures_members_and_sections() -> None:
    text = (DOCS / "reference" / "api.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r'<a id="([\w.]+)"></a>\n\n(.*?)(?=\n<a id=|\Z)', text, flags=re.DOTALL))
    measure = sections["torch2grid_core.measure"]
    assert "    executor: Executor | None = None,\n" in measure
    assert "\n**Args**\n\n- `checkpoint`: what to measure." in measure
    assert "\n**Raises**\n\n- `LoadError`: bytes cannot be read.\n" in measure
    assert (
        "- `groups(checkpoint: Checkpoint) -> Mapping[Hashable, tuple[str, ...]]`  \n    Which"
        in sections["torch2grid_core.Need"]
    )
    assert "Bases: `Need[Distribution]`" in sections["torch2grid_core.measures.Summary"]
    assert "metadata: Mapping[str, Any] | None = None," in sections["torch2grid_core.Checkpoint"]
    for name, section in sections.items():
        assert " at 0x" not in section, name
        assert "<factory>" not in section, name
        assert not re.search(r"torch2grid_core\._|typing\.|collections\.abc", section), name
    plain = API._prose(
        "One <b> of __init__.\n\nArgs:\n    a: first\n        goes on\n    **more: rest\n\nReturns:\n    What ``<x>`` is."
    )
    assert plain == (
        "One &lt;b> of \\_\\_init\\_\\_.\n\n\n**Args**\n\n- `a`: first\n    goes on\n- `**more`: rest\n\n\n"
        "**Returns**\n\n- What ``<x>`` is."
    )


def links(text: str) -> list[str]:
    """The targets of a page's links and pictures, code left out."""
    text = re.sub(r"^( *)(`{3,})[^\n]*\n.*?^\1\2 *$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", text))


def texts() -> list[Path]:
    """Every Markdown file of the repository."""
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    return [PROJECT / name for name in listed.splitlines()]


@pytest.mark.parametrize("page", texts(), ids=lambda page: page.relative_to(PROJECT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page.read_text(encoding="utf-8")):
        if link.startswith(("https://", "http://")):
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        known = path.relative_to(DOCS).as_posix() if path.is_relative_to(DOCS) else ""
        assert path.exists() or known in GENERATED, f"{page}: {link}"
        if anchor and path.suffix == ".md" and path.exists():
            text = path.read_text(encoding="utf-8")
            headings = {re.sub(r"[^\w\- ]", "", each).strip().lower().replace(" ", "-") for each in headed(text)}
            named = f'<a id="{anchor}"></a>' in text or f"#{anchor} }}" in text
            assert anchor in headings or named, f"{page}: {link}"


def headed(text: str) -> list[str]:
    return re.findall(r"^#+ (.+?)(?: \{.*\})?$", text, flags=re.MULTILINE)


def test_every_page_is_in_the_navigation() -> None:
    text = (PROJECT / "mkdocs.yml").read_text(encoding="utf-8")
    nav = yaml.safe_load(text)["nav"]

    def named(entry: object) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        return [each for part in (entry.values() if isinstance(entry, dict) else entry) for each in named(part)]  # type: ignore[attr-defined]

    assert sorted(named(nav)) == sorted({*(page.relative_to(DOCS).as_posix() for page in pages()), *GENERATED})


def test_the_package_on_the_page_is_one_that_torch2grid_finds() -> None:
    (block,) = [each for each in blocks(DOCS / "plugins" / "index.md") if each.language == "toml"]
    project = tomllib.loads(block.text)["project"]
    template = tomllib.loads((PROJECT / "examples/plugin_template/pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"].keys() == template["entry-points"].keys() == {"torch2grid"}
    assert set(template["dependencies"]) >= set(project["dependencies"])


def test_the_gallery_shows_what_its_commands_draw() -> None:
    gallery = tool_beside(DOCS / "draw_gallery.py")
    text = (DOCS / "gallery.md").read_text(encoding="utf-8")
    shown = gallery.shown(text)
    assert len(shown) == len(gallery.commands(text)) > 8
    here = {path.relative_to(DOCS / gallery.TARGET).as_posix() for path in (DOCS / gallery.TARGET).rglob("*") if path.is_file()}
    assert here == set(shown)


@pytest.mark.parametrize("page", ["reading", "questions"])
def test_a_page_shows_every_picture_that_is_drawn_for_it(page: str) -> None:
    gallery = tool_beside(DOCS / "draw_gallery.py")
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    drawn = set(gallery.READING) if page == "reading" else {*gallery.QUESTIONS, "three.png"}
    here = {path.name for path in (DOCS / "pictures" / page).iterdir()}
    assert set(re.findall(rf"\]\(pictures/{page}/([^)]+)\)", text)) == here == drawn


def test_reading_explains_every_view_that_draws() -> None:
    text = (DOCS / "reading.md").read_text(encoding="utf-8")
    drawing = set(MANAGER.names("view")) - {"stats", "values", "grid"}  # tables, and what is drawn without a flag
    assert {name for name in drawing if f"--{name}`" not in text and f" --{name.replace('_', '-')}`" not in text} == set()


def test_the_report_links_to_the_page_that_reads_pictures() -> None:
    from torch2grid_builtin._renderers.html.renderer import READING

    project = tomllib.loads((PROJECT / "torch2grid_builtin" / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"{project['urls']['Documentation']}/reading.md" == READING
    assert (DOCS / "reading.md").is_file()


def tool_beside(path: Path) -> ModuleType:
    """A script that imports its neighbours, as a module."""
    sys.path.insert(0, str(path.parent))
    try:
        return tool(path)
    finally:
        sys.path.remove(str(path.parent))


def test_a_fetch_from_another_host_is_found() -> None:
    foreign = tool(DOCS / "_tools" / "check_site.py").foreign
    assert foreign('<script src="https://cdn.test/a.js"></script>', "html") == ["<script> https://cdn.test/a.js"]
    assert foreign('<link rel="stylesheet" href="//fonts.test/a.css">', "html") == ["<link> //fonts.test/a.css"]
    assert foreign('<img src="http://pixel.test/1.gif"><style>a{background:url(https://x.test/i.png)}</style>', "html") == [
        "https://x.test/i.png",
        "<img> http://pixel.test/1.gif",
    ]
    assert (
        foreign(
            '<a href="https://elsewhere.test">a link</a><img src="a.png"><link rel="canonical" href="https://a.test">', "html"
        )
        == []
    )
    assert foreign("@import 'https://fonts.test/a.css'; a{b:url(x.png)}", "css") == ["https://fonts.test/a.css"]


def test_a_link_that_leads_nowhere_on_the_site_is_found(tmp_path: Path) -> None:
    broken = tool(DOCS / "_tools" / "check_site.py").broken
    (tmp_path / "a").mkdir()
    (tmp_path / "index.html").write_text(
        '<h1 id="top">x</h1><a href="a/b.html#here">b</a><a href="#top">top</a><a href="a/">a</a>'
    )
    (tmp_path / "a" / "index.html").write_text('<a href="https://elsewhere.test/x">x</a><img src="../picture.png">')
    (tmp_path / "a" / "b.html").write_text('<a id="here"></a><a href="../index.html#gone">x</a><a href="c.html">c</a>')
    (tmp_path.parent / "outside.html").write_text("")
    (tmp_path / "z.html").write_text('<a href="../outside.html">x</a>')
    assert [line.partition(": links to ")[2] for line in broken(tmp_path)] == [
        "../index.html#gone, and that page has no such place",
        "c.html, which is not there",
        "../picture.png, which is not there",
        "../outside.html, which is not there",
    ]


def test_the_guides_for_authors_of_plugins_are_read_in_half_an_hour() -> None:
    """At 250 words a minute, without code and tables of output."""
    prose = [
        re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL) for page in (DOCS / "plugins").glob("*.md")
    ]
    assert len(prose) > 10
    assert sum(len(each.split()) for each in prose) < 7000
