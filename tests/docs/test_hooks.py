"""Every hook has a page with its signature, an example that conforms, and a test here that uses the example by the manager."""

from __future__ import annotations

import importlib.util
import inspect
import io
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import numpy as np
import pytest
from tests.support.docs.blocks import DOCS, blocks, prepare

from torch2grid_core import Finding, Grid, Page, PluginManager, Settings, Style, UsageError, check, hookimpl, measure
from torch2grid_core._hookspecs import Hooks
from torch2grid_core._kinds import KINDS
from torch2grid_core._plugins.added import added
from torch2grid_core.measures import Summary, executor_of, workers
from torch2grid_core.pages import Output, Text
from torch2grid_core.sources import LocalSource
from torch2grid_core.testing import bound_checks

HOOKS = {name: spec for name, spec in vars(Hooks).items() if name.startswith("torch2grid_")}
PAGE_OF = {kind.hook: name for name, kind in KINDS.items()}


def page_of(hook: str) -> Path:
    name = hook.removeprefix("torch2grid_")
    return DOCS / "plugins" / f"{'listeners' if name == 'written' else name}.md"  # what the event goes for


def examples(hook: str, folder: Path) -> list[Path]:
    """The files that the hook's page shows, written to *folder*."""
    written = []
    for block in blocks(page_of(hook)):
        if block.language == "python" and block.title.endswith(".py"):
            path = folder / block.title
            path.write_text(block.text, encoding="utf-8")
            written.append(path)
    return written


