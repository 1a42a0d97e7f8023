"""Plugins that misbehave, each a module's source; every one is broken in one way and right in all others."""

from __future__ import annotations

import textwrap


def _plugin(hook: str, body: str, *, head: str = "", returns: str = "[Bad]") -> str:
    homes = ("", ".grids", ".measures", ".pages", ".sources")
    imports = "".join(f"from torch2grid_core{home} import *\n" for home in homes)
    imports += "from torch2grid_core import hookimpl\nimport numpy as np\n"
    implementation = f"\n@hookimpl\ndef {hook}():\n    return {returns}\n"
    return head + imports + textwrap.dedent(body) + implementation


_LOADER = """
class Broken:
    size, shippable = 64, {shippable}
    def read_into(self, offset, buffer):
        {read}

class Bad(Loader):
    "a loader"
    name = "bad"
    def sniff(self, source):
        {sniff}
    def load(self, source):
        {load}
"""
_LOADED = "return Checkpoint([LazyTensor('w', (4, 4), np.dtype('float32'), Broken())], source=source.shown, format='bad')"


def _loader(
    sniff: str = "return 2 if source.head[:3] == b'BAD' else 0",
    load: str = _LOADED,
    read: str = "buffer[:] = bytes(len(buffer))",
    shippable: bool = True,
) -> str:
    return _plugin("torch2grid_loaders", _LOADER.format(sniff=sniff, load=load, read=read, shippable=shippable))


def _filter(keep: str) -> str:
    return _plugin(
        "torch2grid_filters",
        f"""
        class Bad(TensorFilter):
            "a filter"
            name = "bad"
            def keep(self, tensor):
                {keep}
        """,
    )


def _transformer(transform: str) -> str:
    return _plugin(
        "torch2grid_transformers",
        f"""
        class Bad(GridTransformer):
            "a transformer"
            name = "bad"
            def transform(self, tensors):
                {transform}
        """,
    )


def _view(pages: str, needs: str = "return {'all': Summary()}") -> str:
    return _plugin(
        "torch2grid_views",
        f"""
        class Bad(View):
            "a view"
            name = "bad"
            def needs(self, checkpoint, run):
                {needs}
            def pages(self, checkpoint, results, run):
                {pages}
        """,
    )


def _renderer(render: str) -> str:
    return _plugin(
        "torch2grid_renderers",
        f"""
        class Bad(Renderer):
            "a renderer"
            name = "bad"
            formats = ("bad",)
            def render(self, page, target, style, format):
                {render}
        """,
    )


def _rule(findings: str) -> str:
    return _plugin(
        "torch2grid_rules",
        f"""
        class Bad(Rule):
            "a rule"
            name, code = "bad", "X999"
            def findings(self, checkpoint, results, run):
                {findings}
        """,
    )


_GOOD = """
class Bad(GridTransformer):
    "ones, whatever the weights"
    name = "bad"
    def transform(self, tensors):
        return np.ones((2, 3))
"""

_GOOD_PLUGIN = _plugin("torch2grid_transformers", _GOOD, head="from dataclasses import dataclass\n")

SOURCES = {
    "sniff-raises": _loader(sniff="raise ValueError('no idea')"),
    "sniff-text": _loader(sniff="return 'yes'"),
    "load-raises": _loader(load="raise KeyError('header')"),
    "load-none": _loader(load="return None"),
    "read-raises": _loader(read="raise RuntimeError('the decoder is lost')"),
    "keep-raises": _filter("raise ZeroDivisionError('keep')"),
    "transform-raises": _transformer("raise IndexError('row 7')"),
    "transform-text": _transformer("return 'a picture'"),
    "pages-raise": _view("yield Page('one', 'One', (Text('fine'),)); raise OSError('page two')"),
    "pages-numbers": _view("return [1, 2]"),
    "pages-endless": _view("import itertools; return (Page('p', 'P', (), kind='table') for _ in itertools.count())"),
    "needs-text": _view("return []", needs="return {'all': 'everything'}"),
    "needs-hash": _view("return []", needs="return {'all': Summary(thresholds=[1e-3])}"),
    "transformer-hash": _GOOD_PLUGIN.replace("class Bad", "@dataclass\nclass Bad").replace(
        "    def", "    side: int = 3\n    def"
    ),
    "options-hint": _plugin(
        "torch2grid_views",
        """
        from dataclasses import dataclass, field
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from decimal import Decimal
        @dataclass(frozen=True)
        class Bad(View):
            "a view"
            name = "bad"
            share: "Decimal" = None
        """,
    ),
    "render-raises": _renderer("raise AttributeError('no canvas')"),
    "render-nothing": _renderer("return b'returned, not written'"),
    "rule-raises": _rule("raise ArithmeticError('rule')"),
    "rule-text": _rule("return ['it is bad']"),
    "rule-severity": _rule("return [Finding('is fine'), Finding('is bad', severity='awful')]"),
    "rule-message": _rule("return [Finding(message=7)]"),
    "rule-tensor": _rule("return [Finding('is bad', tensor=None)]"),
    "rule-index": _rule("return [Finding('is bad', 'w', index=3)]"),
    "rule-code-taken": _rule("return []").replace('"X999"', '"T101"'),
    "rule-import": _plugin("torch2grid_rules", "", returns="[Lazy('not_there:Bad', 'bad', 'a rule')]"),
    "ten-thousand": _plugin("torch2grid_transformers", _GOOD, returns="[Bad] * 10_000"),
    "prints": _plugin("torch2grid_transformers", _GOOD, head="print('hello from the plugin')\nprint('again')\n"),
    "slow": _plugin("torch2grid_transformers", _GOOD, head="import time\ntime.sleep(3)\n"),
    "newer-core": _plugin("torch2grid_transformers", _GOOD, head="requires_core = '>=99,<100'\n"),
    "lazy-broken": _plugin("torch2grid_transformers", "", returns="[Lazy('not_there:Bad', 'bad', 'a transformer')]"),
    "command-raises": _plugin(
        "torch2grid_commands",
        """
        import click
        class Bad(Command):
            "a command"
            name = "bad"
            def build(self):
                return click.Command(self.name, callback=lambda: {}["missing"])
        """,
    ),
    "event-raises": """
from torch2grid_core import hookimpl
@hookimpl
def torch2grid_written(page, path, run):
    raise ConnectionError("the logger is away")
""",
}
