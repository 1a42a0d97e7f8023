"""``check --expect FILE``: what a model has to be, and findings that are accepted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, strategies as st
from safetensors.numpy import save_file
from tests.support.tools import torch2grid

import torch2grid as t2g
from torch2grid_builtin._check.expectations import read_expectations
from torch2grid_core import UsageError

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "expectations.schema.json").read_text())


@pytest.fixture
def model(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    tensors = {
        f"layers.{n}.{k}_proj.weight": rng.normal(size=(16, 24)).astype(np.float32) * 0.02 for n in range(2) for k in "qk"
    }
    tensors["norm.weight"] = np.linspace(0.9, 1.1, 24, dtype=np.float16)
    path = tmp_path / "m.safetensors"
    save_file(tensors, path)
    return path


def findings(path: Path, expected: Any, **options: Any) -> list[str]:
    file = path.parent / "expect.yaml"
    file.write_text(yaml.safe_dump(expected, sort_keys=False))
    jsonschema.validate(yaml.safe_load(file.read_text()), SCHEMA)
    return [f"{each.tensor}: {each.message}" for each in t2g.check(path, expect=file, select="T402", **options)]


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ({"formats": "safetensors", "tensors": 5, "parameters": 4 * 384 + 24}, []),
        ({"formats": ["GGUF", "PyTorch"]}, [": its format is safetensors, not GGUF or PyTorch"]),
        ({"tensors": 6}, [": it has 5 tensors, 6 are expected"]),
        ({"required": ["layers.{0..1}.{q,k}_proj.weight", "norm.*"], "others": False}, []),
        ({"required": "layers.{0..2}.q_proj.weight"}, [": no tensor layers.2.q_proj.weight, which is required"]),
        ({"required": ["layers.*"], "others": False}, ["norm.weight: is not expected: no pattern of required fits"]),
        ({"forbidden": ["norm*"]}, ["norm.weight: is forbidden, by norm*"]),
        ({"dtypes": {"norm*": ["float16", "float32"], "*": "float32"}}, []),
        ({"dtypes": {"*": "float32"}}, ["norm.weight: has dtype float16, float32 is expected"]),
        ({"shapes": {"layers.*": [16, 24], "norm*": ["any"]}}, []),
        ({"shapes": {"*1.q_proj*": [24, None]}}, ["layers.1.q_proj.weight: has shape [16, 24], [24, any] is expected"]),
        ({"shapes": {"norm*": [24, 1]}}, ["norm.weight: has shape [24], [24, 1] is expected"]),
        ({"limits": {"norm*": {"min": [0.5, None], "max": 1.2, "zeros": 0}, "layers*": {"std": [0.01, 0.03]}}}, []),
        ({"limits": {"norm*": {"max": 1.05}}}, ["norm.weight: its max is 1.09961, at most 1.05 is expected"]),
        ({"limits": {"norm*": {"min": [0.95, None]}}}, ["norm.weight: its min is 0.899902, at least 0.95 is expected"]),
    ],
)
def test_what_is_not_as_expected_is_a_finding(model: Path, expected: Any, found: list[str]) -> None:
    told = findings(model, expected)
    assert [each.partition("; did you mean")[0] for each in told] == found


def test_accepted_findings_pass_with_their_reason_and_those_that_went_are_said(model: Path, tmp_path: Path) -> None:
    tensors = {name: tensor.numpy().copy() for name, tensor in t2g.load(model).items()}
    tensors["norm.weight"] = tensors["norm.weight"].astype(np.float32)
    tensors["norm.weight"][3] = np.nan
    save_file(tensors, tmp_path / "ill.safetensors")
    accept = [
        {"rule": "nan", "tensor": "norm.*", "reason": "a sentinel of ours"},
        {"rule": "T102", "reason": "once upon a time"},
    ]
    (tmp_path / "e.json").write_text(json.dumps({"accept": accept}))
    assert torch2grid("check", "ill.safetensors", "-q", cwd=tmp_path).returncode == 1
    done = torch2grid("check", "ill.safetensors", "--expect", "e.json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert "1 accepted" in done.stderr
    assert "note: T102 is accepted, but there is no such finding" in done.stderr
    done = torch2grid("check", "ill.safetensors", "--expect", "e.json", "--format", "json", "-q", cwd=tmp_path)
    (told,) = json.loads(done.stdout)["models"]
    assert told["status"] == "passed"
    assert told["findings"] == []
    assert [(each["code"], each["tensor"], each["reason"]) for each in told["accepted"]] == [
        ("T101", "norm.weight", "a sentinel of ours")
    ]
    accept[0]["tensor"] = "layers.*"
    (tmp_path / "e.json").write_text(json.dumps({"accept": accept}))
    assert torch2grid("check", "ill.safetensors", "--expect", "e.json", "-q", cwd=tmp_path).returncode == 1


def test_severities_of_the_line_go_before_those_of_the_file_and_off_is_no_finding(model: Path, tmp_path: Path) -> None:
    (tmp_path / "e.toml").write_text('tensors = 9\n[severity]\nT402 = "warning"\n')
    run = ("check", model, "--expect", "e.toml", "-q")
    assert torch2grid(*run, "--select", "T402", cwd=tmp_path).returncode == 0
    assert torch2grid(*run, "--select", "T402", "--fail-on", "warning", cwd=tmp_path).returncode == 1
    assert torch2grid(*run, "--severity", "expected=error", cwd=tmp_path).returncode == 1
    done = torch2grid(*run, "--severity", "T402=off,T3=off", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    done = torch2grid(*run, "--severity", "T999=off", cwd=tmp_path)
    assert done.returncode == 2
    assert "T999" in done.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("limitz: {}", "e.yaml:1: limitz: no expectation has that name; did you mean 'limits'?"),
        ("tensors: many", "e.yaml:1: tensors: expected a whole number, 0 or more"),
        ("tensors: 3\nshapes: {a: [-1]}", "e.yaml:2: shapes: a: expected a list of lengths"),
        ("limits: {a: {sdt: 1}}", "no figure 'sdt'; did you mean 'std'?"),
        ("limits: {a: {std: [2, 1]}}", "std: the least is more than the most"),
        ("limits: {a: {std: .nan}}", "std: expected the most that it may be"),
        ("accept: [{rule: T101}]", "entry 1: expected rule, tensor (a pattern; all unless given) and reason"),
        ("accept: [{rule: T999, reason: x}]", "no rule 'T999'"),
        ("severity: {T101: fatal}", "T101: expected error, warning, note or off"),
        ("- a", "e.yaml:1:"),
        ('severity: {"": off}', "severity: expected the code or the name of a rule"),
        ("required: ['a.{5..2}.w']", "{5..2} is an empty range: its first number is more than its last"),
        ("shapes: {'a.{1..0}': [1]}", "{1..0} is an empty range"),
        ("required: ['{0..999}{0..999}']", "stands for more than 100,000 names"),
        ("required: ['a.{0..1" + "0" * 5000 + "}']", "a number of too many digits"),
        ("dtypes: {a: 3}", "dtypes: a: expected a text, or a list of texts"),
    ],
)
def test_a_wrong_file_is_one_line_with_its_place(model: Path, tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "e.yaml").write_text(text)
    done = torch2grid("check", model, "--expect", "e.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert told in done.stderr


_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.sampled_from(["float32", "any", "T101", "off", ""]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "std", "rule", "reason"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(SCHEMA["properties"])), _values, max_size=3))
def test_the_schema_of_editors_says_what_the_reader_says(given_: dict[str, Any]) -> None:
    import tempfile

    fits = jsonschema.Draft202012Validator(SCHEMA).is_valid(given_)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "e.json"
        path.write_text(json.dumps(given_))
        try:
            read_expectations(str(path))
        except UsageError:
            assert not fits, given_
        else:
            assert fits, given_


def test_a_tied_tensor_has_the_limits_of_each_of_its_names_and_an_empty_one_has_none(tmp_path: Path) -> None:
    weight = torch.full((4, 4), 3.0)
    torch.save({"embed.weight": weight, "head.weight": weight, "none": torch.empty(0, 4)}, tmp_path / "tied.pth")
    path = tmp_path / "tied.pth"
    assert findings(path, {"limits": {"head.*": {"absmax": 2}}}) == [
        "head.weight: its absmax is 3, at most 2 is expected",
    ]
    assert findings(path, {"limits": {"embed.*": {"absmax": 2}, "head.*": {"absmax": 3}}}) == [
        "embed.weight: its absmax is 3, at most 2 is expected",
    ]
    assert findings(path, {"limits": {"none": {"absmax": 2, "mean": [0, 1], "zeros": [0.5, 1]}}}) == []
