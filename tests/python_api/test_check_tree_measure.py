"""``t2g.check``, ``t2g.tree`` and ``t2g.measure``: they find what the commands and numpy find, as objects that a user reads."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.tools import DIGITS, torch2grid

import torch2grid as t2g
from torch2grid_core import LoadError, NotDrawable, Rule, UsageError
from torch2grid_core.measures import Distribution, Largest, LargestWeights, Summary, UnitProfile

STATE = {name: tensor.numpy() for name, tensor in torch.load(DIGITS, weights_only=True).items()}
FUNCTIONS = (
    *("grid", "layers", "histograms", "conv", "stats", "dead_neurons", "outliers", "draw", "compare", "series", "optimizer"),
    *("gradients", "check", "tree", "measure"),
)
CHOOSING = ("only", "skip", "tensors", "filter", "part", "slice")


@pytest.fixture
def ill(tmp_path: Path) -> Path:
    """A checkpoint with a NaN in the model and an Inf in the optimizer's state."""
    rng = np.random.default_rng(0)
    model = {f"layers.{place}.weight": torch.from_numpy(rng.normal(0, 0.1, (12, 20)).astype(np.float32)) for place in range(4)}
    state = {
        place: {"exp_avg": torch.zeros_like(each), "exp_avg_sq": torch.ones_like(each)}
        for place, each in enumerate(model.values())
    }
    model["layers.2.weight"][3, 17] = float("nan")
    state[1]["exp_avg_sq"][0, 5] = float("inf")
    groups = [{"lr": 0.1, "params": list(range(4))}]
    torch.save({"model": model, "optimizer": {"state": state, "param_groups": groups}}, tmp_path / "ill.pt")
    return tmp_path / "ill.pt"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_looked_at_is_named_in_the_signature(name: str) -> None:
    parameters = inspect.signature(getattr(t2g, name)).parameters
    for each in CHOOSING:
        assert parameters[each].kind is inspect.Parameter.KEYWORD_ONLY, each
        assert parameters[each].default is None
    assert all(f"{each}" in (t2g.draw.__doc__ or "") for each in CHOOSING)
    assert "draw" in (getattr(t2g, name).__doc__ or "") or name == "draw"


def test_they_choose_alike() -> None:
    chosen = {"only": ["fc*", "conv1*"], "skip": "*.bias", "tensors": "2-3", "slice": np.s_[:4]}
    wanted = ["fc1.weight", "fc2.weight"]
    assert list(t2g.stats(DIGITS, **chosen).checkpoint) == wanted
    assert list(t2g.tree(DIGITS, **chosen).checkpoint) == wanted
    assert list(t2g.measure(DIGITS, **chosen)) == wanted
    assert t2g.tree(DIGITS, **chosen).to_dict()["tensors"][0]["shape"] == [4, 128]
    assert t2g.check(DIGITS, **chosen).verdict.endswith(f"in {4 * (128 + 32)} numbers of 2 tensors")
    assert list(t2g.measure(DIGITS, filter=["largest:count=2", {"only": {"pattern": "fc*"}}])) == ["fc1.weight"]


def test_check_finds_what_the_command_finds_and_says_where(ill: Path) -> None:
    result = t2g.check(ill)
    run = torch2grid("check", "ill.pt", "--format", "json", cwd=ill.parent)
    (model,) = json.loads(run.stdout)["models"]
    told = [(each["code"], each["tensor"] or "", each["index"], each["message"]) for each in model["findings"]]
    assert [(each.code, each.tensor, each.index and list(each.index), each.message) for each in result] == told
    assert (result.errors, result.warnings, len(result)) == (model["errors"], model["warnings"], len(told))
    assert not result.clean
    assert result.failed == {}
    text = torch2grid("check", str(ill), cwd=ill.parent).stdout
    assert str(result) == text.rstrip("\n")
    nan = next(each for each in result if each.rule == "nan")
    assert np.isnan(result.checkpoint[nan.tensor][nan.index])
    inf = next(each for each in result if each.rule == "inf")
    assert inf.part == "optimizer"
    assert np.isinf(result.checkpoint[inf.tensor][inf.index])
    assert "<table" in result._repr_html_()


