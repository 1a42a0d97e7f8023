"""NaN and Inf are counted, shown and said by every view in every format, and numpy says nothing about them to the user."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from tests.support.tools import DIGITS, torch2grid

from torch2grid_core import PluginManager
from torch2grid_core._summary.not_finite import NotFiniteCount, count_not_finite
from torch2grid_core.measures import Distribution
from torch2grid_core.sources import as_float

NAN, INF = float("nan"), float("inf")
FLAGS = ("--layers", "--histogram", "--stats", "--dead-neurons", "--grid")
FORMATS = ("png", "html", "json", "csv", "terminal")
TRANSFORMERS = sorted(PluginManager.discover().names("transformer"))


def ill_net() -> dict[str, torch.Tensor]:
    """The digits' network with 646 NaN in two tensors and two Inf in two."""
    state = torch.load(DIGITS, weights_only=True)
    state["fc1.weight"][3, 5:11] = NAN
    state["fc1.weight"][4, 0] = INF
    state["fc2.weight"][:] = NAN
    state["conv1.bias"][0] = -INF
    return dict(state)


NAN_WEIGHTS = 6 + ill_net()["fc2.weight"].numel()
SAID = f"NaN in 2 tensors ({NAN_WEIGHTS} weights), Inf in 2 tensors (2 weights)"


@pytest.fixture(scope="module")
def ill(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("ill") / "ill.pth"
    torch.save(ill_net(), path)
    return path


def summary_of(done) -> str:
    """The one line on stderr that sums up a run."""
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if " parameters, " in line]
    return line


# --- counting


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e5m2, np.complex64])
def test_the_count_is_that_of_numpy(dtype):
    values = np.random.default_rng(0).standard_normal(600_000).astype(dtype)
    values[[3, 70_000, 599_999]] = NAN
    values[[4, 300_000]] = INF, -INF
    found = count_not_finite(as_float(values))
    summary = Distribution(brief=True)
    summary.update(values)
    assert found == summary.not_finite == NotFiniteCount(3, 2)
    assert not count_not_finite(as_float(values[5:70_000]))
    assert count_not_finite(np.empty(0, np.float32)) == NotFiniteCount()
    assert (found.text, NotFiniteCount(1234).text, NotFiniteCount(inf=1).text) == ("3 NaN, 2 Inf", "1,234 NaN", "1 Inf")


def test_a_finite_complex_number_is_never_inf_and_a_part_that_is_nan_is_nan():
    values = np.array([complex(3e38, 3e38), complex(NAN, INF), complex(INF, 1), 3 + 4j], np.complex64)
    assert as_float(values).tolist()[0] == float(np.finfo(np.float32).max)
    assert count_not_finite(as_float(values)) == NotFiniteCount(1, 1)


# --- the summary line


@pytest.mark.parametrize("view", ["", *FLAGS])
def test_every_view_says_it_in_the_summary_line(ill, tmp_path, view):
    assert SAID in summary_of(torch2grid(ill, *filter(None, [view]), cwd=tmp_path))


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_every_transformer_says_it(ill, tmp_path, name):
    assert SAID in summary_of(torch2grid(ill, "--plugin", name, cwd=tmp_path))


def test_any_number_of_workers_counts_the_same(ill, tmp_path):
    lines = [summary_of(torch2grid(ill, *FLAGS, "--jobs", jobs, cwd=tmp_path)) for jobs in (1, 2)]
    assert all(SAID in line for line in lines)


def test_a_plain_transformer_counts_what_it_reads(ill, tmp_path):
    (tmp_path / "mine.py").write_text(
        "import numpy as np\nfrom torch2grid_core import GridTransformer\n"
        "class Mine(GridTransformer):\n    name = 'mine'\n    description = 'one'\n"
        "    def transform(self, tensors):\n        return np.nan_to_num(tensors['fc1.weight'])\n",
        encoding="utf-8",
    )
    line = summary_of(torch2grid(ill, "--load-plugin", "mine.py", "--plugin", "mine", cwd=tmp_path))
    assert "NaN in 1 tensor (6 weights), Inf in 1 tensor (1 weight), " in line


def test_nothing_is_said_of_finite_weights_and_of_what_views_show_whole(tmp_path):
    line = summary_of(torch2grid(DIGITS, "--layers", "--histogram", "--stats", "--grid", cwd=tmp_path))
    assert "NaN" not in line
    assert "Inf" not in line
    assert " of " not in line


def test_tied_tensors_are_counted_once(tmp_path):
    weight = torch.full((4, 4), NAN)
    torch.save({"a.weight": weight, "b.weight": weight}, tmp_path / "tied.pth")
    line = summary_of(torch2grid("tied.pth", "--layers", cwd=tmp_path))
    assert "NaN in 1 tensor (16 weights)" in line
    assert "1 tied" in line


