"""Reports of ``check`` for services and people: each holds every finding, and nothing that a name smuggles in."""

from __future__ import annotations

import base64
import io
import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit
from xml.etree import ElementTree

import jsonschema
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file
from tests.support.renderers.browser import chromium
from tests.support.tools import torch2grid

EVIL = "a,b::error file=x::\n<img src=x onerror=alert(1)> | [x](http://y) `c`"
SCHEMA = os.environ.get("TORCH2GRID_SARIF_SCHEMA", "")  # sarif-schema-2.1.0.json of OASIS; it is not copied here


@pytest.fixture
def ill(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    weights = rng.normal(size=(40, 60)).astype(np.float32) * 0.02
    weights[20, 30] = np.nan
    other = rng.normal(size=(40, 60)).astype(np.float32)
    other[0, 0] = np.inf
    save_file({"fc.weight": weights, EVIL: other, "empty": np.empty(0, np.float32)}, tmp_path / "ill model.safetensors")
    return tmp_path


def reports(folder: Path, *words: str) -> tuple[int, dict[str, str]]:
    names = ("json", "junit", "sarif", "github", "markdown", "html")
    formats = ",".join(["text", *(f"{name}=out/{name}" for name in names)])
    done = torch2grid("check", "ill model.safetensors", "-q", "--format", formats, *words, cwd=folder)
    return done.returncode, {"text": done.stdout, **{name: (folder / "out" / name).read_text() for name in names}}


def test_every_report_has_every_finding_and_files_are_written_beside_the_text(ill: Path) -> None:
    code, found = reports(ill)
    assert code == 1
    for name, text in found.items():
        assert "T101" in text, name
        assert "fc.weight" in text.replace("\\", ""), name
        assert "T102" in text, name
        assert "T302" in text, name
        assert "\x1b" not in text, name


def test_a_workflow_command_is_one_line_and_no_name_begins_another(ill: Path) -> None:
    lines = reports(ill)[1]["github"].splitlines()
    assert len(lines) == 4
    for line in lines:
        assert re.match(r"::(error|warning|notice) file=ill model\.safetensors,title=[^:,]*::", line)
    assert lines[0].endswith("::fc.weight[20, 30]: 1 of 2,400 weights is NaN")


def test_markdown_shows_names_as_they_are(ill: Path) -> None:
    text = reports(ill)[1]["markdown"]
    rows = [line for line in text.splitlines() if line.startswith("| T")]
    assert len(rows) == 3
    for row in rows:
        assert len(re.findall(r"(?<!\\)\|", row)) == 5
    assert "<img" not in text.replace("\\<img", "")


def test_markdown_calls_nobody_and_links_nowhere(tmp_path: Path) -> None:
    names = [
        "@someone",
        "a@b.example",
        "https://evil.example/x",
        "WWW.evil.example",
        "owner/r#12",
        "GH-3",
        "a|b`@c``d",
        "&lt;",
        "&#x202e;",
    ]
    save_file({name: np.full(3, np.nan, np.float32) for name in names}, tmp_path / "m.safetensors")
    done = torch2grid("check", "m.safetensors", "--select", "T101", "--format", "markdown", "-q", cwd=tmp_path)
    rows = [line for line in done.stdout.splitlines() if line.startswith("| T")]
    assert len(rows) == len(names)
    places = [re.split(r"(?<!\\)\|", row)[3].strip() for row in rows]
    shown = [re.sub(r"\\(.)|`([^`]+)`", lambda found: found[1] or found[2], place) for place in places]
    assert sorted(shown) == sorted(f"{name}[0]" for name in names)
    for row in rows:
        assert len(re.findall(r"(?<!\\)\|", row)) == 5
        plain = re.sub(r"\\[^#@:w]|`[^`]+`", " ", row)  # nothing is linked in code
        assert not re.search(r"@|://|www\.|#\d|GH-|(?<!\\)&", plain, re.IGNORECASE), row


@pytest.mark.skipif(os.name == "nt", reason="these are no names there")
def test_a_uri_of_sarif_is_the_path_whatever_it_holds(tmp_path: Path) -> None:
    names = [
        "a:b c#?%41.safetensors",
        "back\\slash.safetensors",
        "line\n.safetensors",
        "ü.safetensors",
        "raw\udcff.safetensors",
    ]
    for name in names:
        save_file({"a": np.full(3, np.nan, np.float32)}, tmp_path / "m.safetensors")
        (tmp_path / "m.safetensors").rename(tmp_path / name)
    done = torch2grid("check", *names, f"/{tmp_path}/{names[0]}", "--format", "sarif", "-q", cwd=tmp_path)
    uris = [
        result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        for result in json.loads(done.stdout)["runs"][0]["results"]
    ]
    found = [urlsplit(uri) for uri in uris]
    assert all((each.scheme, each.netloc, each.query, each.fragment) == ("", "", "", "") for each in found)
    paths = dict.fromkeys(os.fsdecode(unquote_to_bytes(each.path)) for each in found)
    assert list(paths) == [*names, f"{tmp_path}/{names[0]}"]


def test_a_picture_of_numbers_that_float32_cannot_hold_says_nothing_on_stderr(tmp_path: Path) -> None:
    weights = np.full((20, 20), 1e300)
    weights[0, 0] = np.nan
    np.save(tmp_path / "m.npy", weights)
    done = torch2grid("check", "m.npy", "--format", "html", "-q", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_finding_about_all_of_a_matrix_has_a_picture_of_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(40, 4, 150)).astype(np.float32)
    rows[7] = rows[2]
    save_file({"fc.weight": rows}, tmp_path / "ill.safetensors")
    done = torch2grid("check", "ill.safetensors", "-q", "--select", "T202", "--format", "html", cwd=tmp_path)
    (told,) = re.findall("<figcaption>(.*?)</figcaption>", done.stdout)
    assert told.startswith("all 160 rows and 150 columns, a cell the mean of 2×2 weights; from ")
    (data,) = re.findall(r'<img alt="the weights of fc.weight" src="data:image/png;base64,(.*?)">', done.stdout)
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.size == (75 * 6, 80 * 6)


def test_sarif_is_what_its_schema_says(ill: Path) -> None:
    (ill / "e.json").write_text('{"accept": [{"rule": "T302", "reason": "always empty"}]}')
    document = json.loads(reports(ill, "--expect", "e.json")[1]["sarif"])
    (run,) = document["runs"]
    assert [result["ruleId"] for result in run["results"]] == ["T101", "T102", "T302"]
    first, _, accepted = run["results"]
    assert first["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "ill%20model.safetensors"
    assert first["locations"][0]["logicalLocations"][0]["name"] == "fc.weight[20, 30]"
    assert accepted["suppressions"][0]["justification"] == "always empty"
    rules = run["tool"]["driver"]["rules"]
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in run["results"])
    assert len({result["partialFingerprints"]["torch2grid/1"] for result in run["results"]}) == 3
    if SCHEMA:
        schema = json.loads(Path(SCHEMA).read_text())
        jsonschema.validators.validator_for(schema)(schema).validate(document)


def test_a_file_that_cannot_be_read_is_a_failed_run_in_sarif(tmp_path: Path) -> None:
    (tmp_path / "no.pth").write_bytes(b"nothing")
    done = torch2grid("check", "no.pth", "--format", "sarif", cwd=tmp_path)
    (run,) = json.loads(done.stdout)["runs"]
    assert done.returncode == 2
    assert run["invocations"][0]["executionSuccessful"] is False
    assert "no.pth" in run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]