def test_check_takes_rules_parts_and_slices(ill: Path) -> None:
    assert {each.rule for each in t2g.check(ill, select="T101,inf")} == {"nan", "inf"}
    assert {each.rule for each in t2g.check(ill, select=["T1"], ignore="nan")} == {"inf"}
    (found,) = t2g.check(ill, part="optimizer", select="T101,T102")
    checkpoint = t2g.check(ill, part="optimizer", select="T101,T102").checkpoint
    assert np.isinf(checkpoint[found.tensor][found.index])
    (found,) = t2g.check(ill, select="T101", slice="2:8, 10:")
    assert found.index == (3, 17)  # of the whole tensor
    assert t2g.check(ill, select="T101", slice="4:").clean
    large = [name for name, weights in STATE.items() if np.abs(weights).max() > 0.5 and weights.ndim > 1]
    assert {each.tensor for each in t2g.check(DIGITS, rule="exploding:limit=0.5")} == set(large) != set()
    healthy = t2g.check(DIGITS)
    assert healthy.clean
    assert str(healthy) == f"{DIGITS}: {healthy.verdict}"
    assert healthy._repr_html_() is None
    assert t2g.check({"w": np.array([[1.0, np.nan], [2.0, 3.0]], np.float32)}, select="nan")[0].index == (0, 1)


def test_a_rule_that_fails_is_a_warning_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch2grid_builtin._rules.values import NaN

    def broken(*_: object) -> None:
        raise RuntimeError("of no use")

    assert issubclass(NaN, Rule)
    monkeypatch.setattr(NaN, "findings", broken)
    with pytest.warns(UserWarning, match="of no use"):
        result = t2g.check(DIGITS)
    assert list(result.failed) == ["T101"]
    assert not result.clean
    assert "1 rule failed" in result.verdict


def test_the_tree_is_the_commands(ill: Path) -> None:
    for words, options in (
        ((), {}),
        (("--depth", "1", "--flat"), {"depth": 1, "flat": True}),
        (("--all", "--part", "all"), {"every": True, "part": "all"}),
        (("--only", "*.2.*", "--slice", "0"), {"only": "*.2.*", "slice": 0}),
    ):
        tree = t2g.tree(ill, **options)
        assert str(tree) == torch2grid("tree", ill, *words, "-q", cwd=ill.parent).stdout.rstrip("\n")
        data = json.loads(torch2grid("tree", ill, *words, "-q", "--format", "json", cwd=ill.parent).stdout)
        assert tree.to_dict() == data
        assert {"tensors": tree.tensors, "weights": tree.weights, "bytes": tree.bytes} == data["totals"]
        lines = torch2grid("tree", ill, *words, "-q", "--format", "csv", cwd=ill.parent).stdout.splitlines()
        assert len(tree.table.rows) == len(lines) - 1
    assert t2g.tree({"<b>.weight": np.ones(3, np.float32)})._repr_html_().count("&lt;b&gt;") == 1
    live = t2g.tree(torch.nn.Linear(3, 4))
    assert (live.weights, live.bytes) == (16, 64)


def test_the_tree_reads_no_weight(tmp_path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1 << 17, 1 << 17], "data_offsets": [0, 1 << 36]}}).encode()
    with (tmp_path / "large.safetensors").open("wb") as stream:
        stream.write(len(header).to_bytes(8, "little") + header)
        stream.truncate(8 + len(header) + (1 << 36))
    tree = t2g.tree(tmp_path / "large.safetensors")
    assert (tree.weights, tree.bytes) == (1 << 34, 1 << 36)
    assert t2g.load(tmp_path / "large.safetensors")["w"][1234, ::65_536].tolist() == [0, 0]


def test_statistics_are_numpys() -> None:
    measured = t2g.measure(DIGITS, threshold=0.01)
    assert list(measured) == list(STATE)
    assert len(measured) == len(STATE)
    for name, found in measured.items():
        assert isinstance(found, Distribution)
        weights = STATE[name].astype(np.float64)
        assert found.std == pytest.approx(weights.std(), rel=1e-9)
        assert (found.min, found.max, found.count) == (weights.min(), weights.max(), weights.size)
        assert found.near_zero(0.01) == np.count_nonzero(np.abs(weights) < 0.01)
    table = measured.table()
    for row in (dict(zip(table.columns, row, strict=True)) for row in table.rows):
        assert row["mean"] == pytest.approx(STATE[row["name"]].astype(np.float64).mean(), rel=1e-9)
        assert row["shape"] == str(STATE[row["name"]].shape)
        assert row["near_zero"] == measured[row["name"]].near_zero(0.01)