def test_each_model_of_a_batch_says_its_own(ill, tmp_path):
    done = torch2grid(ill, DIGITS, "--conv", "--dead-neurons", cwd=tmp_path)
    assert done.returncode == 0
    first, second = [line for line in done.stderr.splitlines() if " parameters, " in line]
    assert SAID in first
    assert "NaN" not in second
    for line in (first, second):
        assert re.search(r"conv: 2 of 8 tensors, dead_neurons: 4 of 8 tensors, \d+\.\d s$", line)


def test_the_tensors_that_a_view_passes_over_are_counted(tmp_path):
    torch.save(
        {"conv.weight": torch.rand(4, 3, 3, 3), "fc.weight": torch.rand(3, 3), "empty": torch.empty(0)}, tmp_path / "m.pth"
    )
    line = summary_of(torch2grid("m.pth", "--conv", "--layers", "--include-buffers", cwd=tmp_path))
    assert "conv: 1 of 3 tensors" in line
    assert "layers" not in line  # an empty tensor has nothing to draw
    done = torch2grid("m.pth", "--only", "conv.*", "--conv", cwd=tmp_path)
    assert "conv: " not in summary_of(done)
    done = torch2grid("m.pth", "--only", "fc.*", "--conv", "--stats", cwd=tmp_path)
    assert "conv: 0 of 1 tensor, " in summary_of(done)


