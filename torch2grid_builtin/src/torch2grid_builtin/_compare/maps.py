"""What libraries call the same tensor, and how each stores it: all of it as rules, in this one place.

A rule has the name that a library writes, and the pieces that are stored under it, by names that all libraries have in common
here. ``{n}`` is a layer, ``{e}`` an expert, ``{p}`` ``weight`` or ``bias``, ``{x}`` the module that it is in; ``{e}`` in a
piece alone: the experts are stacked in one tensor. The pieces of a rule are the whole of the tensor, each weight once, so that
a rule can be followed both ways. A piece's forms are followed from left to right:

- ``rotary``: q and k whose rows are in pairs, as Meta has them; in common, a head's rows are in halves.
- ``q``, ``k``, ``v``: parts of one tensor, its heads one kind after the other, or group by group (``QKV``).
- ``gate``, ``up``: the first and the second half of the rows of each matrix, ``even`` and ``odd`` every second row.
- ``expert``: the matrix of one expert. ``turned``: stored as the transpose.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

# Architectures of llama.cpp whose converter puts the rows of q and k into pairs.
_GGUF_PAIRS = ("llama", "granite", "granitemoe", "minicpm", "deci")
# Models whose fused tensor has the heads of q, k and v group by group; of others they come one kind after the other.
GROUPED = ("gpt_neox", "bloom", "falcon", "internlm2", "gpt_neox_japanese", "persimmon", "megatron", "gpt_bigcode")
# What the projections of attention are called: those of q, k and v, what holds all three, and the way out, the first that is
# there; what begins with ".." stands beside the module.
TRIOS = (
    ("q_proj", "k_proj", "v_proj"),
    ("query", "key", "value"),
    ("wq", "wk", "wv"),
    ("to_q", "to_k", "to_v"),
    ("attn_q", "attn_k", "attn_v"),
    ("q_lin", "k_lin", "v_lin"),
    ("query_proj", "key_proj", "value_proj"),
    ("linear_q", "linear_k", "linear_v"),
    ("q", "k", "v"),
    ("W_Q", "W_K", "W_V"),
)
FUSED = (
    *("qkv_proj", "Wqkv", "wqkv", "in_proj_weight", "c_attn", "query_key_value", "qkv", "to_qkv", "attn_qkv", "linear_qkv"),
    "W_pack",
)
WAYS_OUT = (
    *("o_proj", "out_proj", "wo", "c_proj", "to_out.0", "to_out", "attn_output", "out_lin", "linear_out", "linear_proj"),
    *("dense", "proj", "o", "W_O", "..output.dense"),
)
# Of these names of fused tensors, q, k and v lie group by group where no configuration tells.
FUSED_GROUPED = ("query_key_value", "linear_qkv")
# Models whose fused tensor has another order still.
OTHER_ORDER = ("codegen",)
# What the router of a mixture is called, in the module that holds the experts.
ROUTERS = (
    *("gate", "router", "router.layer", "router.classifier", "router.gate", "gate.wg", "ffn_gate_inp", "gate_network"),
    *("wg", "deepspeed_moe.gate.wg"),
)
# Models whose experts have the rows of gate and up in turn.
IN_TURN = ("gpt_oss",)


@dataclass(frozen=True)
class Piece:
    """A tensor by the common name, and the forms through which it is read from the stored one."""

    name: str
    forms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rule:
    """One stored tensor. grouped: where the configuration does not tell, q, k and v lie group by group."""

    stored: str
    pieces: tuple[Piece, ...]
    grouped: bool = False


@dataclass(frozen=True)
class Map:
    """The names of one library. sign: a stored name that tells them; without: a name that tells another map.

    pairs: from the metadata of the checkpoint, whether q and k are in pairs.
    """

    said: str
    sign: str
    rules: tuple[Rule, ...]
    without: str = ""
    pairs: Callable[[Mapping[str, Any]], bool] = lambda _: True


def _is(stored: str, common: str, *forms: str) -> Rule:
    return Rule(stored, (Piece(common, forms),))


def _parts(stored: str, pieces: Mapping[str, tuple[str, ...]], grouped: bool = False) -> Rule:
    return Rule(stored, tuple(Piece(name, forms) for name, forms in pieces.items()), grouped)


def _qkv(
    stored: str, module: str, *, last: str = "weight", first: tuple[str, ...] = (), pairs: bool = False, grouped: bool = False
) -> Rule:
    turn = ("rotary",) if pairs else ()
    names = {f"{module}{one}_proj.{last}": (*first, one, *(turn if one != "v" else ())) for one in "qkv"}
    return _parts(stored, names, grouped)


_LAYER, _ATTENTION, _EXPERT = "layers.{n}.", "layers.{n}.self_attn.", "layers.{n}.mlp.experts.{e}."

_OUTSIDE = (
    _is("tok_embeddings.weight", "embed_tokens.weight"),
    _is("output.weight", "lm_head.weight"),
)
_META_LAYER = (
    _is("layers.{n}.attention.wv.{p}", _ATTENTION + "v_proj.{p}"),
    _is("layers.{n}.attention.wo.{p}", _ATTENTION + "o_proj.{p}"),
    _is("layers.{n}.attention_norm.{p}", _LAYER + "input_layernorm.{p}"),
    _is("layers.{n}.ffn_norm.{p}", _LAYER + "post_attention_layernorm.{p}"),
    *(
        _is(f"layers.{{n}}.{module}.{one}.{{p}}", f"{_LAYER}mlp.{two}.{{p}}")
        for module in ("feed_forward", "mlp")
        for one, two in (("w1", "gate_proj"), ("w2", "down_proj"), ("w3", "up_proj"))
    ),
    *(
        rule
        for module in ("moe", "mlp")
        for rule in (
            _is(f"layers.{{n}}.{module}.experts.w1", _EXPERT + "gate_proj.weight", "expert"),
            _is(f"layers.{{n}}.{module}.experts.w2", _EXPERT + "down_proj.weight", "expert"),
            _is(f"layers.{{n}}.{module}.experts.w3", _EXPERT + "up_proj.weight", "expert"),
            _is(f"layers.{{n}}.{module}.router.gate.{{p}}", _LAYER + "mlp.gate.{p}"),
            _is(f"layers.{{n}}.{module}.expert_bias", _LAYER + "mlp.gate.e_score_correction_bias"),
            *(
                _is(f"layers.{{n}}.{module}.{shared}.{one}.weight", f"{_LAYER}mlp.shared_experts.{two}.weight")
                for shared in ("shared_experts", "shared_expert")
                for one, two in (("w1", "gate_proj"), ("w2", "down_proj"), ("w3", "up_proj"))
            ),
        )
    ),
    _parts("layers.{n}.feed_forward.w13.{p}", {_LAYER + "mlp.gate_proj.{p}": ("gate",), _LAYER + "mlp.up_proj.{p}": ("up",)}),
    _is("layers.{n}.feed_forward.gate.weight", _LAYER + "mlp.gate.weight"),
    *(
        _is(f"layers.{{n}}.feed_forward.experts.{{e}}.{one}.weight", f"{_EXPERT}{two}.weight")
        for one, two in (("w1", "gate_proj"), ("w2", "down_proj"), ("w3", "up_proj"))
    ),
)

_META = Map(
    "Meta's or torchtitan's",
    "layers.{n}.attention.wo.weight",
    (
        *_OUTSIDE,
        _is("layers.{n}.attention.wq.{p}", _ATTENTION + "q_proj.{p}", "rotary"),
        _is("layers.{n}.attention.wk.{p}", _ATTENTION + "k_proj.{p}", "rotary"),
        *(_qkv(f"layers.{{n}}.attention.wqkv.{last}", _ATTENTION, last=last, pairs=True) for last in ("weight", "bias")),
        *_META_LAYER,
    ),
    without="layers.{n}.attention.(q_norm|wkv_a).weight",
)
_TITAN_NORMED = Map(
    "torchtitan's (q and k normalised)",
    "layers.{n}.attention.q_norm.weight",
    (
        *_OUTSIDE,
        _is("layers.{n}.attention.wq.{p}", _ATTENTION + "q_proj.{p}"),
        _is("layers.{n}.attention.wk.{p}", _ATTENTION + "k_proj.{p}"),
        _is("layers.{n}.attention.q_norm.weight", _ATTENTION + "q_norm.weight"),
        _is("layers.{n}.attention.k_norm.weight", _ATTENTION + "k_norm.weight"),
        *_META_LAYER,
    ),
    without="layers.{n}.attention.wkv_a.weight",
)
_TITAN_LATENT = Map(
    "torchtitan's of a model with latent attention",
    "layers.{n}.attention.wkv_a.weight",
    (
        *_OUTSIDE,
        _is("layers.{n}.attention.wq.weight", _ATTENTION + "q_proj.weight"),
        _is("layers.{n}.attention.wq_a.weight", _ATTENTION + "q_a_proj.weight"),
        _is("layers.{n}.attention.wq_b.weight", _ATTENTION + "q_b_proj.weight"),
        _is("layers.{n}.attention.q_norm.weight", _ATTENTION + "q_a_layernorm.weight"),
        _is("layers.{n}.attention.wkv_a.weight", _ATTENTION + "kv_a_proj_with_mqa.weight"),
        _is("layers.{n}.attention.wkv_b.weight", _ATTENTION + "kv_b_proj.weight"),
        _is("layers.{n}.attention.kv_norm.weight", _ATTENTION + "kv_a_layernorm.weight"),
        *_META_LAYER,
    ),
)
_GGUF = Map(
    "llama.cpp's",
    "blk.{n}.attn_output.weight",
    (
        _is("token_embd.weight", "embed_tokens.weight"),
        _is("output_norm.{p}", "norm.{p}"),
        _is("output.weight", "lm_head.weight"),
        _is("blk.{n}.attn_q.{p}", _ATTENTION + "q_proj.{p}", "rotary"),
        _is("blk.{n}.attn_k.{p}", _ATTENTION + "k_proj.{p}", "rotary"),
        _is("blk.{n}.attn_v.{p}", _ATTENTION + "v_proj.{p}"),
        *(_qkv(f"blk.{{n}}.attn_qkv.{last}", _ATTENTION, last=last) for last in ("weight", "bias")),
        _is("blk.{n}.attn_output.{p}", _ATTENTION + "o_proj.{p}"),
        _is("blk.{n}.attn_q_norm.weight", _ATTENTION + "q_norm.weight"),
        _is("blk.{n}.attn_k_norm.weight", _ATTENTION + "k_norm.weight"),
        _is("blk.{n}.attn_norm.{p}", _LAYER + "input_layernorm.{p}"),
        _is("blk.{n}.ffn_norm.{p}", _LAYER + "post_attention_layernorm.{p}"),
        _is("blk.{n}.ffn_gate.{p}", _LAYER + "mlp.gate_proj.{p}"),
        _is("blk.{n}.ffn_up.{p}", _LAYER + "mlp.up_proj.{p}"),
        _is("blk.{n}.ffn_down.{p}", _LAYER + "mlp.down_proj.{p}"),
        _is("blk.{n}.ffn_gate_inp.weight", _LAYER + "mlp.gate.weight"),
        _is("blk.{n}.ffn_gate_exps.weight", _EXPERT + "gate_proj.weight", "expert"),
        _is("blk.{n}.ffn_up_exps.weight", _EXPERT + "up_proj.weight", "expert"),
        _is("blk.{n}.ffn_down_exps.weight", _EXPERT + "down_proj.weight", "expert"),
    ),
    pairs=lambda metadata: metadata.get("general.architecture") in _GGUF_PAIRS,
)
_GPT2 = Map(
    "GPT-2's",
    "h.{n}.attn.c_attn.weight",
    (
        _is("wte.weight", "embed_tokens.weight"),
        _is("wpe.weight", "embed_positions.weight"),
        _is("ln_f.{p}", "norm.{p}"),
        _is("h.{n}.ln_1.{p}", _LAYER + "input_layernorm.{p}"),
        _is("h.{n}.ln_2.{p}", _LAYER + "post_attention_layernorm.{p}"),
        _qkv("h.{n}.attn.c_attn.weight", _ATTENTION, first=("turned",)),
        _qkv("h.{n}.attn.c_attn.bias", _ATTENTION, last="bias"),
        _is("h.{n}.attn.c_proj.weight", _ATTENTION + "o_proj.weight", "turned"),
        _is("h.{n}.attn.c_proj.bias", _ATTENTION + "o_proj.bias"),
        *(
            rule
            for one, two in (("c_fc", "up_proj"), ("c_proj", "down_proj"))
            for rule in (
                _is(f"h.{{n}}.mlp.{one}.weight", f"{_LAYER}mlp.{two}.weight", "turned"),
                _is(f"h.{{n}}.mlp.{one}.bias", f"{_LAYER}mlp.{two}.bias"),
            )
        ),
    ),
)
# What may be fused, stacked or called otherwise within Hugging Face's names, and in any other module.
_ANYWHERE = Map(
    "Hugging Face's",
    "",
    (
        *(
            _is(f"layers.{{n}}.block_sparse_moe.experts.{{e}}.{one}.weight", f"{_EXPERT}{two}.weight")
            for one, two in (("w1", "gate_proj"), ("w2", "down_proj"), ("w3", "up_proj"))
        ),
        _is("layers.{n}.block_sparse_moe.gate.weight", _LAYER + "mlp.gate.weight"),
        _is("layers.{n}.feed_forward.router.weight", _LAYER + "mlp.gate.weight"),
        *(
            _is(f"layers.{{n}}.feed_forward.shared_expert.{one}.weight", f"{_LAYER}mlp.shared_experts.{one}.weight")
            for one in ("gate_proj", "up_proj", "down_proj")
        ),
        *(
            rule
            for module in ("mlp", "feed_forward", "block_sparse_moe")
            for last in ("", ".weight")
            for rule in (
                _parts(
                    f"layers.{{n}}.{module}.experts.gate_up_proj{last}",
                    {_EXPERT + "gate_proj.weight": ("expert", "gate"), _EXPERT + "up_proj.weight": ("expert", "up")},
                ),
                _is(f"layers.{{n}}.{module}.experts.down_proj{last}", _EXPERT + "down_proj.weight", "expert"),
                _is(f"layers.{{n}}.{module}.experts.gate_proj{last}", _EXPERT + "gate_proj.weight", "expert"),
                _is(f"layers.{{n}}.{module}.experts.up_proj{last}", _EXPERT + "up_proj.weight", "expert"),
            )
        ),
        *(
            rule
            for module in ("mlp", "feed_forward", "block_sparse_moe")
            for rule in (
                _parts(
                    f"layers.{{n}}.{module}.experts.w13_weight",
                    {_EXPERT + "gate_proj.weight": ("expert", "gate"), _EXPERT + "up_proj.weight": ("expert", "up")},
                ),
                _is(f"layers.{{n}}.{module}.experts.w2_weight", _EXPERT + "down_proj.weight", "expert"),
            )
        ),
        _parts("{x}gate_up_proj.{p}", {"{x}gate_proj.{p}": ("gate",), "{x}up_proj.{p}": ("up",)}),
        _parts("{x}w13.{p}", {"{x}gate_proj.{p}": ("gate",), "{x}up_proj.{p}": ("up",)}),
        *(
            rule
            for last in ("weight", "bias")
            for rule in (
                _qkv(f"{{x}}qkv_proj.{last}", "{x}", last=last),
                _qkv(f"{{x}}Wqkv.{last}", "{x}", last=last),
                _qkv(f"{{x}}in_proj_{last}", "{x}", last=last),
                _qkv(f"{{x}}query_key_value.{last}", "{x}", last=last, grouped=True),
                _is(f"{{x}}query.{last}", f"{{x}}q_proj.{last}"),
                _is(f"{{x}}key.{last}", f"{{x}}k_proj.{last}"),
                _is(f"{{x}}value.{last}", f"{{x}}v_proj.{last}"),
            )
        ),
    ),
)

MAPS = (_META, _TITAN_NORMED, _TITAN_LATENT, _GGUF, _GPT2)
ANYWHERE = _ANYWHERE

_HOLES = {"n": r"\d{1,7}", "e": r"\d{1,7}", "p": "weight|bias", "x": r"(?:[^.]+\.)*"}


@lru_cache(maxsize=1024)
def pattern(stored: str) -> re.Pattern[str]:
    """What matches the whole name *stored* with its holes filled; what stands before is the group ``before``."""
    text = re.escape(stored).replace(r"\(", "(?:").replace(r"\)", ")").replace(r"\|", "|")
    for hole, what in _HOLES.items():
        text = text.replace(rf"\{{{hole}\}}", f"(?P<{hole}>{what})", 1)
    return re.compile(rf"(?P<before>(?:[^.]+\.)*?){text}\Z")


def filled(name: str, held: Mapping[str, str]) -> str:
    """The common *name* with its holes filled as those of the stored one were, but for a hole that only it has."""
    for hole, value in held.items():
        name = name.replace("{" + hole + "}", value)
    return f"{held.get('before', '')}{name}"
