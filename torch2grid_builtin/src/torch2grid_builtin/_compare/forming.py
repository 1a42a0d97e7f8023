"""The forms in which the pieces of two checkpoints are read, so that they are the same: parts, turned, rotary rows.

Settings say how long heads are and how they are grouped; where none do, the shapes of the other side, or a few rows of both.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch2grid_builtin._compare.equal import equal
from torch2grid_builtin._compare.forms import Form, Grouped, Index, Rotary, Rows, Transposed, Unfit, through
from torch2grid_builtin._compare.maps import GROUPED, IN_TURN
from torch2grid_builtin._compare.sides import Part, Side, is_part
from torch2grid_core import LazyTensor

_HEADS = (128, 64, 256, 96, 80, 32, 192, 112, 16)  # rows of a head that models have, the usual ones first
_TRIED = 32  # tensors of which one may tell
_LEAD = 64  # rows that are read, at least, to find out


class Forming:
    """Finds the forms of pieces of *one* and *two*. common: the names that both have.

    head: rows of a head, where they mattered and are known; head_said: by what.
    """

    def __init__(self, one: Side, two: Side) -> None:
        self.one, self.two = one, two
        self.common: list[str] = []
        self.head: int | None = None
        self.head_said = ""
        self._given_up = False

    def formed(
        self, side: Side, part: Part, words: Sequence[str], other: Side, partner: Part
    ) -> tuple[tuple[Form, ...], LazyTensor]:
        """The forms in which a piece is read as *words* say, and what they make of its tensor. Raises ``Unfit``."""
        tensor = side.checkpoint[part.stored]
        if words and tensor.taken is not None:
            raise Unfit("a slice of a tensor is not put together otherwise")
        forms: tuple[Form, ...] = ()
        for word in words:
            try:
                form = self._form(word, tensor, side, part, other, partner)
            except Unfit:
                if word == "rotary":  # it is compared as it is, and differs
                    form = Rotary(2)
                else:
                    raise
            steps = form if isinstance(form, tuple) else (form,)
            tensor, forms = through(tensor, steps), (*forms, *steps)
        return forms, tensor

    def _form(
        self, word: str, tensor: LazyTensor, side: Side, part: Part, other: Side, partner: Part
    ) -> Form | tuple[Form, ...]:
        if word == "turned":
            return Transposed()
        if word == "expert":
            turned = self._turned(side, part)
            return (Index(part.place), Transposed()) if turned else Index(part.place)
        if word in ("gate", "up"):
            return self._half(word, tensor, side)
        if word in ("q", "k", "v"):
            return self._third(word, tensor, side, part, other)
        return Rotary(self.head_of(side, tensor, other.checkpoint[partner.stored], False))

    def _turned(self, side: Side, part: Part) -> bool:
        """Whether a stack has its matrices as [in, out]: of gate and up in one, told by the way back that belongs to it."""
        for one, two in (("gate_up_proj", "down_proj"), ("w13_weight", "w2_weight")):
            pair = (
                (part.stored, part.stored.replace(one, two))
                if one in part.stored
                else (part.stored.replace(two, one), part.stored)
            )
            if pair[0] != pair[1] and all(name in side.checkpoint for name in pair):
                gate, down = (side.checkpoint[name].shape for name in pair)
                if len(gate) == len(down) == 3:
                    return gate[1] == down[2] and gate[2] == 2 * down[1]
        return False

    def _half(self, word: str, tensor: LazyTensor, side: Side) -> Form:
        rows = tensor.shape[0] if tensor.ndim else 0
        if rows % 2 or not rows:
            raise Unfit(f"{rows} rows are not gate and up")
        kinds = {each.kind for each in (self.one.facts, self.two.facts) if each}
        if kinds & {*IN_TURN}:
            return Rows(int(word == "up"), rows, rows, step=2)
        half = rows // 2
        return Rows(0, half, rows) if word == "gate" else Rows(half, rows, rows)

    def _third(self, word: str, tensor: LazyTensor, side: Side, part: Part, other: Side) -> Form:
        rows = tensor.shape[0] if tensor.ndim else 0
        stated = [each for each in (side.facts, other.facts) if each is not None]
        facts = next((each for each in stated if each.rows == rows), None)
        kind = next((each.kind for each in stated if each.kind), "")
        grouped = kind in GROUPED if kind else bool(part.rule and part.rule.grouped)
        if grouped and not (facts is not None and facts.one_kv):
            if facts is None:
                raise Unfit(f"{rows} rows of q, k and v in groups, and no configuration that says how many heads")
            each = facts.heads // facts.kv_heads
            at = {"q": (0, each), "k": (each, each + 1), "v": (each + 1, each + 2)}[word]
            return Grouped(facts.kv_heads, each + 2, facts.head, *at)
        sizes = [facts.heads * facts.head, facts.kv_heads * facts.head] if facts else self._sizes(part, other, rows)
        ends = [0, sizes[0], sizes[0] + sizes[1], sizes[0] + 2 * sizes[1]]
        place = "qkv".index(word)
        return Rows(ends[place], ends[place + 1], rows)

    def _sizes(self, part: Part, other: Side, rows: int) -> list[int]:
        """Rows of q and of k, as the other file has them; a third each where it does not."""
        found = []
        for key, each in (self.one if other is self.two else self.two).parts.items():
            if each.stored == part.stored:
                partner = other.parts.get(key)
                if partner is not None and not is_part(partner.words) and other.checkpoint[partner.stored].ndim:
                    found.append(other.checkpoint[partner.stored].shape[0])
        if len(found) == 3 and sum(found) == rows and found[1] == found[2]:
            return found[:2]
        if rows % 3:
            raise Unfit(f"{rows} rows of q, k and v, and no configuration that says how many heads")
        return [rows // 3, rows // 3]

    def head_of(self, side: Side, tensor: LazyTensor, partner: LazyTensor, back: bool) -> int:
        """Rows of a head: as it is stated; where nothing states it, that with which the two are the same."""
        rows = tensor.shape[0] if tensor.ndim else 0
        other = self.two if side is self.one else self.one
        for facts in (side.facts, other.facts):
            if facts is not None and facts.head % 2 == 0 and rows % facts.head == 0:
                self.head, self.head_said = facts.head, f"stated by {facts.said}"
                return facts.head
        if self.head is not None and rows % self.head == 0:
            return self.head
        fitting = heads_of(rows)
        if not fitting:
            raise Unfit(f"{rows} rows are not a number of heads")
        if not self._given_up:
            self._given_up = True
            self._find_head([(tensor, partner, back)])
            if self.head is not None and rows % self.head == 0:
                return self.head
        self.head_said = "not known: nothing states it, and none of those tried fits"
        return fitting[0]

    def _find_head(self, tried: list[tuple[LazyTensor, LazyTensor, bool]]) -> None:
        """The length with which matrices in pairs are the same as their partners, from the first of which that is so."""
        for key in self.common:
            one, two = self.one.parts[key], self.two.parts[key]
            for side, part, other, partner in ((self.one, one, self.two, two), (self.two, two, self.one, one)):
                if part.words == ("rotary",) and not partner.words:
                    tried.append((side.checkpoint[part.stored], other.checkpoint[partner.stored], False))
        for tensor, partner_tensor, back in [each for each in tried if each[0].ndim > 1][:_TRIED]:
            if tensor.shape == partner_tensor.shape:
                fitting = heads_of(tensor.shape[0])
                found = [head for head in fitting if _fits(tensor, partner_tensor, head, back)]
                if len(found) == 1:  # of equal rows any length fits, and says nothing
                    self.head, self.head_said = found[0], "found by trying: nothing states it"
                    return


def heads_of(rows: int) -> list[int]:
    """Lengths that heads of so many rows can have, the usual ones first; of two rows, any order is the same."""
    every = [head for head in range(4, min(rows, 512) + 1, 2) if rows % head == 0]
    return [*(head for head in _HEADS if head in every), *(head for head in every if head not in _HEADS)]


def _fits(tensor: LazyTensor, partner: LazyTensor, head: int, back: bool) -> bool:
    """Whether the first heads are the same once they are permuted."""
    lead = slice(0, min(head * -(-_LEAD // head), tensor.shape[0]))
    return equal(Rotary(head, back).of(tensor.view(lead)), partner.view(lead))