def test_what_has_no_gradient_or_no_state_is_counted(tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.rand(8, 4)).sum().backward()
    optimizer.step()
    torch.save({"model": net.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "run.pth")
    assert "optimizer: 6 of 8 tensors" in summary_of(torch2grid("run.pth", "--optimizer", cwd=tmp_path))
    grads = {f"{name}.grad": each.grad for name, each in net.named_parameters() if name.startswith("0")}
    torch.save({**net.state_dict(), **grads}, tmp_path / "grads.pth")
    assert "gradients: 2 of 10 tensors" in summary_of(torch2grid("grads.pth", "--gradients", cwd=tmp_path))


# --- tables


def test_stats_in_every_format(ill, tmp_path):
    done = torch2grid(ill, "--stats", cwd=tmp_path)
    header = done.stdout.splitlines()[1].split("  ")
    assert [word for word in map(str.strip, header) if word][-2:] == ["NaN", "Inf"]
    row = next(line for line in done.stdout.splitlines() if line.startswith("fc1.weight")).split()
    assert row[-2:] == ["6", "1"]
    data = json.loads(torch2grid(ill, "--stats", "--format", "json", "--output", "-", cwd=tmp_path).stdout)
    (table,) = data["panels"]
    rows = {row[0]: dict(zip(table["columns"], row, strict=True)) for row in table["rows"]}
    assert rows["fc2.weight"]["Mean"] is None
    assert rows["fc2.weight"]["NaN"] == ill_net()["fc2.weight"].numel()
    assert rows["conv1.bias"]["Inf"] == 1
    text = torch2grid(ill, "--stats", "--format", "csv", "--output", "-", cwd=tmp_path).stdout
    assert text.splitlines()[0].endswith("~Zero%,NaN,Inf")
    assert next(line for line in text.splitlines() if line.startswith("fc1.weight")).endswith(",6,1")
    torch2grid(ill, "--stats", "-o", "r.html", cwd=tmp_path)
    assert '"~Zero%", "NaN", "Inf"]' in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_dead_neurons_shows_them_and_hides_none(ill, tmp_path):
    done = torch2grid(ill, "--view", "dead_neurons:only_dead=true", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "NaN or Inf in 2 tensors" in done.stdout
    row = next(line for line in done.stdout.splitlines() if line.startswith("fc1.weight")).split()
    assert row[-2:] == ["6", "1"]
    assert "conv2.weight" not in done.stdout
    report = json.loads((tmp_path / "grids" / "dead_neurons_report.json").read_text(encoding="utf-8"))
    assert (report["totals"]["nan"], report["totals"]["inf"], report["totals"]["tensors_not_finite"]) == (NAN_WEIGHTS, 1, 2)
    torch2grid(ill, "--dead-neurons", "--format", "json", cwd=tmp_path)
    overview = json.loads((tmp_path / "grids" / "dead_neurons_overview.json").read_text(encoding="utf-8"))
    line = overview["panels"][-1]
    place = line["xticks"].index("fc2.weight")
    assert line["flags"][str(place)] == "all NaN"
    assert [values[place] for values in line["y"].values()] == [None, None]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A training checkpoint: one moment has a NaN, one weight an Inf; beside it, the gradients of the same."""
    net = torch.nn.Sequential(torch.nn.Linear(6, 6), torch.nn.Linear(6, 6), torch.nn.Linear(6, 6))
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.rand(8, 6)).sum().backward()
    optimizer.step()
    state, moments = net.state_dict(), optimizer.state_dict()
    state["1.weight"][0, 0] = INF
    moments["state"][0]["exp_avg"][:] = NAN
    folder = tmp_path_factory.mktemp("run")
    torch.save({"model": state, "optimizer": moments}, folder / "run.pth")
    grads = {f"{name}.grad": each.grad.clone() for name, each in net.named_parameters()}
    grads["0.weight.grad"][1] = NAN
    grads["2.weight.grad"][:] = INF
    torch.save({**state, **grads}, folder / "grads.pth")
    return folder


def table_of(folder: Path, name: str) -> dict[str, dict[str, object]]:
    (table,) = json.loads((folder / "grids" / f"{name}.json").read_text(encoding="utf-8"))["panels"]
    return {row[0]: dict(zip(table["columns"], row, strict=True)) for row in table["rows"]}


def test_an_update_of_nan_is_nan(run, tmp_path):
    done = torch2grid(run / "run.pth", "--optimizer", cwd=tmp_path)
    assert "NaN in 1 tensor (36 weights), Inf in 1 tensor (1 weight)" in summary_of(done)
    row = next(line for line in done.stdout.splitlines() if line.startswith("0.weight")).split()
    assert row[row.index("nan") :].count("nan") == 4  # RMS m, |m|/√v, ‖update‖, ‖update‖/‖w‖
    assert row[-2:] == ["36", "0"]
    torch2grid(run / "run.pth", "--optimizer", "--format", "json", cwd=tmp_path)
    rows = table_of(tmp_path, "optimizer")
    assert [rows["0.weight"][name] for name in ("RMS m", "‖update‖", "‖update‖/‖w‖", "NaN", "Inf")] == [None] * 3 + [36, 0]
    assert rows["0.bias"]["‖update‖"] > 0
    assert [rows["1.weight"][name] for name in ("‖w‖", "‖update‖/‖w‖", "Inf")] == ["Infinity", 0.0, 1]
    for panel in json.loads((tmp_path / "grids" / "optimizer_overview.json").read_text(encoding="utf-8"))["panels"]:
        assert panel["flags"] == {"0": "36 NaN", "2": "1 Inf"}
    page = json.loads((tmp_path / "grids" / "optimizer" / "0.weight_optimizer.json").read_text(encoding="utf-8"))
    assert "‖update‖ nan" in page["title"]
    assert "36 NaN in the update" in page["title"]


def test_gradients_of_nan_are_nan(run, tmp_path):
    done = torch2grid(run / "grads.pth", "--gradients", "--format", "json", cwd=tmp_path)
    assert "NaN in 1 tensor (6 weights), Inf in 2 tensors (37 weights)" in summary_of(done)
    rows = table_of(tmp_path, "gradients")
    figures = ("Mean |g|", "Max |g|", "‖g‖", "‖g‖/‖w‖")
    assert [rows["0.weight"][name] for name in (*figures, "NaN", "Inf")] == [None] * 4 + [6, 0]
    assert [rows["2.weight"][name] for name in (*figures, "NaN", "Inf")] == ["Infinity"] * 4 + [0, 36]
    assert rows["1.bias"]["‖g‖"] > 0
    flow = json.loads((tmp_path / "grids" / "gradient_flow.json").read_text(encoding="utf-8"))["panels"][0]
    assert flow["flags"] == {"0": "6 NaN", "2": "all Inf"}
    assert flow["y"]["mean |g|"][0] is None


# --- no warning of numpy reaches the user


@functools.cache
def hard_file(folder: Path) -> Path:
    """A training checkpoint of everything that numpy warns of, with moments and gradients of the same kinds."""
    random = torch.Generator().manual_seed(0)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random) / 10

    largest = torch.finfo(torch.float64).max
    model = {
        "conv.weight": some(8, 3, 3, 3),
        "conv.bias": some(8),
        "tcn.conv.weight": some(4, 3, 5),
        "bn.weight": some(8) + 1,
        "bn.bias": some(8),
        "bn.running_mean": torch.full((8,), NAN),
        "bn.running_var": some(8).abs(),
        "bn.num_batches_tracked": torch.tensor(5),
        "fc.weight": some(48, 48),
        "all_nan.weight": torch.full((10, 64), NAN),
        "all_inf.weight": torch.full((9, 9), -INF),
        "inf64.weight": torch.full((9, 9), INF, dtype=torch.float64),
        "both.weight": torch.tensor([[NAN, INF], [-INF, NAN]]),
        "huge32.weight": torch.where(some(9, 9) > 0, 3e38, -3e38),
        "huge64.weight": torch.sign(some(9, 9).double()) * largest,
        "wide64.weight": torch.tensor([largest, -largest, 5e-324, 0.0], dtype=torch.float64),
        "least32.weight": torch.full((9, 9), 1e-45),
        "least64.weight": torch.full((9, 9), 5e-324, dtype=torch.float64),
        "zeros.weight": torch.zeros(9, 9),
        "empty.weight": torch.zeros(0, 4),
        "z.weight": torch.complex(some(9, 9), some(9, 9)),
        "z_huge.weight": torch.full((9, 9), complex(3e38, 3e38)),
        "z128.weight": torch.full((9, 9), complex(largest, -largest), dtype=torch.complex128),
        "half.weight": some(9, 9).half(),
        "half_huge.weight": torch.full((300, 300), 65504.0, dtype=torch.float16),
        "bf.weight": some(9, 9).bfloat16(),
        "bf_huge.weight": torch.full((300, 300), 3.38e38, dtype=torch.bfloat16),
        "f8.weight": some(9, 9).to(torch.float8_e4m3fn),
        "f8_e5m2.weight": some(9, 9).to(torch.float8_e5m2),
        "int64.weight": torch.randint(-(2**62), 2**62, (9, 9), generator=random),
        "int8.weight": torch.randint(-128, 128, (9, 9), generator=random, dtype=torch.int8),
        "mask": some(9, 9) > 0,
        "one": torch.tensor(NAN),
    }
    model["conv.weight"][0, 0, 0, 0] = NAN
    model["tcn.conv.weight"][1] = INF
    model["fc.weight"][3, 4:9] = NAN
    model["z.weight"][0, 0] = complex(NAN, INF)
    model["half.weight"][0, 0] = INF
    model["f8.weight"].view(torch.uint8)[0, 0] = 0x7F  # NaN
    parameters = [name for name, each in model.items() if (each.is_floating_point() or each.is_complex()) and each.numel()]
    parameters = [name for name in parameters if "running" not in name]
    state = {}
    for number, name in enumerate(parameters):
        each = model[name].float() if name.startswith("f8") else model[name]
        pairs = torch.view_as_real(each).square() if each.is_complex() else each.square()
        second = torch.view_as_complex(pairs.contiguous()) if each.is_complex() else pairs
        state[number] = {"step": torch.tensor(1.0), "exp_avg": each, "exp_avg_sq": second}
    group = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 0.0, "weight_decay": 0.0, "amsgrad": False}
    optimizer = {"state": state, "param_groups": [{**group, "params": list(range(len(parameters)))}]}
    torch.save({"model": model, "optimizer": optimizer}, folder / "hard.pth")
    gradients = {f"{name}.grad": each for name, each in model.items() if each.numel()}
    torch.save({**model, **gradients}, folder / "grads.pth")
    return folder / "hard.pth"


@pytest.fixture(scope="module")
def hard(tmp_path_factory) -> Path:
    return hard_file(tmp_path_factory.mktemp("hard"))


VIEWS = ("--layers", "--histogram", "--conv", "--view", "stats:detail=true,sort=std", "--dead-neurons", "--optimizer")


def quiet(*words: object, cwd: Path, warnings: str = "error") -> str:
    """What the command prints on stderr where *warnings* are errors; nothing there may look like one."""
    done = torch2grid(*words, cwd=cwd, env={"PYTHONWARNINGS": warnings})
    assert done.returncode == 0, done.stderr
    for text in ("Warning", "Traceback", "Error"):
        assert text not in done.stderr
    return done.stderr


@pytest.mark.parametrize("ending", FORMATS)
def test_no_warning_from_any_view(hard, tmp_path, ending):
    quiet(hard, *VIEWS, "--grid", "--include-buffers", "--format", ending, cwd=tmp_path)
    quiet(hard.with_name("grads.pth"), "--gradients", "--format", ending, cwd=tmp_path)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_no_warning_from_any_transformer(hard, tmp_path, name):
    quiet(hard, "--plugin", name, "--include-buffers", "--format", "png,html,json,csv", cwd=tmp_path)
    quiet(hard, "--plugin", name, "--include-buffers", "--format", "terminal", "--scale", "asinh", cwd=tmp_path)


@pytest.mark.parametrize("reduce", ["absmax", "rms", "min", "max"])
def test_no_warning_from_any_reduction(hard, tmp_path, reduce):
    quiet(hard, "--layers", "--grid", "--reduce", reduce, "--max-cells", 40, "--limits", "shared", cwd=tmp_path)


def test_nothing_is_printed_where_warnings_are_on(hard, tmp_path):
    told = quiet(hard, *VIEWS, "--grid", "-o", "all.html", cwd=tmp_path, warnings="always")
    assert len(told.splitlines()) == 1  # the summary line alone
