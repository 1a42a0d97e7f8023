"""What ``torch2grid check`` writes to stdout: lines, JSON, or JUnit's XML."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch2grid_core import Checkpoint, Found, Rule, Severity, visible

_LINES = 50  # findings of one rule in one model that are shown as text
_LIMIT = 1000


@dataclass(frozen=True)
class Checked:
    """One model and what was found in it. checkpoint: ``None`` for a file that could not be read, for the reason *error*.

    broken: code of each rule that failed itself (its name, where it could not even be made) → why; what the others found is
    there all the same.
    """

    model: str
    checkpoint: Checkpoint | None = None
    found: tuple[Found, ...] = ()
    error: str = ""
    broken: Mapping[str, str] = field(default_factory=dict)

    def fails(self, fail_on: Severity) -> bool:
        """True where a finding is as severe as *fail_on*."""
        return any(_fails(each, fail_on) for each in self.found)

    def count(self, severity: Severity) -> int:
        """Findings of one severity."""
        return sum(each.severity == severity for each in self.found)

    @property
    def verdict(self) -> str:
        """``2 errors, 1 warning``, or ``clean``."""
        counts = ((self.count("error"), "error"), (self.count("warning"), "warning"))
        told = [f"{count} {word}{'s' if count > 1 else ''}" for count, word in counts if count]
        told += [f"{len(self.broken)} of the rules failed"] if self.broken else []
        return ", ".join(told) or "clean"


def _fails(found: Found, fail_on: Severity) -> bool:
    return found.severity == "error" or fail_on == "warning"


def as_text(checked: Sequence[Checked], rules: Sequence[Rule], fail_on: Severity) -> str:
    """A line a finding: ``model.pth: T101 error layer.weight[3, 17]: 1 of 4,096 weights is NaN (nan)``."""
    lines = []
    for each in checked:
        model = visible(each.model)
        for rule in rules:
            found = [finding for finding in each.found if finding.code == rule.code]
            for finding in found[:_LINES]:
                place = f" {visible(finding.place, _LIMIT)}" if finding.tensor else ""
                message = visible(finding.message, _LIMIT)
                lines.append(f"{model}: {finding.code} {finding.severity}{place}: {message} ({finding.rule})")
            if len(found) > _LINES:
                lines.append(f"{model}: {rule.code} … and {len(found) - _LINES:,} more; --format json lists all")
    return "".join(f"{line}\n" for line in lines)


def as_json(checked: Sequence[Checked], rules: Sequence[Rule], fail_on: Severity) -> str:
    """One object: the rules, and each model with its findings or its error."""
    models = []
    for each in checked:
        entry: dict[str, object] = {"model": visible(each.model, _LIMIT), "status": _status(each, fail_on)}
        if each.checkpoint is None:
            entry["error"] = each.error
        else:
            entry.update(format=each.checkpoint.format, tensors=len(each.checkpoint), parameters=each.checkpoint.parameters)
        if each.broken:
            entry["rules_failed"] = dict(each.broken)
        entry.update(errors=each.count("error"), warnings=each.count("warning"))
        entry["findings"] = [
            {
                "code": finding.code,
                "rule": finding.rule,
                "severity": finding.severity,
                "tensor": finding.tensor or None,
                "index": None if finding.index is None else list(finding.index),
                "message": visible(finding.message, _LIMIT),
            }
            for finding in each.found
        ]
        models.append(entry)
    document = {
        "format": "torch2grid check 1",
        "fail_on": fail_on,
        "rules": [{"code": rule.code, "name": rule.name, "severity": rule.severity} for rule in rules],
        "models": models,
    }
    return json.dumps(document, indent=1) + "\n"


def _status(checked: Checked, fail_on: Severity) -> str:
    if checked.error:
        return "unreadable"
    if checked.broken:
        return "incomplete"
    return "failed" if checked.fails(fail_on) else "passed"


def as_junit(checked: Sequence[Checked], rules: Sequence[Rule], fail_on: Severity) -> str:
    """JUnit's XML: a suite for each model and a case for each rule; what is below *fail_on* is its output, not a failure."""
    root = ElementTree.Element("testsuites", name="torch2grid check")
    totals = [0, 0, 0]
    for each in checked:
        name = visible(each.model, _LIMIT)
        suite = ElementTree.SubElement(root, "testsuite", name=name)
        failures = 0
        if each.error:
            case = ElementTree.SubElement(suite, "testcase", classname=name, name="read")
            ElementTree.SubElement(case, "error", message=visible(each.error, _LIMIT))
        for unusable in sorted(set(each.broken) - {rule.code for rule in rules}):  # never got as far as to have a code
            case = ElementTree.SubElement(suite, "testcase", classname=name, name=unusable)
            ElementTree.SubElement(case, "error", message=visible(each.broken[unusable], _LIMIT))
        for rule in () if each.error else rules:
            case = ElementTree.SubElement(suite, "testcase", classname=name, name=f"{rule.code} {rule.name}")
            found = [finding for finding in each.found if finding.code == rule.code]
            failing = [finding for finding in found if _fails(finding, fail_on)]
            failures += bool(failing)
            if rule.code in each.broken:
                ElementTree.SubElement(case, "error", message=visible(each.broken[rule.code], _LIMIT))
            for finding in failing[:1]:
                failure = ElementTree.SubElement(case, "failure", type=finding.severity, message=_line(finding))
                failure.text = "\n".join(map(_line, failing))
            if len(found) > len(failing):
                rest = [_line(finding) for finding in found if not _fails(finding, fail_on)]
                ElementTree.SubElement(case, "system-out").text = "\n".join(rest)
        counts = (len(suite), failures, int(bool(each.error)) + len(each.broken))
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
        suite.attrib.update(zip(("tests", "failures", "errors"), map(str, counts), strict=True))
    root.attrib.update(zip(("tests", "failures", "errors"), map(str, totals), strict=True))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _line(finding: Found) -> str:
    place = f"{visible(finding.place, _LIMIT)}: " if finding.tensor else ""
    return f"{place}{visible(finding.message, _LIMIT)}"


REPORTS: dict[str, Callable[[Sequence[Checked], Sequence[Rule], Severity], str]] = {
    "text": as_text,
    "json": as_json,
    "junit": as_junit,
}