def imported(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_example_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PluginManager:
    """The built-ins and the examples of the page of the hook that the test is named after."""
    monkeypatch.syspath_prepend(str(tmp_path))  # one example imports another, as the page does with PYTHONPATH
    hook = request.node.originalname.removeprefix("test_hook_")
    prepare(tmp_path)
    files = [path for path in examples(hook, tmp_path) if not path.name.startswith("write_")]
    return PluginManager.discover(third_party=False, files=map(str, files))


@pytest.mark.parametrize("hook", HOOKS)
def test_each_hook_has_its_page_signature_example_and_test(hook: str) -> None:
    page = page_of(hook)
    text = page.read_text(encoding="utf-8")
    wanted = [name for name in inspect.signature(HOOKS[hook]).parameters if name != "self"]
    assert f"`{hook}({', '.join(wanted)})`" in text
    assert any(block.title.endswith(".py") for block in blocks(page))
    assert any(block.language == "console" for block in blocks(page))
    assert f"test_hook_{hook}" in globals()
    index = (DOCS / "plugins" / "index.md").read_text(encoding="utf-8")
    assert (f"`{hook}({', '.join(wanted)})`" in index) is (hook != "torch2grid_written")  # which nobody should begin with
    assert inspect.getdoc(HOOKS[hook])


@pytest.mark.parametrize("hook", [hook for hook in HOOKS if hook in PAGE_OF])
def test_the_examples_pass_the_conformance_kit(hook: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    written = examples(hook, tmp_path)
    files = {path.name: imported(path).write for path in written if path.name.startswith("write_")}
    for path in written:
        if path.name not in files:
            bound = bound_checks(importlib.import_module(path.stem), files.get(f"write_{path.name}"))
            beside = {"view"} if hook == "torch2grid_settings" else set()  # settings are for something that reads them
            assert {each.subject.kind for each in bound} == {PAGE_OF[hook], *beside}
            for each in bound:
                each()
            monkeypatch.delitem(sys.modules, path.stem)


def test_hook_torch2grid_sources(manager: PluginManager, tmp_path: Path) -> None:
    raw = (tmp_path / "model.pth").read_bytes()
    for number, start in enumerate(range(0, len(raw), 9000)):
        (tmp_path / f"cut.{number:02d}").write_bytes(raw[start : start + 9000])
    whole, found = manager.open(tmp_path / "model.pth"), manager.open(f"pieces://{tmp_path / 'cut'}")
    assert list(found) == list(whole)
    np.testing.assert_array_equal(found["fc1.weight"].numpy(), whole["fc1.weight"].numpy())


def test_hook_torch2grid_loaders(manager: PluginManager, tmp_path: Path) -> None:
    (path,) = imported(tmp_path / "write_boxed.py").write(tmp_path)
    checkpoint = manager.open(path)
    expected = np.random.default_rng(0).normal(size=(20, 10)).astype(np.float32)
    assert checkpoint.format == "boxed"
    np.testing.assert_array_equal(checkpoint["fc.weight"].numpy(), expected)
    assert manager.create("loader", "boxed").sniff(LocalSource(tmp_path / "model.pth")) == 0


def test_a_loader_of_live_objects(tmp_path: Path) -> None:
    examples("torch2grid_loaders", tmp_path)
    manager = PluginManager.discover(third_party=False, files=[str(tmp_path / "pairs.py")])
    checkpoint = manager.open([("a", [[1, 2], [3, 4]]), ("b", [5])])
    np.testing.assert_array_equal(checkpoint["a"].numpy(), [[1, 2], [3, 4]])
    with pytest.raises(UsageError, match="not list"):
        manager.open([1, 2])


def test_hook_torch2grid_decoders(manager: PluginManager, tmp_path: Path) -> None:
    (path,) = imported(tmp_path / "write_row_scales.py").write(tmp_path)
    raw = manager.open(path, raw=True)
    (weights,) = manager.open(tmp_path / "packed.npz").values()
    codes, scale = raw["fc.weight.codes"].numpy(), raw["fc.weight.scale"].numpy()
    np.testing.assert_array_equal(weights.numpy(), codes * scale[:, None])
    assert (weights.name, weights.note) == ("fc.weight", "int8 × scale, of fc.weight.codes, fc.weight.scale")
    assert list(manager.open(tmp_path / "packed.npz", raw=True)) == list(raw)


def test_hook_torch2grid_executors(manager: PluginManager, tmp_path: Path) -> None:
    checkpoint, needs = manager.open(tmp_path / "model.pth"), {"all": Summary()}
    with workers(checkpoint, opener=executor_of(manager, "threads")) as executor:
        found = [(name, each["all"].mean) for name, each in measure(checkpoint, needs, executor=executor)]
    assert found == [(name, each["all"].mean) for name, each in measure(checkpoint, needs)]


def test_hook_torch2grid_filters(manager: PluginManager, tmp_path: Path) -> None:
    checkpoint = manager.open(tmp_path / "model.pth")
    assert list(manager.create("filter", "dimensions").apply(checkpoint)) == ["fc1.weight", "fc2.weight"]
    assert list(manager.create("filter", {"dimensions": "4"}).apply(checkpoint)) == ["conv1.weight", "conv2.weight"]


def test_hook_torch2grid_settings(manager: PluginManager) -> None:
    ruler = next(each for each in added(manager, "settings") if each.name == "ruler_per")
    assert (ruler.default, ruler.parse("64"), ruler.group) == (1, 64, "Options of ruler")
    settings = Settings.of([(ruler, 64)])
    (made,) = settings.plugins
    assert (made.per, made.unit) == (64, "weights")
    assert settings.options(type(made)) is made
    assert Settings().options(type(made)).per == 1


def test_hook_torch2grid_transformers(manager: PluginManager) -> None:
    arrays = {"a": np.array([[1, -4]], np.float32), "b": np.array([2], np.float32), "c": np.array([np.nan], np.float32)}
    bars = manager.create("transformer", "bars:width=8")(arrays)
    np.testing.assert_array_equal(bars, [[4] * 8, [2] * 4 + [0] * 4, [np.nan] + [0] * 7])
    grid = manager.create("transformer", "shelves")({name: arrays[name] for name in "ab"})
    assert isinstance(grid, Grid)
    np.testing.assert_array_equal(grid.values, [[1, -4], [2, 0]])
    assert [region.name for region in grid.regions] == ["a", "b"]


def drawn(manager: PluginManager, folder: Path, view: str, format: str = "json") -> dict[str, Any]:
    """The pages that *view* draws of the model, by name, as JSON has them."""
    from torch2grid_core import draw

    run, pages = Settings(), []
    with Output(manager, folder / "out", run, formats=[format], say=lambda line: None) as output:
        view_instance = manager.create("view", view)
        for page, *_ in draw(manager.open(folder / "model.pth"), [view_instance], run):
            pages.append(page)
            output.add(page, view_instance)
    read = [json.loads(path.read_text(encoding="utf-8")) for path in output.written] if format == "json" else []
    return {f"{page['folder']}/{page['name']}": page for page in read}


def test_hook_torch2grid_views(manager: PluginManager, tmp_path: Path) -> None:
    pages = drawn(manager, tmp_path, "unit_norms")
    weights = manager.open(tmp_path / "model.pth")["fc2.weight"].numpy()
    (line,) = pages["unit_norms/fc2.weight"]["panels"]
    np.testing.assert_allclose(line["y"]["norm"], np.sort(np.linalg.norm(weights, axis=1))[::-1], rtol=1e-6)
    (bar,) = pages["/unit_norms"]["panels"]
    index = bar["labels"].index("fc2.weight")
    assert bar["values"][index] == pytest.approx(float(np.sqrt(np.mean(np.square(weights, dtype=np.float64)))))


def test_hook_torch2grid_renderers(manager: PluginManager) -> None:
    renderer = manager.renderer_for("md").create()
    stream = io.BytesIO()
    renderer.render(Page("p", "A|<b>", (Text("one\ntwo"),)), stream, Style(), "md")
    assert stream.getvalue().decode() == "# A\\|&lt;b>\n\n| text |\n| --- |\n| one |\n| two |\n"


def test_hook_torch2grid_rules(manager: PluginManager, tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", near=np.random.default_rng(0).normal(size=(9, 9)), far=9 + np.eye(9))
    found = check(manager.open(tmp_path / "m.npz"), [manager.create("rule", "off_centre")])
    assert [(each.code, each.severity, each.tensor) for each in found] == [("X101", "warning", "far")]
    assert check(manager.open(tmp_path / "m.npz"), [manager.create("rule", "off_centre:limit=99")]) == []
    assert Finding("text").tensor == ""


def test_hook_torch2grid_commands(manager: PluginManager, tmp_path: Path) -> None:
    from click.testing import CliRunner

    command = manager.create("command", "count").build()
    assert isinstance(command, click.Command)
    done = CliRunner().invoke(command, [str(tmp_path / "model.pth"), "--depth", "2"], obj=manager)
    assert done.output.splitlines()[:2] == ["conv1.weight: 144", "conv1.bias: 16"]


def test_hook_torch2grid_written(manager: PluginManager, tmp_path: Path) -> None:
    heard = []

    class Logger:
        @hookimpl
        def torch2grid_written(self, page: Page, path: Path, run: Settings) -> None:
            heard.append((page.name, path, run.reduce))

    assert not manager.listens()
    with pytest.warns(DeprecationWarning, match="bring a Listener by torch2grid_listeners"):
        manager.register(Logger())
    assert manager.listens()
    drawn(manager, tmp_path, "layers:each=false")
    assert heard == [("layer_overview", tmp_path / "out" / "layer_overview.json", "mean")]
    assert manager.problems() == []


def test_hook_torch2grid_listeners(manager: PluginManager, tmp_path: Path) -> None:
    drawn(manager, tmp_path, "layers:each=false")
    (line,) = (tmp_path / "out" / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    entry = json.loads(line)
    assert Path(entry["file"]) == tmp_path / "out" / "layer_overview.json"
    assert (entry["page"], entry["model"], entry["step"]) == ("layer_overview", "model", None)
    assert manager.problems() == []