def test_several_needs_in_one_pass_have_names() -> None:
    measured = t2g.measure(DIGITS, ["units", "largest", "not_finite", "duplicates"], only="fc1.*")
    found = measured["fc1.weight"]
    assert isinstance(found["units"], UnitProfile)
    np.testing.assert_allclose(found["units"].output_norm, np.linalg.norm(STATE["fc1.weight"], axis=1), rtol=1e-6)
    assert isinstance(found["largest"], LargestWeights)
    assert not found["not_finite"]
    assert found["duplicates"].units == 32
    for need in measured.needs:
        assert {row[0] for row in measured.table(need).rows} == {"fc1.weight", "fc1.bias"}
    with pytest.raises(UsageError, match="largest"):
        measured.table()
    own = t2g.measure(DIGITS, {"mine": Largest(3), "all": "statistics"}, only="fc1.weight")
    assert len(own["fc1.weight"]["mine"].values) == 3
    assert isinstance(own["fc1.weight"]["all"], Distribution)
    assert isinstance(t2g.measure(DIGITS, Summary(brief=True))["fc1.weight"], Distribution)


@pytest.mark.parametrize("slice", ["", "5:30:5, 3:", "7", "..., 100"])
def test_indices_of_tables_are_of_the_whole_tensor(slice: str) -> None:
    measured = t2g.measure(DIGITS, ["largest", "units"], only="fc1.weight", slice=slice or None)
    part = t2g.load(DIGITS)["fc1.weight"]
    for name, index, value in measured._rows("largest")[1]:
        assert np.float32(value) == part[index] == STATE[name][index]
    index = eval(f"np.s_[{slice or ':'}]")
    kept = np.abs(STATE["fc1.weight"][index])
    rows = [row for row in measured.table("units").rows if row[1] == "output"]
    numbers = np.arange(32 * 128).reshape(32, 128)[index]
    first = numbers // 128 if numbers.ndim == 2 or slice.startswith("...") else numbers % 128
    places = first[:, 0] if first.ndim == 2 else first
    assert [row[2] for row in rows] == places.tolist()
    np.testing.assert_allclose([row[3] for row in rows], kept.max(axis=1) if kept.ndim == 2 else kept)


def test_nan_comes_first_among_the_largest(ill: Path) -> None:
    measured = t2g.measure(ill, "largest", only="*.2.*")
    assert measured.table().rows[0][:2] == ("layers.2.weight", "[3, 17]")
    assert t2g.measure(ill, "not_finite")["layers.2.weight"].nan == 1


def test_processes_change_no_digit() -> None:
    assert t2g.measure(DIGITS, jobs=2).table().rows == t2g.measure(DIGITS, jobs=1).table().rows


def test_everything_shows_itself_in_one_line(ill: Path) -> None:
    measured = t2g.measure(ill, ["statistics", "units", "largest", "not_finite", "duplicates"])
    shown = [t2g.check(ill), t2g.tree(ill), measured, t2g.check(ill).table, t2g.tree(ill).table, measured.table("units")]
    shown += [t2g.load(ill), t2g.load(ill)["model.layers.0.weight"], *t2g.check(ill), *measured["layers.0.weight"].values()]
    shown += [t2g.compare(DIGITS, DIGITS), t2g.stats(ill)]
    for value in shown:
        assert "\n" not in repr(value), repr(value)
        assert len(repr(value)) < 400, repr(value)
    os.chdir(ill.parent)
    assert repr(t2g.tree("ill.pt")).startswith("<Tree of 'ill.pt': 4 tensors, 960 weights")
    assert repr(t2g.check("ill.pt", select="T101")) == "<CheckResult of 'ill.pt': 1 error>"
    assert repr(t2g.measure("ill.pt")) == "<Measured of 'ill.pt': statistics of 4 tensors>"
    assert repr(t2g.compare(DIGITS, DIGITS)).startswith("<Comparison of ")


