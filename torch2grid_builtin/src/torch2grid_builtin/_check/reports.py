"""What was found, as a report: text, JSON, JUnit's XML, and what the neighbours write."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Sequence

from torch2grid_builtin._check.annotations import as_github, as_sarif
from torch2grid_builtin._check.checked import Checked, is_failure
from torch2grid_builtin._check.documents import as_html, as_markdown
from torch2grid_core import Rule, Severity
from torch2grid_core.commands import Found
from torch2grid_core.text import counted, visible

_LINES = 50  # of one rule in one model that are shown as text
_ALONE = 3  # tensors that have a line each, and that the line about more of them names
_LIMIT = 1000


def as_text(checked: Sequence[Checked], rules: Sequence[Rule], fail_on: Severity, verbose: bool = False) -> str:
    """A line a finding: ``model.pth: T101 error layer.weight[3, 17]: 1 of 4,096 weights is NaN (nan)``.

    What a rule finds in many tensors alike is one line: ``model.pth: T101 error 51 of 53 tensors are all NaN: a, b, c and 48
    more (nan)``. Notes come last. verbose: those lines are followed by each of their findings, and none is cut.
    """
    lines = []
    for each in checked:
        model = visible(each.model)
        for rule, notes in [*((rule, False) for rule in rules), *((rule, True) for rule in rules)]:
            found = [one for one in each.found if one.code == rule.code and (one.severity == "note") == notes]
            told = [f"{model}: {text}" for text in _told(found, rule, each, verbose)]
            lines += told if verbose else told[:_LINES]
            if len(told) > _LINES and not verbose:
                lines.append(f"{model}: {rule.code} … and {len(told) - _LINES:,} more; --verbose lists all")
    return "".join(f"{line}\n" for line in lines)


def _told(found: Sequence[Found], rule: Rule, checked: Checked, verbose: bool) -> Iterator[str]:
    """The lines about what one rule found, those that say the same of many tensors together, where the first of them stood."""
    groups: dict[tuple[str, str, str], list[Found]] = {}
    for finding in found:
        groups.setdefault((finding.severity, _said_of_many(finding, rule), finding.part), []).append(finding)
    tensors_of = {key: list(dict.fromkeys(each.tensor or each.message for each in group)) for key, group in groups.items()}
    seen = set()
    for finding in found:
        key = (finding.severity, _said_of_many(finding, rule), finding.part)
        names = tensors_of[key]
        if not key[1] or len(names) <= _ALONE:
            yield f"{finding.code} {finding.severity}{_place(finding)}: {visible(finding.message, _LIMIT)} ({finding.rule})"
        elif key not in seen:
            seen.add(key)
            tensors = 0 if checked.checkpoint is None else len(checked.checkpoint)
            said, also, rest = key[1].partition("; ")
            rest = visible(rest.replace("{first}", finding.message), _LIMIT)
            first = ", ".join(visible(name, _LIMIT) for name in names[:_ALONE])
            what = f"{len(names):,} of {counted(tensors, 'tensor')} {visible(said, _LIMIT)}"
            what = f"{what}: {first} and {len(names) - _ALONE:,} more{_part(finding)}"
            if not finding.tensor:  # it is about what is not there
                what = f"{counted(len(names), 'tensor')} {said}"
            yield f"{finding.code} {finding.severity}{'' if finding.tensor else ':'} {what}{also}{rest} ({finding.rule})"
            for each in groups[key] if verbose else ():
                message = visible(each.message, _LIMIT)
                yield f"{each.code} {each.severity}{_place(each)}: {message} ({each.rule})"


def _said_of_many(finding: Found, rule: Rule) -> str:
    """What is said of several tensors with such a finding, empty where they are not told together."""
    patterns = ((pattern, said) for pattern, said in rule.together.items() if pattern or finding.tensor)
    said = next((said for pattern, said in patterns if re.search(pattern, finding.message)), "")
    return said or ("" if rule.together or not finding.tensor else f"have the same finding; {finding.message}")


def _place(finding: Found) -> str:
    return f" {visible(finding.place, _LIMIT)}{_part(finding)}" if finding.tensor else ""


def _part(finding: Found) -> str:
    """Which part of the file the finding is in, where there are several."""
    return f" (part {visible(finding.part, 60)})" if finding.part else ""


def as_json(checked: Sequence[Checked], rules: Sequence[Rule], fail_on: Severity) -> str:
    """One object: the rules, and each model with its findings or its error."""
    models = []
    for each in checked:
        entry: dict[str, object] = {"model": visible(each.model, _LIMIT), "status": _status(each, fail_on)}
        if each.checkpoint is None:
            entry["error"] = each.error
        else:
            entry.update(format=each.checkpoint.format, tensors=len(each.checkpoint), parameters=each.checkpoint.parameters)
            entry.update(verdict=each.verdict, rules_run=each.rules, numbers=each.numbers)
        if each.broken:
            entry["rules_failed"] = dict(each.broken)
        entry.update(errors=each.count("error"), warnings=each.count("warning"), notes=each.count("note"))
        entry["findings"] = [
            {
                "code": finding.code,
                "rule": finding.rule,
                "severity": finding.severity,
                "tensor": finding.tensor or None,
                "part": finding.part or None,
                "index": None if finding.index is None else list(finding.index),
                "message": visible(finding.message, _LIMIT),
            }
            for finding in each.found
        ]
        entry["accepted"] = [
            {
                "code": finding.code,
                "rule": finding.rule,
                "tensor": finding.tensor or None,
                "message": visible(finding.message, _LIMIT),
            }
            | {"reason": visible(reason, _LIMIT)}
            for finding, reason in each.accepted
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
        if each.checkpoint is not None:
            about = {"verdict": each.verdict, "rules_run": each.rules, "numbers": each.numbers, "tensors": len(each.checkpoint)}
            properties = ElementTree.SubElement(suite, "properties")
            for key, value in about.items():
                ElementTree.SubElement(properties, "property", name=key, value=str(value))
        if each.error:
            case = ElementTree.SubElement(suite, "testcase", classname=name, name="read")
            ElementTree.SubElement(case, "error", message=visible(each.error, _LIMIT))
        for unusable in sorted(set(each.broken) - {rule.code for rule in rules}):  # never got as far as to have a code
            case = ElementTree.SubElement(suite, "testcase", classname=name, name=unusable)
            ElementTree.SubElement(case, "error", message=visible(each.broken[unusable], _LIMIT))
        for rule in () if each.error else rules:
            case = ElementTree.SubElement(suite, "testcase", classname=name, name=f"{rule.code} {rule.name}")
            found = [finding for finding in each.found if finding.code == rule.code]
            failing = [finding for finding in found if is_failure(finding, fail_on)]
            failures += bool(failing)
            if rule.code in each.broken:
                ElementTree.SubElement(case, "error", message=visible(each.broken[rule.code], _LIMIT))
            for finding in failing[:1]:
                failure = ElementTree.SubElement(case, "failure", type=finding.severity, message=_line(finding))
                failure.text = "\n".join(map(_line, failing))
            if len(found) > len(failing):
                rest = [_line(finding) for finding in found if not is_failure(finding, fail_on)]
                ElementTree.SubElement(case, "system-out").text = "\n".join(rest)
        counts = (len(suite.findall("testcase")), failures, int(bool(each.error)) + len(each.broken))
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
        suite.attrib.update(zip(("tests", "failures", "errors"), map(str, counts), strict=True))
    root.attrib.update(zip(("tests", "failures", "errors"), map(str, totals), strict=True))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _line(finding: Found) -> str:
    place = f"{visible(finding.place, _LIMIT)}{_part(finding)}: " if finding.tensor else ""
    return f"{place}{visible(finding.message, _LIMIT)}"


REPORTS: dict[str, Callable[[Sequence[Checked], Sequence[Rule], Severity], str]] = {
    "text": as_text,
    "json": as_json,
    "junit": as_junit,
    "sarif": as_sarif,
    "github": as_github,
    "markdown": as_markdown,
    "html": as_html,
}
