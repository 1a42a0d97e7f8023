"""The shapes of tensors of networks as people have them: what layouts and sheets are judged by."""

from __future__ import annotations

import math
from collections.abc import Mapping

Shapes = dict[str, tuple[int, ...]]


def stack(prefix: str, count: int, each: Mapping[str, tuple[int, ...]]) -> Shapes:
    """*count* layers of the same tensors."""
    return {f"{prefix}.{layer}.{name}": shape for layer in range(count) for name, shape in each.items()}


def transformer(width: int = 128, keys: int = 32, inner: int = 352, layers: int = 22, words: int = 2000) -> Shapes:
    """A language model as Llama is built."""
    each = {
        "input_layernorm.weight": (width,),
        "self_attn.q_proj.weight": (width, width),
        "self_attn.k_proj.weight": (keys, width),
        "self_attn.v_proj.weight": (keys, width),
        "self_attn.o_proj.weight": (width, width),
        "post_attention_layernorm.weight": (width,),
        "mlp.gate_proj.weight": (inner, width),
        "mlp.up_proj.weight": (inner, width),
        "mlp.down_proj.weight": (width, inner),
    }
    first: Shapes = {"model.embed_tokens.weight": (words, width)}
    return first | stack("model.layers", layers, each) | {"model.norm.weight": (width,), "lm_head.weight": (words, width)}


def mixture(width: int = 128, inner: int = 448, layers: int = 4, experts: int = 8, words: int = 2000) -> Shapes:
    """A mixture of experts as Mixtral is built, each matrix a tensor."""
    each: Shapes = {
        "self_attn.q_proj.weight": (width, width),
        "self_attn.o_proj.weight": (width, width),
        "moe.gate.weight": (experts, width),
    }
    for expert in range(experts):
        each |= {
            f"moe.experts.{expert}.w1.weight": (inner, width),
            f"moe.experts.{expert}.w2.weight": (width, inner),
            f"moe.experts.{expert}.w3.weight": (inner, width),
        }
    each |= {"input_layernorm.weight": (width,), "post_attention_layernorm.weight": (width,)}  # behind the experts
    return {"model.embed.weight": (words, width)} | stack("model.layers", layers, each) | {"head.weight": (words, width)}


def stacked_mixture(width: int = 128, inner: int = 320, layers: int = 4, experts: int = 8) -> Shapes:
    """The same with the experts of a layer in one tensor, and one projection for Q, K and V."""
    each = {
        "attn.in_proj_weight": (3 * width, width),
        "attn.in_proj_bias": (3 * width,),
        "attn.out_proj.weight": (width, width),
        "moe.experts.gate_up_proj": (experts, width, 2 * inner),
        "moe.experts.down_proj": (experts, inner, width),
    }
    return {"embed.weight": (1000, width)} | stack("layers", layers, each) | {"head.weight": (1000, width)}


_NORM = ("weight", "bias", "running_mean", "running_var")


def convolutional(width: int = 16, classes: int = 1000, blocks: tuple[int, ...] = (2, 2, 2, 2)) -> Shapes:
    """A residual network of 18 layers, or of more blocks."""
    shapes: Shapes = {"conv1.weight": (width, 3, 7, 7)} | {f"bn1.{leaf}": (width,) for leaf in _NORM}
    inputs = width
    for stage, count in enumerate(blocks):
        out = width * 2**stage
        for block in range(count):
            stem = f"layer{stage + 1}.{block}"
            for index, channels in ((1, inputs), (2, out)):
                shapes[f"{stem}.conv{index}.weight"] = (out, channels, 3, 3)
                shapes |= {f"{stem}.bn{index}.{leaf}": (out,) for leaf in _NORM}
            if out != inputs:
                shapes[f"{stem}.downsample.0.weight"] = (out, inputs, 1, 1)
                shapes |= {f"{stem}.downsample.1.{leaf}": (out,) for leaf in _NORM}
            inputs = out
    return shapes | {"fc.weight": (classes, inputs), "fc.bias": (classes,)}


def bottlenecks(width: int = 64, blocks: tuple[int, ...] = (3, 4, 6, 3)) -> Shapes:
    """A residual network of 50 layers as torchvision builds it."""
    shapes: Shapes = {"conv1.weight": (width, 3, 7, 7)} | {f"bn1.{leaf}": (width,) for leaf in _NORM}
    inputs = width
    for stage, count in enumerate(blocks):
        middle = width * 2**stage
        for block in range(count):
            stem = f"layer{stage + 1}.{block}"
            sides = ((middle, inputs, 1, 1), (middle, middle, 3, 3), (4 * middle, middle, 1, 1))
            for index, shape in enumerate(sides, 1):
                shapes[f"{stem}.conv{index}.weight"] = shape
                shapes |= {f"{stem}.bn{index}.{leaf}": shape[:1] for leaf in _NORM}
            if block == 0:
                shapes[f"{stem}.downsample.0.weight"] = (4 * middle, inputs, 1, 1)
                shapes |= {f"{stem}.downsample.1.{leaf}": (4 * middle,) for leaf in _NORM}
            inputs = 4 * middle
    return shapes | {"fc.weight": (1000, inputs), "fc.bias": (1000,)}


def vgg() -> Shapes:
    """VGG of 16 layers as torchvision builds it."""
    shapes: Shapes = {}
    inputs, place = 3, 0
    for count, width in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
        for _ in range(count):
            shapes |= {f"features.{place}.weight": (width, inputs, 3, 3), f"features.{place}.bias": (width,)}
            inputs, place = width, place + 2
        place += 1
    for place, side in ((0, (4096, 25088)), (3, (4096, 4096)), (6, (1000, 4096))):
        shapes |= {f"classifier.{place}.weight": side, f"classifier.{place}.bias": side[:1]}
    return shapes


def densenet(blocks: tuple[int, ...] = (6, 12, 24, 16), growth: int = 32) -> Shapes:
    """DenseNet of 121 layers as torchvision builds it: each layer has more inputs than the one before."""
    channels = 2 * growth
    shapes: Shapes = {"features.conv0.weight": (channels, 3, 7, 7)} | {f"features.norm0.{leaf}": (channels,) for leaf in _NORM}
    for block, count in enumerate(blocks, 1):
        for layer in range(1, count + 1):
            stem = f"features.denseblock{block}.denselayer{layer}"
            for index, (shape, norm) in enumerate(
                (((4 * growth, channels, 1, 1), channels), ((growth, 4 * growth, 3, 3), 4 * growth)), 1
            ):
                shapes |= {f"{stem}.norm{index}.{leaf}": (norm,) for leaf in _NORM} | {f"{stem}.conv{index}.weight": shape}
            channels += growth
        if block < len(blocks):
            stem = f"features.transition{block}"
            shapes |= {f"{stem}.norm.{leaf}": (channels,) for leaf in _NORM}
            shapes[f"{stem}.conv.weight"] = (channels // 2, channels, 1, 1)
            channels //= 2
    shapes |= {f"features.norm5.{leaf}": (channels,) for leaf in _NORM}
    return shapes | {"classifier.weight": (1000, channels), "classifier.bias": (1000,)}


def efficientnet(wider: float = 1.0, deeper: float = 1.0) -> Shapes:
    """EfficientNet B0, or a larger one: depthwise convolutions with gates of their channels."""
    shapes: Shapes = {}

    def convolution(stem: str, shape: tuple[int, ...]) -> None:
        shapes[f"{stem}.0.weight"] = shape
        shapes.update({f"{stem}.1.{leaf}": shape[:1] for leaf in _NORM})

    def channels(count: int) -> int:
        return max(8, int(count * wider + 4) // 8 * 8)

    inputs = channels(32)
    convolution("features.0", (inputs, 3, 3, 3))
    stages = (
        (1, 3, 16, 1),
        (6, 3, 24, 2),
        (6, 5, 40, 2),
        (6, 3, 80, 3),
        (6, 5, 112, 3),
        (6, 5, 192, 4),
        (6, 3, 320, 1),
    )
    for stage, (times, side, width, count) in enumerate(stages, 1):
        for block in range(math.ceil(count * deeper)):
            stem, wide, step, few = f"features.{stage}.{block}.block", inputs * times, int(times > 1), inputs // 4
            if step:
                convolution(f"{stem}.0", (wide, inputs, 1, 1))
            convolution(f"{stem}.{step}", (wide, 1, side, side))
            gates = f"{stem}.{step + 1}"
            shapes |= {f"{gates}.fc1.weight": (few, wide, 1, 1), f"{gates}.fc1.bias": (few,)}
            shapes |= {f"{gates}.fc2.weight": (wide, few, 1, 1), f"{gates}.fc2.bias": (wide,)}
            inputs = channels(width)
            convolution(f"{stem}.{step + 2}", (inputs, wide, 1, 1))
    convolution("features.8", (4 * inputs, inputs, 1, 1))
    return shapes | {"classifier.1.weight": (1000, 4 * inputs), "classifier.1.bias": (1000,)}


def with_biases(matrices: Shapes, norms: tuple[str, ...], width: int) -> Shapes:
    """The matrices of a layer, each with its bias, and norms of *width*."""
    shapes: Shapes = {}
    for name, shape in matrices.items():
        joint = "_" if name.endswith("in_proj") else "."
        shapes |= {f"{name}{joint}weight": shape, f"{name}{joint}bias": shape[:1]}
    return shapes | {f"{norm}.{leaf}": (width,) for norm in norms for leaf in ("weight", "bias")}


def gpt2(width: int = 768, layers: int = 12) -> Shapes:
    """GPT-2, whose matrices are inputs × outputs."""
    each: Shapes = {}
    for name, shape in {
        "attn.c_attn": (width, 3 * width),
        "attn.c_proj": (width, width),
        "mlp.c_fc": (width, 4 * width),
        "mlp.c_proj": (4 * width, width),
    }.items():
        each |= {f"{name}.weight": shape, f"{name}.bias": shape[1:]}
    each |= {f"ln_{index}.{leaf}": (width,) for index in (1, 2) for leaf in ("weight", "bias")}
    ends: Shapes = {"ln_f.weight": (width,), "ln_f.bias": (width,)}
    return {"wte.weight": (50257, width), "wpe.weight": (1024, width)} | stack("h", layers, each) | ends


def vision(width: int = 768, layers: int = 12) -> Shapes:
    """A vision transformer as torchvision builds it."""
    matrices = {
        "self_attention.in_proj": (3 * width, width),
        "self_attention.out_proj": (width, width),
        "mlp.0": (4 * width, width),
        "mlp.3": (width, 4 * width),
    }
    first: Shapes = {"class_token": (1, 1, width), "conv_proj.weight": (width, 3, 16, 16), "conv_proj.bias": (width,)}
    first |= {"encoder.pos_embedding": (1, 197, width)}
    ends: Shapes = {"encoder.ln.weight": (width,), "encoder.ln.bias": (width,), "heads.head.weight": (1000, width)}
    return first | stack("encoder.layers", layers, with_biases(matrices, ("ln_1", "ln_2"), width)) | ends


def speech(width: int = 384, layers: int = 4) -> Shapes:
    """Whisper: an encoder that hears and a decoder that writes."""
    attention = dict.fromkeys(("q_proj", "k_proj", "v_proj", "out_proj"), (width, width))
    inner = {"fc1": (4 * width, width), "fc2": (width, 4 * width)}
    own = {f"self_attn.{name}": shape for name, shape in attention.items()}
    other = {f"encoder_attn.{name}": shape for name, shape in attention.items()}
    encoder = with_biases(own | inner, ("self_attn_layer_norm", "final_layer_norm"), width)
    norms = ("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm")
    first: Shapes = {"model.encoder.conv1.weight": (width, 80, 3), "model.encoder.conv2.weight": (width, width, 3)}
    first |= {"model.encoder.embed_positions.weight": (1500, width)} | stack("model.encoder.layers", layers, encoder)
    first |= {"model.decoder.embed_tokens.weight": (51865, width), "model.decoder.embed_positions.weight": (448, width)}
    return first | stack("model.decoder.layers", layers, with_biases(own | other | inner, norms, width))


def mobilenet() -> Shapes:
    """MobileNet V2 as torchvision builds it: depthwise convolutions between narrow ones."""
    shapes: Shapes = {}

    def convolution(weight: str, norm: str, shape: tuple[int, ...]) -> None:
        shapes[f"{weight}.weight"] = shape
        shapes.update({f"{norm}.{leaf}": shape[:1] for leaf in _NORM})

    convolution("features.0.0", "features.0.1", (32, 3, 3, 3))
    inputs, place = 32, 1
    for times, width, count in ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1)):
        for _ in range(count):
            stem, wide, step = f"features.{place}.conv", inputs * times, 0
            if times > 1:
                convolution(f"{stem}.0.0", f"{stem}.0.1", (wide, inputs, 1, 1))
                step = 1
            convolution(f"{stem}.{step}.0", f"{stem}.{step}.1", (wide, 1, 3, 3))
            convolution(f"{stem}.{step + 1}", f"{stem}.{step + 2}", (width, wide, 1, 1))
            inputs, place = width, place + 1
    convolution(f"features.{place}.0", f"features.{place}.1", (1280, inputs, 1, 1))
    return shapes | {"classifier.1.weight": (1000, 1280), "classifier.1.bias": (1000,)}


def five_hundred(width: int = 96) -> Shapes:
    """A transformer of 41 layers with biases: 498 tensors."""
    matrices = {
        "attn.in_proj": (3 * width, width),
        "attn.out_proj": (width, width),
        "mlp.fc1": (4 * width, width),
        "mlp.fc2": (width, 4 * width),
    }
    each = with_biases(matrices, ("ln1", "ln2"), width)
    ends = {"ln.weight": (width,), "ln.bias": (width,), "head.weight": (2000, width), "head.bias": (2000,)}
    return {"embed.weight": (2000, width), "pos.weight": (128, width)} | stack("blocks", 41, each) | ends


NETWORKS: dict[str, Shapes] = {
    "cnn": convolutional(),
    "resnet18": convolutional(64),
    "transformer22": transformer(),
    "tinyllama": transformer(2048, 256, 5632, 22, 32000),
    "mixture8": mixture(),
    "stacked8": stacked_mixture(),
    "tensors500": five_hundred(),
}
