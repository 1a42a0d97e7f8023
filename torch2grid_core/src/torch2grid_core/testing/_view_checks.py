"""What a view promises: needs by value, pages of plain data, nothing kept between runs."""

from __future__ import annotations

import pickle
from typing import Any

from torch2grid_core._data.checkpoint import Checkpoint
from torch2grid_core._engine.planning import needs_of
from torch2grid_core._errors import NotDrawable
from torch2grid_core._guard import returned
from torch2grid_core._kinds.view import View
from torch2grid_core._pictures.page import Page, Table
from torch2grid_core._plugins.manager import PluginManager
from torch2grid_core._text import did_you_mean
from torch2grid_core.testing._samples import PicklingExecutor, as_texts, draw, sample_checkpoints, settings
from torch2grid_core.testing._subject import ADVICE, Subject, check, expect


@check("view", "rule")
def needs_are_values(subject: Subject) -> None:
    """Needs are a mapping of key to need, hashable, and equal when they are asked for again: so views share one pass."""
    instance, run = subject.make(), settings()
    for about, checkpoint in subject.checkpoints.items():
        distinct = checkpoint.with_tensors([tensor.distinct() for tensor in checkpoint.values()])
        try:
            chosen = instance.subject(distinct, run)
        except NotDrawable:
            continue
        expect(isinstance(chosen, Checkpoint), returned("subject", chosen, "a Checkpoint"))
        asked: list[tuple[Any, ...]] = [(instance.needs, chosen, run)]
        if subject.kind == "view":
            asked += [(instance.tensor_needs, tensor, run) for tensor in chosen.values()]
        for method, *arguments in asked:
            try:
                first, second = (needs_of(instance, method, *arguments, whole=method == instance.needs) for _ in range(2))
            except NotDrawable:
                continue
            expect(all(isinstance(key, str) for key in first), f"{about}: a key of {method.__name__} is not a text")
            told = "; a need is a dataclass(frozen=True), which equals another of the same fields"
            expect(first == second, f"{about}: {method.__name__} answers differently when it is asked again{told}")
            for key, need in first.items():
                expect(hash(need) == hash(second[key]), f"{about}: {key!r} hashes differently when it is asked for again")


@check("view")
def every_input_is_drawn(subject: Subject) -> None:
    """Empty, single-number, odd-dtype, not-finite, constant, expanded and oddly named tensors are drawn or passed over."""
    for about, checkpoint in subject.checkpoints.items():
        for page in draw(checkpoint, subject.make(), settings()) or ():
            for panel in page.panels:
                table = panel.as_table()
                expect(isinstance(table, Table), f"{about}: as_table of {type(panel).__name__} is {type(table).__name__}")
                wide = [len(row) for row in table.texts() if len(row) != len(table.columns)]
                expect(not wide, f"{about}: a row of {wide[:1]} cells under {len(table.columns)} columns")


@check("view")
def something_is_drawn(subject: Subject) -> None:
    """A page that shows something comes of one sample: of its own, where samples= gives some. declines=True: of none."""
    if subject.declines:
        return
    tried = subject.meant_for if subject.samples else subject.checkpoints
    drawn = [page for checkpoint in tried.values() for page in draw(checkpoint, subject.make(), settings()) or ()]
    expect(not drawn or any(page.panels for page in drawn), "no page has a panel: Page(name, title, (panel, …))")
    if not drawn:
        about = ", ".join(name[:60] for name in tried)
        expect(False, f"no page comes of any sample ({about})" + ("" if subject.samples else ADVICE))
    shown = any(panel.as_table().rows for page in drawn for panel in page.panels)
    expect(shown, "every panel of every page is empty" + ("" if subject.samples else ADVICE))


@check("view")
def pages_have_their_own_names(subject: Subject) -> None:
    """No two pages of a run share folder and name: the second would overwrite the first; kinds are known."""
    for about, checkpoint in subject.checkpoints.items():
        pages = draw(checkpoint, subject.make(), settings()) or []
        names = [(page.folder, page.name, page.formats) for page in pages]
        expect(len(set(names)) == len(names), f"{about}: two pages share a name: {sorted(names)[:4]}")
        for page in pages:
            expect(page.kind in ("picture", "table"), f"{about}: page {page.name!r} is of kind {page.kind!r}")
            expect(isinstance(page.title, str), f"{about}: the title of {page.name!r} is {type(page.title).__name__}")
            expect(not page.folder.startswith("/") and ".." not in page.folder.split("/"), f"{about}: folder {page.folder!r}")
    usual = subject.make().default_format
    expect(isinstance(usual, str), "default_format is not a text")
    if usual not in ("text", View.default_format):
        own = subject.provided.record.provides("renderer") if subject.provided is not None else []
        known = {*PluginManager.discover().formats(), *(each for one in own for each in one.facts.get("formats", ()))}
        expect(usual in known, f"default_format {usual!r} is written by no renderer{did_you_mean(usual, {'text', *known})}")


def _texts(pages: list[Page] | None) -> list[Any] | None:
    return None if pages is None else [as_texts(page) for page in pages]


@check("view")
def deterministic(subject: Subject) -> None:
    """The same checkpoint gives the same pages, and other checkpoints in between leave no trace: a view is stateless."""
    samples, view = sample_checkpoints(), subject.make()
    for about, checkpoint in subject.meant_for.items():
        first = _texts(draw(checkpoint, view, settings()))
        draw(samples["scalars"], view, settings())
        draw(samples["not_finite"], view, settings())
        expect(_texts(draw(checkpoint, view, settings())) == first, f"{about}: a second run gives other pages")
        expect(_texts(draw(checkpoint, subject.make(), settings())) == first, f"{about}: another instance differs")


@check("view")
def works_in_workers(subject: Subject) -> None:
    """Tasks and pages survive pickle, and drawing tensors in other processes gives the same pages."""
    samples = sample_checkpoints()
    for about, checkpoint in {"dtypes": samples["dtypes"], "names": samples["names"], **subject.meant_for}.items():
        here = draw(checkpoint, subject.make(), settings())
        away = draw(checkpoint, subject.make(), settings(), PicklingExecutor())
        expect(_texts(away) == _texts(here), f"{about}: pages drawn in workers differ")
        for page in here or ():
            expect(as_texts(pickle.loads(pickle.dumps(page))) == as_texts(page), f"{about}: a pickled page differs")
