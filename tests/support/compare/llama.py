"""A small Llama under the names, and in the forms, of the libraries that write it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

State = dict[str, torch.Tensor]

WITHIN = {
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
}
OUTSIDE = {"tok_embeddings": "model.embed_tokens", "norm": "model.norm", "output": "lm_head"}


@dataclass(frozen=True)
class Llama:
    """The sizes of a model, and its weights: ``meta`` as Meta and torchtitan have them, ``hf`` as Hugging Face has them."""

    hidden: int = 64
    heads: int = 4
    kv_heads: int = 2
    layers: int = 3
    inner: int = 96
    words: int = 100
    experts: int = 0
    seed: int = 0

    @property
    def head(self) -> int:
        return self.hidden // self.heads

    @property
    def config(self) -> dict[str, Any]:
        return {
            "model_type": "llama",
            "hidden_size": self.hidden,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
        }

    def meta(self) -> State:
        generator = torch.Generator().manual_seed(self.seed)

        def some(*shape: int) -> torch.Tensor:
            return torch.randn(shape, generator=generator)

        keys = self.kv_heads * self.head
        state = {"tok_embeddings.weight": some(self.words, self.hidden)}
        for layer in range(self.layers):
            shapes = {
                "attention.wq": (self.hidden, self.hidden),
                "attention.wk": (keys, self.hidden),
                "attention.wv": (keys, self.hidden),
                "attention.wo": (self.hidden, self.hidden),
                "attention_norm": (self.hidden,),
                "ffn_norm": (self.hidden,),
            }
            if not self.experts:
                shapes |= {
                    "feed_forward.w1": (self.inner, self.hidden),
                    "feed_forward.w2": (self.hidden, self.inner),
                    "feed_forward.w3": (self.inner, self.hidden),
                }
            state |= {f"layers.{layer}.{name}.weight": some(*shape) for name, shape in shapes.items()}
            if self.experts:
                state[f"layers.{layer}.moe.router.gate.weight"] = some(self.experts, self.hidden)
                for name, shape in (
                    ("w1", (self.inner, self.hidden)),
                    ("w2", (self.hidden, self.inner)),
                    ("w3", (self.inner, self.hidden)),
                ):
                    state[f"layers.{layer}.moe.experts.{name}"] = some(self.experts, *shape)
        return {**state, "norm.weight": some(self.hidden), "output.weight": some(self.words, self.hidden)}

    def hf(self) -> State:
        """What a right export makes of ``meta``."""
        state = {}
        for name, value in self.meta().items():
            first, _, rest = name.partition(".")
            if first != "layers":
                state[f"{OUTSIDE[first]}.weight"] = value
                continue
            layer, _, rest = rest.partition(".")
            rest = rest.removesuffix(".weight")
            if rest.startswith("moe.experts."):
                called = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}[rest[-2:]]
                for place, expert in enumerate(value):
                    state[f"model.layers.{layer}.mlp.experts.{place}.{called}.weight"] = expert.clone()
            elif rest == "moe.router.gate":
                state[f"model.layers.{layer}.mlp.gate.weight"] = value
            else:
                if rest in ("attention.wq", "attention.wk"):
                    value = halves(value, self.head)
                state[f"model.layers.{layer}.{WITHIN[rest]}.weight"] = value
        return state

    def save_hf(self, folder: Path, state: State | None = None, config: bool = True) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        chosen = self.hf() if state is None else state
        save_file({name: value.clone().contiguous() for name, value in chosen.items()}, folder / "model.safetensors")
        if config:
            (folder / "config.json").write_text(json.dumps(self.config))
        return folder


def halves(weight: torch.Tensor, head: int) -> torch.Tensor:
    """Rows of each head from pairs to halves: Meta's to Hugging Face's."""
    rows = weight.shape[0]
    return weight.reshape(rows // head, head // 2, 2, -1).transpose(1, 2).reshape(weight.shape).contiguous()


def pairs(weight: torch.Tensor, head: int) -> torch.Tensor:
    """The way back."""
    rows = weight.shape[0]
    return weight.reshape(rows // head, 2, head // 2, -1).transpose(1, 2).reshape(weight.shape).contiguous()


def fused_rows(state: State) -> State:
    """q, k and v one after the other in one tensor, gate and up in another, as Phi-3 has them."""
    made = {
        name: value
        for name, value in state.items()
        if not any(part in name for part in ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"))
    }
    for name in state:
        if "q_proj" in name:
            made[name.replace("q_proj", "qkv_proj")] = torch.cat(
                [state[name.replace("q_proj", f"{one}_proj")] for one in "qkv"]
            )
        if "gate_proj" in name:
            made[name.replace("gate_proj", "gate_up_proj")] = torch.cat(
                [state[name], state[name.replace("gate_proj", "up_proj")]]
            )
    return made


def fused_groups(state: State, kv_heads: int, head: int) -> State:
    """q, k and v group by group in ``query_key_value``, as Falcon and GPT-NeoX have them."""
    made = {name: value for name, value in state.items() if not any(part in name for part in ("q_proj", "k_proj", "v_proj"))}
    for name in state:
        if "q_proj" in name:
            parts = [
                state[name.replace("q_proj", f"{one}_proj")].reshape(kv_heads, -1, head, state[name].shape[1]) for one in "qkv"
            ]
            made[name.replace("q_proj", "query_key_value")] = torch.cat(parts, 1).reshape(-1, state[name].shape[1])
    return made
