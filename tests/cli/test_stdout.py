"""``--output -``: data on stdout, everything else on stderr."""

from __future__ import annotations

import csv
import io
import json

import pytest
from tests.support.tools import DIGITS, torch2grid

COLUMNS = ["Layer Name", "Mean", "Std", "Min", "Max", "~Zero%"]


def test_the_statistics_as_json_and_csv(tmp_path):
    done = torch2grid(DIGITS, "--stats", "--format", "json", "-o", "-", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (table,) = json.loads(done.stdout)["panels"]
    assert table["columns"] == COLUMNS
    assert [row[0] for row in table["rows"]][:2] == ["conv1.weight", "conv1.bias"]
    assert done.stderr.count("\n") == 1  # the summary line
    done = torch2grid(DIGITS, "--stats", "--format", "csv", "-o", "-", "-q", cwd=tmp_path)
    rows = list(csv.reader(io.StringIO(done.stdout)))
    assert rows[0] == COLUMNS
    assert [[row[0], *map(float, row[1:])] for row in rows[1:]] == [[str(row[0]), *row[1:]] for row in table["rows"]]
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_text_is_what_no_format_means(tmp_path):
    plain = torch2grid(DIGITS, "--stats", cwd=tmp_path)
    assert torch2grid(DIGITS, "--stats", "-o", "-", cwd=tmp_path).stdout == plain.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_picture(tmp_path):
    done = torch2grid(DIGITS, "--format", "json", "-o", "-", cwd=tmp_path)
    assert json.loads(done.stdout)["panels"][0]["kind"] == "heatmap"


def test_several_pages_in_one_object(tmp_path):
    done = torch2grid(DIGITS, "--stats", "--dead-neurons", "--format", "json", "-o", "-", cwd=tmp_path)
    formats = [page["format"] for page in json.loads(done.stdout)["pages"]]
    assert formats.count("torch2grid page 1") == 3
    assert formats.count("torch2grid dead neurons 1") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([DIGITS, "--stats", "--format", "json,csv"], "takes one format"),
        ([DIGITS, DIGITS, "--stats"], "takes one model"),
        ([DIGITS, "--layers", "--format", "png"], "takes one picture"),
        ([DIGITS, "--stats", "--format", "yaml"], "unknown format"),
    ],
)
def test_what_stdout_does_not_take(tmp_path, words, said):
    done = torch2grid(*words, "-o", "-", cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []
