"""Findings for the services that run checks: SARIF 2.1.0 and annotations of GitHub's workflows."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

from torch2grid_builtin._check.checked import Checked
from torch2grid_builtin._check.expectations import SEVERITIES
from torch2grid_core import Rule, Severity
from torch2grid_core.commands import Found
from torch2grid_core.text import visible

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LIMIT = 1000
_UNREADABLE = "unreadable"
_COMMANDS = {"error": "error", "warning": "warning", "note": "notice"}
_MOST_ANNOTATIONS = 50  # of a model; a service shows few, and the rest is counted


def as_sarif(checked: Sequence[Checked], rules: Sequence[Rule], fail_on: Severity) -> str:
    """One run, by the Static Analysis Results Interchange Format 2.1.0: a location is a file and, in it, a tensor."""
    from importlib.metadata import version

    described: list[dict[str, Any]] = [
        {
            "id": rule.code,
            "name": "".join(word.capitalize() for word in rule.name.split("_")),
            "shortDescription": {"text": (type(rule).__doc__ or rule.name).strip().partition("\n")[0]},
            "defaultConfiguration": {"level": rule.severity},
        }
        for rule in rules
    ]
    numbers = {rule.code: place for place, rule in enumerate(rules)}
    results = [result for each in checked for result in _results(each, numbers)]
    broken = [
        {"level": "error", "message": {"text": f"{visible(each.model, _LIMIT)}: {visible(told, _LIMIT)}"}}
        for each in checked
        for told in (*((each.error,) if each.error else ()), *each.broken.values())
    ]
    invocation: dict[str, Any] = {"executionSuccessful": not broken}
    if broken:
        invocation["toolExecutionNotifications"] = broken
    driver = {"name": "torch2grid", "version": version("torch2grid-builtin"), "rules": described}
    run = {"tool": {"driver": driver}, "invocations": [invocation], "columnKind": "unicodeCodePoints", "results": results}
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _results(checked: Checked, numbers: dict[str, int]) -> Iterator[dict[str, Any]]:
    for each in checked.found:
        yield _result(checked, each, numbers)
    for each, reason in checked.accepted:
        suppressed = {"kind": "external", "status": "accepted", "justification": visible(reason, _LIMIT)}
        yield {**_result(checked, each, numbers), "suppressions": [suppressed]}


def _result(checked: Checked, found: Found, numbers: dict[str, int]) -> dict[str, Any]:
    location: dict[str, Any] = {"physicalLocation": {"artifactLocation": {"uri": _uri(checked.model)}}}
    if found.tensor:
        place = {"name": visible(found.place, _LIMIT), "fullyQualifiedName": visible(found.tensor, _LIMIT), "kind": "object"}
        location["logicalLocations"] = [place]
    where = f"{visible(found.place, _LIMIT)}: " if found.tensor else ""
    key = "\0".join((found.code, found.tensor, found.part))
    return {
        "ruleId": found.code,
        **({"ruleIndex": numbers[found.code]} if found.code in numbers else {}),
        "level": found.severity,
        "message": {"text": f"{where}{visible(found.message, _LIMIT)}"},
        "locations": [location],
        "partialFingerprints": {"torch2grid/1": hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()},
    }


def _uri(model: str) -> str:
    """A relative or absolute path as the reference that RFC 3986 makes of it; a location as it is."""
    from urllib.parse import quote

    if "://" in model:
        return quote(visible(model, _LIMIT), safe="/:@!$&'()*+,;=~-._")
    path = model.replace(os.sep, "/")
    path = "/" + path.lstrip("/") if path.startswith("//") else path  # two would begin the name of a host
    # What stands before a colon would be a scheme; a file's name may hold any byte.
    return quote(os.fsencode(path), safe="/@!$&'()*+,;=~-._")


def as_github(checked: Sequence[Checked], rules: Sequence[Rule], fail_on: Severity) -> str:
    """Workflow commands, a line a finding: ``::error file=a.pth,title=T101 nan::fc.weight[3, 1]: 1 of 9 weights is NaN``."""
    lines = []
    for each in checked:
        file = _property(visible(each.model, _LIMIT))
        if each.error:
            lines.append(f"::error file={file},title={_UNREADABLE}::{_data(visible(each.error, _LIMIT))}")
        for told in each.broken.values():
            lines.append(f"::error file={file},title=a rule failed::{_data(visible(told, _LIMIT))}")
        ordered = sorted(each.found, key=lambda found: SEVERITIES.index(found.severity))
        for found in ordered[:_MOST_ANNOTATIONS]:
            where = f"{visible(found.place, _LIMIT)}: " if found.tensor else ""
            title = _property(f"{found.code} {found.rule}")
            lines.append(
                f"::{_COMMANDS[found.severity]} file={file},title={title}::{_data(where + visible(found.message, _LIMIT))}"
            )
        if len(ordered) > _MOST_ANNOTATIONS:
            lines.append(f"::notice file={file}::and {len(ordered) - _MOST_ANNOTATIONS:,} more findings")
        if not each.error:
            lines.append(f"::notice file={file},title=torch2grid check::{_data(each.verdict)}")
    return "".join(f"{line}\n" for line in lines)


def _data(text: str) -> str:
    """As a workflow command's message: a line end would begin another command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