def test_all_of_them_are_frames(ill: Path) -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    findings = t2g.check(ill).to_pandas()
    assert len(findings) == len(t2g.check(ill))
    row = findings[findings["rule"] == "nan"].iloc[0]
    assert row["index"] == (3, 17)
    assert np.isnan(t2g.load(ill)[row["tensor"]][row["index"]])
    assert list(t2g.check(DIGITS).to_pandas().columns) == list(findings.columns)
    tree = t2g.tree(DIGITS).to_pandas()
    assert tree["weights"].sum() == sum(each.size for each in STATE.values())
    assert list(tree["name"]) == list(STATE)
    assert list(t2g.tree(DIGITS, depth=1).to_pandas()["name"]) == ["conv1", "conv2", "fc1", "fc2"]
    figures = t2g.measure(DIGITS).to_pandas().set_index("name")
    for name, weights in STATE.items():
        assert figures.loc[name, "absmax"] == np.abs(weights).max()
    assert str(figures["nan"].dtype) == "int64"
    largest = t2g.measure(DIGITS, "largest").to_pandas()
    for _, row in largest.iterrows():
        assert STATE[row["name"]][row["index"]] == np.float32(row["value"])
    for need in ("units", "not_finite", "duplicates"):
        assert len(t2g.measure(DIGITS, need).to_pandas()) >= len(STATE)
    values = t2g.draw(DIGITS, ["values"], only="fc2.weight").to_pandas()
    np.testing.assert_array_equal(values.iloc[:, 1:].to_numpy(np.float32), STATE["fc2.weight"])


def test_values_are_data_in_memory_whatever_their_number(tmp_path: Path) -> None:
    weights = np.arange(120_000, dtype=np.float32).reshape(300, 400)
    np.savez(tmp_path / "m.npz", w=weights)
    (page,) = t2g.draw(tmp_path / "m.npz", ["values"])
    np.testing.assert_array_equal(page.panels[0].values, weights)
    refused = torch2grid("m.npz", "--values", cwd=tmp_path)  # a terminal takes fewer
    assert refused.returncode != 0
    assert "120,000 numbers are too many" in refused.stderr
    (path,) = t2g.draw(tmp_path / "m.npz", view="values").save(tmp_path / "w.npy")
    np.testing.assert_array_equal(np.load(path), weights)
    (path,) = t2g.draw(tmp_path / "m.npz", view="values").save(tmp_path / "out")
    assert path.suffix == ".csv"
    assert path.read_text().count("\n") > 299


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: t2g.measure(DIGITS, "statistic"), "did you mean 'statistics'"),
        (lambda: t2g.measure(DIGITS, []), "nothing to measure"),
        (lambda: t2g.measure(DIGITS, Summary), "not Summary"),
        (lambda: t2g.measure(DIGITS, [3]), "not int"),
        (lambda: t2g.measure(DIGITS, onyl="x"), "did you mean 'only'"),
        (lambda: t2g.measure(DIGITS, only="nothing"), "no tensor matches"),
        (lambda: t2g.measure(DIGITS, title="x"), "nothing is drawn"),
        (lambda: t2g.check(DIGITS, select="Q9"), "no rule 'Q9'"),
        (lambda: t2g.check(DIGITS, select="nan", ignore="nan"), "no rule is left"),
        (lambda: t2g.check(DIGITS, include_buffers=True), "everything is looked at"),
        (lambda: t2g.check(DIGITS, rule="nonesuch:x=1"), "unknown rule"),
        (lambda: t2g.check(DIGITS, part="optimizer"), "no parts"),
        (lambda: t2g.tree(DIGITS, jobs=2), "no weight is read"),
        (lambda: t2g.tree(DIGITS, colormap="viridis"), "nothing is drawn"),
        (lambda: t2g.tree(DIGITS, slice="a"), "slice"),
        (lambda: t2g.stats(DIGITS, rule="nan"), r"check\(model, rule="),
    ],
)
def test_what_is_wrong_is_said(call, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        call()


def test_errors_of_files_are_errors() -> None:
    for function in (t2g.check, t2g.tree, t2g.measure):
        with pytest.raises(LoadError):
            function("nowhere.pth")
    with pytest.raises(NotDrawable):
        t2g.measure(DIGITS, slice="1000")
    with pytest.raises(KeyError, match=r"did you mean 'fc1\.weight'"):
        t2g.measure(DIGITS)["fc1.wieght"]


def test_the_tree_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, torch2grid as t2g\n"
        f"str(t2g.tree({str(DIGITS)!r})); repr(t2g.check({str(DIGITS)!r})); repr(t2g.measure({str(DIGITS)!r}))\n"
        "print({'pandas', 'matplotlib', 'torch'} & {*sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert run.stdout.strip() == "set()"
