"""What a page is of: the checkpoint, its part and its step, wherever the page was drawn and whichever way it came."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.tools import torch2grid

import torch2grid as t2g
from torch2grid_core import Checkpoint, Page, Settings, View, draw
from torch2grid_core._data.steps import short_name, step_of
from torch2grid_core.measures import Summary, workers
from torch2grid_core.pages import PageOrigin, Text
from torch2grid_core.testing import sample_checkpoints

NAMES = {
    "runs/step_1200.pt": 1200,
    "epoch=3-step=1200.ckpt": 1200,
    "epoch_7.pth": 7,
    "checkpoint-500/model.safetensors": 500,
    "checkpoint-500/epoch-2.pt": 2,
    "ckpt00010.pt": 10,
    "global_step300/mp_rank_00.pt": 300,
    "s3://bucket/run/step-40/model.npz": 40,
    "model.Step12.npz": 12,
    r"C:\runs\iter_5.pth": 5,
    "resnet50.pth": None,
    "resnet50/model.pth": None,
    "step_1/of/mine/model.pth": None,  # not the file's name, nor its folder's
    "footstep_9.pt": None,
    "steps.pt": None,
    "step_" + "9" * 40 + ".pt": None,
    "": None,
    "\x00step_3\x00": 3,
}


@pytest.mark.parametrize(("name", "step"), NAMES.items(), ids=map(repr, NAMES))
def test_the_step_that_a_name_says(name: str, step: int | None) -> None:
    assert step_of(name, {}) == step


@pytest.mark.parametrize(
    ("metadata", "step"),
    [
        ({"step": 5}, 5),
        ({"step": "0012"}, 12),
        ({"epoch": 3, "global_step": "700"}, 700),
        ({"global_step": "soon", "epoch": 3.0}, 3),
        ({"step": 2.5}, 99),
        ({"step": float("nan"), "epoch": float("inf")}, 99),
        ({"step": -1}, 99),
        ({"step": [5], "epoch": {}, "iter": None}, 99),
        ({"step": 10**400}, 99),
        ({"step": "1e999"}, 99),
        ({"steps_taken": 4}, 99),
    ],
)
def test_what_a_checkpoint_states_comes_first(metadata: dict[str, Any], step: int) -> None:
    assert step_of("step_99.pt", metadata) == step


def test_a_short_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "llama.v2").mkdir()
    assert short_name("llama.v2") == "llama.v2"
    assert short_name("llama.v2/model.safetensors.index.json") == "llama.v2"
    assert short_name("a/b.c.pth.gz") == "b.c"
    assert short_name("s3://bucket/x/model.pth") == "model"
    assert short_name("s3://bucket") == "bucket"
    assert short_name(".") == tmp_path.name


class Origins(View):
    """tells what it is of"""

    name = "origins"
    uses_transformer = False

    def tensor_needs(self, tensor: Any, run: Any) -> Any:
        return {"all": Summary(brief=True)}

    def tensor_pages(self, tensor: Any, results: Any, run: Any) -> Any:
        yield Page(tensor.name, "t", (Text("x"),), "each")

    def pages(self, checkpoint: Any, results: Any, run: Any) -> Any:
        yield Page("overview", "t", (Text("x"),))


def _seen(page: Page, view: View) -> tuple[Page, Any]:
    return page, page.origin  # in the process that draws


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_page_has_it_in_every_process(jobs: int) -> None:
    checkpoint = sample_checkpoints()["ordinary"]
    checkpoint = Checkpoint(checkpoint.values(), source="step_3.pt", metadata={"lr": 0.1, "odd": object()})
    with workers(checkpoint, jobs, len(checkpoint)) as executor:
        drawn = list(draw(checkpoint, [Origins()], Settings(), prepare=_seen, executor=executor))
    assert len(drawn) == len(checkpoint) + 1
    wanted = PageOrigin("step_3.pt", ("step_3.pt",), "step_3", {"lr": 0.1, "odd": "<object>"}, "", 3)
    assert {(page.origin == wanted, made == wanted) for page, _, made in drawn} == {(True, True)}


def test_the_part_that_is_shown(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": 41, "note": "<b>\x1b[31m"}
    torch.save(saved, tmp_path / "last.pt")
    origin = t2g.layers(tmp_path / "last.pt")[0].origin
    assert (origin.step, origin.part, origin.model) == (41, "model", "last")
    assert origin.metadata["note"].startswith("<b>")  # whoever shows it escapes it for the format
    assert t2g.layers(tmp_path / "last.pt", part="optimizer")[0].origin.part == "optimizer"
    assert t2g.layers(tmp_path / "last.pt", part="all")[0].origin.part == "all"
    assert {page.origin.step for page in t2g.optimizer(tmp_path / "last.pt")} == {41}


def test_of_comparisons_series_gradients_and_what_is_alive(tmp_path: Path) -> None:
    paths = [tmp_path / f"step_{step}.npz" for step in (10, 9, 11)]
    for number, path in enumerate(paths):
        np.savez(path, **{"fc.weight": np.full((3, 4), float(number)) + np.eye(3, 4)})
    for pages in (t2g.compare(*paths[:2], layers=True), t2g.compare(*paths[:2], layers=True)[1:]):
        assert {page.origin.sources for page in pages} == {tuple(map(str, paths[:2]))}
        assert {page.origin.step for page in pages} == {9}
    ordered = (paths[1], paths[0], paths[2])
    assert {page.origin.sources for page in t2g.series(paths)} == {tuple(map(str, ordered))}
    model = torch.nn.Linear(3, 2)
    model(torch.ones(1, 3)).sum().backward()
    assert {page.origin.model for page in t2g.gradients(model)} == {"Linear"}
    assert {page.origin.step for page in t2g.layers({"w": np.ones((2, 2))})} == {None}


def test_it_reaches_a_renderer_of_all_pages(tmp_path: Path) -> None:
    np.savez(tmp_path / "step_5.npz", a=np.eye(3), b=np.eye(4))
    (tmp_path / "origins.py").write_text(
        "import json\nfrom torch2grid_core import Renderer\n\n\nclass All(Renderer):\n    '''origins'''\n\n    name = 'all'\n"
        "    formats = ('origins',)\n    combines = ('origins',)\n\n    def render(self, page, target, style, format):\n"
        "        self.render_all([page], target, style, format)\n\n    def render_all(self, pages, target, style, format):\n"
        "        told = [[page.name, page.origin.model, page.origin.step] for page in pages]\n"
        "        target.write(json.dumps(told).encode())\n"
    )
    words = ("--layers", "--load-plugin", "origins.py", "-o", "all.origins", "-j", "2")
    done = torch2grid("step_5.npz", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "all.origins").read_text())
    assert told == [[name, "step_5", 5] for name in ("a", "b", "layer_overview")]
