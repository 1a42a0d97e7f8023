"""Which tensors are kernels: by the class of their module, else by shape and name, with names of models that people use."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from tests.support.corpus import cases, manifest, real

import torch2grid as t2g
from torch2grid_builtin._views.convolutions import is_convolution
from torch2grid_core import LazyTensor
from torch2grid_core.sources import BytesStorage


def tensor(name, shape, dtype=np.float32, of=""):
    return LazyTensor(name, shape, np.dtype(dtype), BytesStorage(b""), module_class=of)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("conv1.weight", (16, 1, 3, 3)),
        ("features.0.weight", (64, 3, 11, 11)),
        ("lin0.model.1.weight", (1, 64, 1, 1)),  # LPIPS
        ("conv1.weight", (128, 1, 512, 1)),  # CREPE
        ("fc1.weight", (4, 16, 1, 1)),  # squeeze and excitation
        ("query_conv.weight", (8, 64, 1, 1)),  # SAGAN
        ("mid.attn_1.q.weight", (512, 512, 1, 1)),
        ("mask_decoder.output_upscaling.0.weight", (256, 64, 2, 2)),  # SAM
        ("blocks1.0.pos_embed.weight", (64, 1, 3, 3)),  # UniFormer encodes positions by a convolution
        ("lora_unet_proj_in.lora_down.weight", (4, 16, 1, 1)),
        ("conv_lora.lora_down.weight", (4, 16, 3, 3)),
        ("primary_caps.capsules.0.weight", (32, 256, 9, 9)),
        ("experts.0.net.0.weight", (16, 8, 3, 3)),
        # Patches
        ("patch_embed.proj.weight", (768, 3, 16, 16)),
        ("visual.conv1.weight", (768, 3, 32, 32)),
        ("visual.patch_embed.proj.weight", (1280, 3, 2, 14, 14)),
        ("patch_embedding.weight", (5120, 16, 1, 2, 2)),
        # One dimension
        ("temporal.weight", (8, 4, 9)),
        ("temporal.weight", (16, 22, 64)),
        ("c1.weight", (8, 4, 3)),
        ("in_layer.weight", (8, 4, 3)),
        ("proj_in.weight", (8, 4, 1)),
        ("to_qkv.weight", (24, 8, 1)),
        ("embed.value.weight", (8, 3, 3)),
        ("rnn_in.weight", (8, 3, 3)),
        ("net.0.weight", (32, 8, 5)),
        ("encoder.conv1.weight", (512, 80, 3)),
        ("mixer.conv1d.weight", (1536, 1, 4)),  # Mamba
        ("eca.conv.weight", (1, 1, 3)),
        ("block.dw_weight", (64, 1, 3)),
        ("ups.0.weight_v", (512, 256, 16)),  # HiFi-GAN
        ("experts.0.0.weight", (16, 8, 3)),
        ("enc_embedding.value_embedding.tokenConv.weight", (64, 7, 3)),  # Informer
        ("stft_conv.weight", (258, 1, 256)),
        ("spectrogram_extractor.stft.conv_real.weight", (513, 1, 1024)),
        ("encoder.pos_conv_embed.conv.weight_v", (768, 48, 128)),  # wav2vec 2
        ("encoder.pos_conv_embed.conv.parametrizations.weight.original1", (768, 48, 128)),
        ("encoder.pos_conv.0.weight_v", (768, 48, 128)),
        ("activation.upsample.filter", (1, 1, 12)),  # BigVGAN
        # Three dimensions
        ("conv3d.weight", (4, 4, 3, 3, 3)),
        ("stem.0.weight", (16, 1, 3, 7, 7)),
        ("convs.0.conv.weight", (1, 512, 512, 3, 3)),  # StyleGAN 2
        ("net.0.weight_orig", (16, 3, 4, 4)),  # spectral norm
        ("0", (4, 4, 3, 3)),
        ("tensor", (2, 3, 4)),
    ],
)
def test_convolutions_are_found(name, shape):
    assert is_convolution(tensor(name, shape))
    assert is_convolution(tensor(name, shape, ml_dtypes.bfloat16))
    assert not is_convolution(tensor(name, shape, np.uint8))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("fc.weight", (10, 20)),
        ("conv.weight", (4, 0, 3, 3)),
        ("blocks.conv.weight", (2, 3, 4, 5, 6, 7)),
        # Attention
        ("h.0.attn.bias", (1, 1, 1024, 1024)),
        ("attn.masked_bias", (1, 1, 8, 8)),
        ("attn_mask", (16, 49, 49)),
        ("self_attn.in_proj_weight", (3, 64, 64)),
        ("attn.W_Q", (12, 768, 64)),
        ("attn.W_O", (12, 64, 768)),
        ("attn.query.kernel", (32, 4, 8)),  # Flax
        ("attn.out.kernel", (4, 8, 32)),
        ("rel_attn.q", (1024, 16, 64)),  # XLNet
        ("attn.kv_einsum.w", (2, 4, 32, 8)),  # Gemma
        ("attn.logit_scale", (4, 1, 1)),
        ("conv1.att_src", (1, 4, 8)),  # a graph attention
        # Positions, tokens, tables
        ("pos_embed", (1, 197, 768)),
        ("pos_embed", (1, 64, 64, 768)),
        ("cls_token", (1, 1, 32)),
        ("pos_encoder.pe", (5000, 1, 512)),
        ("position_embeddings.weight", (1, 64, 8, 8)),
        ("relative_position_bias_table", (1, 169, 3)),
        ("rel_bias", (1, 8, 49, 49)),
        ("emb_rel_k", (1, 9, 96)),
        ("_codebook.embed", (4, 512, 64)),
        ("quantizer.codevectors", (1, 640, 128)),
        # Stacks of matrices
        ("experts.0.weight", (8, 64, 16)),
        ("mlp.experts.gate_up_proj", (4, 8, 16)),
        ("mlp.experts.down_proj", (4, 16, 6)),
        ("moe.experts.w1", (8, 64, 32)),
        ("block_sparse_moe.input_linear.weight", (8, 64, 32)),
        ("conv_moe.experts.w1", (8, 64, 32)),
        ("ensemble.0.weight", (7, 20, 200)),
        ("stack.weight", (8, 64, 64)),
        ("layers.lora_A", (4, 8, 16)),
        ("layers.lora_A.weight", (4, 8, 16)),
        ("bilinear.weight", (4, 4, 4)),
        ("layers.0.spline_weight", (64, 28, 8)),  # KAN
        ("kernel.C", (64, 32, 2)),  # S4
        ("time_maa_w2", (5, 32, 64)),  # RWKV
        # Scales and normalisations
        ("alpha", (1, 1475, 1, 1)),  # DISTS
        ("layer_scale", (96, 1, 1)),
        ("block.norm.g", (1, 16, 1, 1)),
        ("convnextv2.stages.0.layers.0.grn.weight", (1, 1, 1, 40)),
        ("ln1.weight", (8, 4, 4)),
        ("conv.weight_g", (16, 1, 1)),
        ("conv.parametrizations.weight.original0", (1, 1, 128)),
        ("conv.weight_mask", (4, 4, 3, 3)),
        ("dw_weight.scale", (64, 1, 1)),
        ("norm.running_mean", (1, 16, 1)),
        # Planes, volumes, points
        ("density_plane.0", (1, 16, 128, 128)),
        ("planes", (3, 32, 256, 256)),
        ("k0.grid", (1, 12, 16, 16, 16)),
        ("synthesis.b4.const", (512, 4, 4)),  # StyleGAN
        ("model.anchors", (3, 3, 2)),
        ("points", (100_000, 15, 3)),
        ("0.2", (100_000, 15, 3)),
        ("conv.huge", (4, 4, 4096)),
    ],
)
def test_others_are_not(name, shape):
    assert not is_convolution(tensor(name, shape))


@pytest.mark.parametrize(
    ("of", "name", "shape", "wanted"),
    [
        ("torch.nn.modules.conv.Conv1d", "experts.w", (4, 4, 64), True),
        ("torch.nn.modules.conv.Conv1d", "attn.weight", (4, 64, 600), True),
        ("torch.nn.modules.conv.ConvTranspose3d", "pos_embed.weight", (1, 4, 3, 3, 3), True),
        ("torch.nn.modules.conv.Conv2d", "x.weight", (1, 64, 1, 1), True),
        ("torch.ao.nn.qat.modules.conv.Conv2d", "x.weight", (4, 4, 3, 3), True),
        ("timm.layers.std_conv.ScaledStdConv2dSame", "norm.weight", (4, 4, 3, 3), True),
        ("timm.layers.std_conv.ScaledStdConv2d", "stem.gain", (4, 1, 1, 1), False),
        ("torch.nn.modules.conv.Conv2d", "x.weight_g", (4, 1, 1, 1), False),
        ("torch.nn.modules.linear.Bilinear", "conv.weight", (4, 4, 4), False),
        ("torch.nn.modules.normalization.LayerNorm", "net.1.weight", (8, 4, 4), False),
        ("torch.nn.modules.normalization.LayerNorm", "conv.1.weight", (8, 4, 4), False),
        ("neuralop.layers.SpectralConv2d", "weights1", (16, 16, 8, 8), False),
        ("torch.nn.modules.container.ParameterList", "convs.0", (8, 4, 3), True),
        ("net.Experts", "w1", (4, 8, 16), False),
        ("net.Mixer", "bank", (8, 4, 3), True),
    ],
)
def test_the_class_decides_where_the_file_states_it(of, name, shape, wanted):
    assert is_convolution(tensor(name, shape, of=of)) is wanted


def test_kinds_of_numbers():
    assert is_convolution(tensor("conv.qweight", (8, 4, 3, 3), np.int8))  # the codes of a quantised kernel
    assert not is_convolution(tensor("voices", (1, 982, 33), np.int8))
    assert not is_convolution(tensor("conv.weight", (8, 4, 3, 3), bool))
    assert is_convolution(tensor("0.weight", (8, 4, 3), np.complex64))
    assert not is_convolution(tensor("0.weights1", (16, 16, 8), np.complex64))  # of a Fourier neural operator


def test_very_long_names_take_no_time():
    assert not is_convolution(tensor("pos" * 3_000_000, (1, 4, 4)))
    assert is_convolution(tensor("emb." * 3_000_000 + "weight", (4, 4, 1)))


# What the models of the corpora are made of. Every other tensor of three and more dimensions that they hold is no kernel.
_BY_NAME = ("conv", "features.", "patch_embed", "shortcut", "downsample")
KERNELS = {
    "a2c/single_cube_cnn_ppo-v1.pt": ("cnn.",),
    "burn/reader/tensor_3d.pt": ("tensor",),  # nothing says what it is
    "burn/reader/tensor_4d.pt": ("tensor",),
    "fracast/model.int8.safetensors": ("dw_weight.qweight",),
    "fracast/model.safetensors": ("dw_weight",),
    "lpips/alex.pth": ("lin",),
    "lpips/squeeze.pth": ("lin",),
    "lpips/vgg.pth": ("lin",),
    "silero/silero_vad.jit": ("reparam_conv", "decoder.decoder.2.weight"),
    "healthy-wgan-critic": (".weight_orig",),
}
NO_KERNELS = ("original0", "dw_weight.scale", "forward_basis_buffer")


def kernels_of(path, case):
    checkpoint = t2g.load(path)
    found = [name for name, each in checkpoint.items() if is_convolution(each)]
    named = KERNELS.get(case, _BY_NAME)
    wanted = [
        name
        for name, each in checkpoint.items()
        if each.ndim >= 3 and any(word in name.lower() for word in named) and not any(word in name for word in NO_KERNELS)
    ]
    return found, wanted


@pytest.mark.parametrize("file", [case["file"] for case in manifest("real") if "broken" not in case["file"]])
def test_the_kernels_of_real_models(file):
    found, wanted = kernels_of(real(file), file)
    assert found == wanted


HEALTHY = (
    *("bert", "clip", "convnext", "gemma", "gpt2-masks", "llama", "lstm", "mamba", "mixtral", "mobilenetv2", "resnet"),
    *("swin", "t5", "vit", "wav2vec2", "wgan-critic", "whisper"),
)


@pytest.mark.parametrize("name", HEALTHY)
def test_the_kernels_of_healthy_models(name):
    folder = cases(f"formats/healthy-{name}/ckpt")
    inside = [path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin", ".pth")]
    found, wanted = kernels_of(inside[0] if len(inside) == 1 else folder, f"healthy-{name}")
    assert found == wanted