def test_the_page_shows_the_place_and_runs_nothing(ill: Path) -> None:
    reports(ill)
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 390, "height": 800})
        told: list[Any] = []
        page.on("dialog", lambda dialog: (told.append(dialog.message), dialog.dismiss()))
        page.on("console", lambda message: told.append(message.text))
        page.on("request", lambda request: None if request.url.startswith(("file:", "data:")) else told.append(request.url))
        page.goto((ill / "out" / "html").rename(ill / "out" / "found.html").as_uri())
        assert told == []
        assert page.locator("tr").count() == 4
        assert page.locator("figure img").count() == 2
        assert "rows 4–35, columns 14–45" in page.locator("figcaption").first.inner_text()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_note_comes_last_and_fails_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    weights = rng.normal(size=(40, 60)).astype(np.float32)
    weights[20, 30] = np.nan
    tensors = {"fc.weight": weights, "fc.bias": rng.normal(size=40).astype(np.float16), "z": np.empty(0, np.float32)}
    save_file(tensors, tmp_path / "ill model.safetensors")
    _, found = reports(tmp_path)
    lines = [line.split()[2:4] for line in found["text"].splitlines()]
    assert lines == [["T101", "error"], ["T302", "warning"], ["T301", "note"]]
    assert [line.partition(" ")[0] for line in found["github"].splitlines()] == ["::error", "::warning", "::notice", "::notice"]
    assert [each["level"] for each in json.loads(found["sarif"])["runs"][0]["results"]] == ["error", "warning", "note"]
    (model,) = json.loads(found["json"])["models"]
    assert (model["errors"], model["warnings"], model["notes"]) == (1, 1, 1)
    assert model["verdict"] == "1 error, 1 warning, 1 note"
    assert re.findall(r"^\| (T\d+)", found["markdown"], re.MULTILINE) == ["T101", "T302", "T301"]
    assert re.findall(r'<td class="(\w+)">', found["html"]) == ["error", "warning", "note"]
    (case,) = [
        each for each in ElementTree.fromstring(found["junit"]).iter("testcase") if each.get("name") == "T301 mixed_dtypes"
    ]
    assert [each.tag for each in case] == ["system-out"]
    of_note = ("check", "ill model.safetensors", "--select", "T301", "--fail-on", "warning")
    done = torch2grid(*of_note, cwd=tmp_path)
    assert (done.returncode, done.stderr.rpartition(": ")[2]) == (0, "1 note\n")
    assert torch2grid(*of_note, "--severity", "T301=warning", cwd=tmp_path).returncode == 1
    done = torch2grid("check", "ill model.safetensors", "-q", "--severity", "T1=note,T3=off", cwd=tmp_path)
    assert (done.returncode, done.stdout.split()[3]) == (0, "note")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("xml", "no report 'xml'"),
        ("json,text", "one report alone goes to stdout"),
        ("json=", "needs a file"),
        ("json=a,json=b", "is named twice"),
        (",", "names no report"),
    ],
)
def test_formats_that_make_no_sense_are_usage_errors(ill: Path, given: str, told: str) -> None:
    done = torch2grid("check", "ill model.safetensors", "--format", given, cwd=ill)
    assert done.returncode == 2
    assert told in done.stderr.replace("\n  ", " ")
