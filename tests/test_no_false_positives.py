"""Nothing plain is ever called equalized: more than two hundred plain networks under the names that people use."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.families.registry import UNDECIDED, recognise
from tests.conftest import Result, find_shared

Net = dict[str, NDArray[np.float32]]
Start = Callable[[np.random.Generator, tuple[int, ...]], NDArray[np.float32]]
SEED = 20180226


def _fan(shape: tuple[int, ...]) -> int:
    return max(math.prod(shape[1:]), 1)


def torch_default(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return rng.uniform(-1, 1, shape).astype(np.float32) / np.float32(math.sqrt(_fan(shape)))


def he_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return (rng.standard_normal(shape) * math.sqrt(2 / _fan(shape))).astype(np.float32)


def small_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return (rng.standard_normal(shape) * 0.02).astype(np.float32)


def trained(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Heavy-tailed, up to some times the initial size: what training leaves."""
    return (rng.standard_t(4, shape) * 1.8 / math.sqrt(_fan(shape))).astype(np.float32)


def unit_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return rng.standard_normal(shape).astype(np.float32)


STARTS: dict[str, Start] = {
    "torch": torch_default,
    "he": he_normal,
    "dcgan": small_normal,
    "trained": trained,
}


class Maker:
    def __init__(self, start: Start, seed: int) -> None:
        self.rng, self.start = np.random.default_rng(seed), start
        self.net: Net = {}

    def weight(self, path: str, *shape: int, bias: bool | str = True, name: str = "weight") -> None:
        self.net[f"{path}.{name}"] = self.start(self.rng, shape)
        if bias:
            key = bias if isinstance(bias, str) else f"{path}.bias"
            self.net[key] = self.start(self.rng, (shape[0],))

    def norm(self, path: str, size: int, running: bool = False) -> None:
        self.net[f"{path}.weight"] = np.ones(size, np.float32)
        self.net[f"{path}.bias"] = np.zeros(size, np.float32)
        if running:
            self.net[f"{path}.running_mean"] = np.zeros(size, np.float32)
            self.net[f"{path}.running_var"] = np.ones(size, np.float32)

    def table(self, name: str, *shape: int) -> None:
        """nn.Embedding and positional tables: N(0, 1), as an equalized weight would be."""
        self.net[name] = self.rng.standard_normal(shape).astype(np.float32)


def resnet(m: Maker, width: int) -> None:
    m.weight("conv1", width, 3, 7, 7, bias=False)
    m.norm("bn1", width, running=True)
    for layer, block in itertools.product((1, 2), (0, 1)):
        for conv in (1, 2):
            m.weight(f"layer{layer}.{block}.conv{conv}", width, width, 3, 3, bias=False)
            m.norm(f"layer{layer}.{block}.bn{conv}", width, running=True)
    m.weight("layer2.0.downsample.0", width, width, 1, 1, bias=False)
    m.weight("fc", 10, width)


def vgg(m: Maker, width: int) -> None:
    for n in (0, 2, 5, 7):
        m.weight(f"features.{n}", width, 3 if n == 0 else width, 3, 3)
    for n in (0, 3, 6):
        m.weight(f"classifier.{n}", width, width)


def vit(m: Maker, width: int) -> None:
    m.table("cls_token", 1, 1, width)
    m.table("pos_embed", 1, 17, width)
    m.weight("patch_embed.proj", width, 3, 4, 4)
    for n in range(3):
        m.norm(f"blocks.{n}.norm1", width)
        m.weight(f"blocks.{n}.attn.qkv", 3 * width, width)
        m.weight(f"blocks.{n}.attn.proj", width, width)
        m.weight(f"blocks.{n}.mlp.fc1", 4 * width, width)
        m.weight(f"blocks.{n}.mlp.fc2", width, 4 * width)
    m.weight("head", 10, width)


def convnext(m: Maker, width: int) -> None:
    m.weight("stem.0", width, 3, 4, 4)
    for n in range(3):
        m.weight(f"stages.0.blocks.{n}.conv_dw", width, 1, 7, 7)
        m.weight(f"stages.0.blocks.{n}.mlp.fc1", 4 * width, width)
        m.net[f"stages.0.blocks.{n}.gamma"] = np.full(width, 1e-6, np.float32)


def gpt(m: Maker, width: int) -> None:
    m.table("transformer.wte.weight", 97, width)
    m.table("transformer.wpe.weight", 32, width)
    for n in range(3):
        m.weight(f"transformer.h.{n}.attn.c_attn", width, 3 * width, bias=False)
        m.weight(f"transformer.h.{n}.mlp.c_fc", width, 4 * width, bias=False)
    m.net["lm_head.weight"] = m.net["transformer.wte.weight"]


def bert(m: Maker, width: int) -> None:
    m.table("bert.embeddings.word_embeddings.weight", 97, width)
    m.table("bert.embeddings.position_embeddings.weight", 64, width)
    for n in range(3):
        for part in ("query", "key", "value"):
            m.weight(f"bert.encoder.layer.{n}.attention.self.{part}", width, width)
        m.norm(f"bert.encoder.layer.{n}.attention.output.LayerNorm", width)


def llama(m: Maker, width: int) -> None:
    m.table("model.embed_tokens.weight", 97, width)
    for n in range(3):
        for part in ("q_proj", "k_proj", "v_proj", "o_proj"):
            m.weight(f"model.layers.{n}.self_attn.{part}", width, width, bias=False)
        m.weight(f"model.layers.{n}.mlp.gate_proj", 4 * width, width, bias=False)


def unet(m: Maker, width: int) -> None:
    m.weight("conv_in", width, 4, 3, 3)
    m.weight("time_embedding.linear_1", 4 * width, width)
    for n in (0, 1):
        base = f"down_blocks.{n}.resnets.0"
        m.norm(f"{base}.norm1", width)
        m.weight(f"{base}.conv1", width, width, 3, 3)
        m.weight(f"{base}.time_emb_proj", width, 4 * width)
        m.weight(f"{base}.conv_shortcut", width, width, 1, 1)
        m.weight(f"down_blocks.{n}.downsamplers.0.conv", width, width, 3, 3)
        m.weight(f"mid_block.attentions.{n}.to_q", width, width, bias=False)


def vae(m: Maker, width: int) -> None:
    for side in ("encoder", "decoder"):
        m.weight(f"{side}.conv_in", width, 3, 3, 3)
        m.weight(f"{side}.mid.block_1.conv1", width, width, 3, 3)
        m.weight(f"{side}.mid.attn_1.q", width, width, 1, 1)
    m.table("quantize.embedding.weight", 64, width)


def dcgan(m: Maker, width: int) -> None:
    m.weight("main.0", 16, width, 4, 4, bias=False)
    m.norm("main.1", width, running=True)
    for n in (3, 6):
        m.weight(f"main.{n}", width, width, 4, 4, bias=False)
    m.weight("main.9", width, 3, 4, 4, bias=False)


def plain_progan(m: Maker, width: int) -> None:
    """The names of akanimax's code, trained without equalization."""
    m.weight("layers.0.conv_1", width, width, 4, 4)
    for n in (1, 2):
        m.weight(f"layers.{n}.conv_1", width, width, 3, 3)
        m.weight(f"layers.{n}.conv_2", width, width, 3, 3)
    m.weight("rgb_converters.0", 3, width, 1, 1)


def conv_with_bias_beside(m: Maker, width: int) -> None:
    """`X.conv.weight` and `X.bias`: aladdin's split, in a network that is not equalized."""
    for n in range(4):
        m.weight(f"blocks.{n}.conv", width, width, 3, 3, bias=f"blocks.{n}.bias")


def stylegan_like(m: Maker, width: int) -> None:
    """Names near those of families, plain weights."""
    for n in (1, 2):
        m.weight(f"style.{n}", width, width)
        m.weight(f"mapping.fc{n}", width, width)
    m.weight("generator.conv1.conv", width, width, 3, 3)
    m.weight("generator.to_rgb.conv", 3, width, 1, 1)
    m.weight("synthesis.layer0", width, width, 3, 3)


def baked_stylegan2(m: Maker, width: int) -> None:
    """rosinality's names after a bake by somebody else. At width 12 a constant is so near 1 that nobody can tell."""
    width = max(width, 24)
    m.weight("style.1", width, width)
    m.net["conv1.conv.weight"] = m.start(m.rng, (width, width, 3, 3))[None]
    m.weight("conv1.conv.modulation", width, width)
    for n in (0, 1):
        m.net[f"convs.{n}.conv.weight"] = m.start(m.rng, (width, width, 3, 3))[None]
        m.weight(f"convs.{n}.conv.modulation", width, width)
    m.net["to_rgb1.conv.weight"] = m.start(m.rng, (3, width, 1, 1))[None]
    m.weight("to_rgb1.conv.modulation", width, width)


def old_spectral_norm(m: Maker, width: int) -> None:
    for n in (0, 2, 4):
        m.weight(f"net.{n}", width, width, 3, 3, name="weight_orig")
        m.table(f"net.{n}.weight_u", width)
        m.table(f"net.{n}.weight_v", width * 9)


def old_weight_norm(m: Maker, width: int) -> None:
    for n in (0, 2, 4):
        m.table(f"net.{n}.weight_v", width, width, 3, 3)
        m.net[f"net.{n}.weight_g"] = np.ones((width, 1, 1, 1), np.float32)
        m.table(f"net.{n}.bias", width)


def new_weight_norm(m: Maker, width: int) -> None:
    for n in (0, 2):
        m.net[f"net.{n}.parametrizations.weight.original0"] = np.ones((width, 1), np.float32)
        m.table(f"net.{n}.parametrizations.weight.original1", width, width)


def new_spectral_norm(m: Maker, width: int) -> None:
    for n in (0, 2):
        m.weight(f"net.{n}.parametrizations.weight", width, width, bias=f"net.{n}.bias", name="original")
        m.table(f"net.{n}.parametrizations.weight.0._u", width)
        m.table(f"net.{n}.parametrizations.weight.0._v", width)


def orthogonal(m: Maker, width: int) -> None:
    m.weight("rnn.parametrizations.weight", width, width, bias=False, name="original")
    m.net["rnn.parametrizations.weight.0.base"] = np.eye(width, dtype=np.float32)


def pruned(m: Maker, width: int) -> None:
    for n in (0, 2):
        m.weight(f"net.{n}", width, width, 3, 3, name="weight_orig")
        m.net[f"net.{n}.weight_mask"] = (m.rng.random((width, width, 3, 3)) > 0.5).astype(np.float32)


def embeddings(m: Maker, width: int) -> None:
    m.table("user_table.weight", 97, width)
    m.table("item_table.weight", 53, width)
    m.table("direction.weight", width, 20)
    m.table("const", 1, width, 4, 4)
    m.table("noise_0", 1, 1, 4, 4)
    m.weight("head", 1, 2 * width)


def quantised(m: Maker, width: int) -> None:
    """A scalar called `scale` beside a weight, as quantisation keeps it."""
    for n in (0, 2):
        m.weight(f"net.{n}", width, width)
        m.net[f"net.{n}.scale"] = np.array(0.0173, dtype=np.float32)


def lstm(m: Maker, width: int) -> None:
    for n in (0, 1):
        for part in ("ih", "hh"):
            m.net[f"lstm.weight_{part}_l{n}"] = m.start(m.rng, (4 * width, width))
            m.net[f"lstm.bias_{part}_l{n}"] = m.start(m.rng, (4 * width,))


def edm_like(m: Maker, width: int) -> None:
    m.weight("model.map_layer0", width, width)
    m.weight("model.enc.8x8_conv", width, 3, 3, 3)
    m.weight("model.enc.8x8_block0.conv0", width, width, 3, 3)
    m.weight("model.enc.8x8_block0.affine", 2 * width, width)


def detector(m: Maker, width: int) -> None:
    """Mask R-CNN: a frozen backbone, a feature pyramid, heads."""
    m.weight("backbone.body.conv1", width, 3, 7, 7, bias=False)
    m.norm("backbone.body.bn1", width, running=True)
    for n in range(3):
        m.weight(f"backbone.fpn.inner_blocks.{n}.0", width, width, 1, 1)
        m.weight(f"backbone.fpn.layer_blocks.{n}.0", width, width, 3, 3)
    m.weight("rpn.head.conv.0.0", width, width, 3, 3)
    m.weight("rpn.head.bbox_pred", 12, width, 1, 1)
    m.weight("roi_heads.box_head.fc6", width, width * 49)
    m.weight("roi_heads.mask_predictor.conv5_mask", width, width, 2, 2)


def segmenter(m: Maker, width: int) -> None:
    """DeepLab: `convs.N` inside its head."""
    m.weight("backbone.conv1", width, 3, 7, 7, bias=False)
    for n in range(4):
        m.weight(f"classifier.0.convs.{n}.0", width, width, 3, 3, bias=False)
        m.norm(f"classifier.0.convs.{n}.1", width, running=True)
    m.weight("classifier.4", 21, width, 1, 1)


def clip(m: Maker, width: int) -> None:
    m.table("positional_embedding", 77, width)
    m.table("token_embedding.weight", 99, width)
    m.table("visual.class_embedding", width)
    m.weight("visual.conv1", width, 3, 16, 16, bias=False)
    for tower in ("transformer", "visual.transformer"):
        for n in (0, 1):
            block = f"{tower}.resblocks.{n}"
            m.net[f"{block}.attn.in_proj_weight"] = m.start(m.rng, (3 * width, width))
            m.weight(f"{block}.attn.out_proj", width, width)
            m.weight(f"{block}.mlp.c_fc", 4 * width, width)
    m.net["text_projection"] = m.start(m.rng, (width, width))
    m.net["logit_scale"] = np.array(4.6, dtype=np.float32)


def biggan(m: Maker, width: int) -> None:
    m.table("shared.weight", 10, width)
    m.weight("linear", 16 * width, width)
    for n in (0, 1):
        block = f"blocks.{n}.0"
        for conv in ("conv1", "conv2"):
            m.weight(f"{block}.{conv}", width, width, 3, 3)
            m.table(f"{block}.{conv}.u0", 1, width)
            m.table(f"{block}.{conv}.sv0", 1)
        m.weight(f"{block}.bn1.gain", width, width, bias=False)
        m.weight(f"{block}.bn1.bias", width, width, bias=False)
    m.weight("output_layer.1", 3, width, 3, 3)


def sagan(m: Maker, width: int) -> None:
    for n in (1, 2, 3):
        m.weight(f"l{n}.0.module", width, width, 4, 4, name="weight_bar")
        m.table(f"l{n}.0.module.weight_u", width)
        m.table(f"l{n}.0.module.weight_v", width * 16)
    m.weight("attn1.query_conv", max(width // 8, 1), width, 1, 1)
    m.net["attn1.gamma"] = np.zeros(1, np.float32)


def real_esrgan(m: Maker, width: int) -> None:
    m.weight("conv_first", width, 3, 3, 3)
    for block, layer in itertools.product((0, 1), range(1, 6)):
        m.weight(f"body.{block}.rdb1.conv{layer}", width, width * layer, 3, 3)
    for name in ("conv_body", "conv_up1", "conv_up2", "conv_hr"):
        m.weight(name, width, width, 3, 3)
    m.weight("conv_last", 3, width, 3, 3)


def pix2pix(m: Maker, width: int) -> None:
    m.weight("model.model.0", width, 3, 4, 4)
    m.weight("model.model.1.model.1", width, width, 4, 4)
    m.norm("model.model.1.model.2", width, running=True)
    m.weight("model.model.1.model.3.model.3", width, width, 4, 4)
    m.weight("model.model.3", 2 * width, 3, 4, 4, bias="model.model.3.bias")


def cyclegan(m: Maker, width: int) -> None:
    m.weight("model.1", width, 3, 7, 7)
    for n in range(10, 14):
        m.weight(f"model.{n}.conv_block.1", width, width, 3, 3)
        m.weight(f"model.{n}.conv_block.5", width, width, 3, 3)
    m.weight("model.26", 3, width, 7, 7)


def vqgan(m: Maker, width: int) -> None:
    m.weight("encoder.conv_in", width, 3, 3, 3)
    for n in (0, 1):
        m.norm(f"encoder.down.{n}.block.0.norm1", width)
        m.weight(f"encoder.down.{n}.block.0.conv1", width, width, 3, 3)
        m.weight(f"encoder.down.{n}.downsample.conv", width, width, 3, 3)
        m.weight(f"decoder.up.{n}.upsample.conv", width, width, 3, 3)
    m.table("quantize.embedding.weight", 64, width)
    m.weight("quant_conv", width, width, 1, 1)
    m.weight("loss.discriminator.main.0", width, 3, 4, 4)


def gfpgan_clean(m: Maker, width: int) -> None:
    """Its names are a family's, and what they hold is baked."""
    m.weight("style_mlp.1", width, width)
    for path in ("style_conv1", "style_convs.0", "style_convs.1"):
        m.net[f"{path}.modulated_conv.weight"] = m.start(m.rng, (width, width, 3, 3))[None]
        m.weight(f"{path}.modulated_conv.modulation", width, width)
        m.net[f"{path}.weight"] = np.zeros(1, np.float32)
        m.net[f"{path}.bias"] = np.zeros((1, width, 1, 1), np.float32)
    m.net["to_rgb1.modulated_conv.weight"] = m.start(m.rng, (3, width, 1, 1))[None]


def plain_discriminator(m: Maker, width: int) -> None:
    """Names near rosinality's and BasicSR's discriminators; nothing blurs."""
    m.weight("convs.0.0", width, 3, 1, 1, bias="convs.0.1.bias")
    for n in (1, 2):
        m.weight(f"convs.{n}.conv1.0", width, width, 3, 3, bias=f"convs.{n}.conv1.1.bias")
        m.weight(f"convs.{n}.skip.0", width, width, 1, 1, bias=False)
    m.weight("final_conv.0", width, width + 1, 3, 3)
    m.weight("final_linear.0", width, 16 * width)
    m.weight("final_linear.1", 1, width)


def plain_gan_zoo(m: Maker, width: int) -> None:
    """pytorch_GAN_zoo's names without equalization, as its first files have them."""
    width = max(width, 24)
    m.weight("formatLayer", 16 * width, width)
    m.weight("groupScale0.0", width, width, 3, 3)
    for n in (0, 1):
        m.weight(f"scaleLayers.{n}.0", width, width, 3, 3)
        m.weight(f"scaleLayers.{n}.1", width, width, 3, 3)
    m.weight("toRGBLayers.0", 3, width, 1, 1)


def lora(m: Maker, width: int) -> None:
    for n, part in itertools.product((0, 1), ("to_q", "to_k", "to_v")):
        base = f"unet.down_blocks.{n}.attentions.0.{part}"
        m.weight(f"{base}.lora_A", 4, width, bias=False)
        m.net[f"{base}.lora_B.weight"] = np.zeros((width, 4), np.float32)
        m.net[f"{base}.alpha"] = np.array(4.0, dtype=np.float32)


def unit_norms(m: Maker, width: int) -> None:
    """Norms whose weights have a standard deviation near 1, among few others."""
    for n in range(6):
        m.table(f"layers.{n}.norm.weight", width)
        m.table(f"layers.{n}.norm.bias", width)
        m.weight(f"layers.{n}.linear", width, width)


def mapping_lookalike(m: Maker, width: int) -> None:
    """`mapping.fcN` and `w_avg` in a network that is not equalized."""
    width = max(width, 24)
    for n in range(4):
        m.weight(f"mapping.fc{n}", width, width)
    m.net["mapping.w_avg"] = np.zeros(width, np.float32)


def keras(m: Maker, width: int) -> None:
    """Kernels and `w` under slashes, as Keras and Chainer files have them."""
    for n in (0, 1, 2):
        m.net[f"block_{n}/conv2d/kernel:0"] = m.start(m.rng, (3, 3, width, width))
        m.net[f"block_{n}/conv2d/bias:0"] = np.zeros(width, np.float32)
        m.net[f"tower/{n}/conv1/w"] = m.start(m.rng, (width, width, 3, 3))
    m.net["dense/kernel:0"] = m.start(m.rng, (width, 10))


KINDS = (
    resnet,
    vgg,
    vit,
    convnext,
    gpt,
    bert,
    llama,
    unet,
    vae,
    dcgan,
    plain_progan,
    conv_with_bias_beside,
    stylegan_like,
    baked_stylegan2,
    old_spectral_norm,
    old_weight_norm,
    new_weight_norm,
    new_spectral_norm,
    orthogonal,
    pruned,
    embeddings,
    quantised,
    lstm,
    edm_like,
    detector,
    segmenter,
    clip,
    biggan,
    sagan,
    real_esrgan,
    pix2pix,
    cyclegan,
    vqgan,
    gfpgan_clean,
    plain_discriminator,
    plain_gan_zoo,
    lora,
    unit_norms,
    mapping_lookalike,
    keras,
)
NOBODYS = (
    resnet,
    vgg,
    vit,
    gpt,
    llama,
    unet,
    dcgan,
    lstm,
    clip,
    detector,
    segmenter,
    real_esrgan,
    pix2pix,
    vqgan,
    keras,
)
"""Kinds whose names no family has, so that not even N(0, 1) makes them equalized."""
WIDTHS = (12, 24, 48)


def networks() -> Iterator[tuple[str, Net]]:
    every = itertools.chain(itertools.product(KINDS, STARTS, WIDTHS), itertools.product(NOBODYS, ["unit"], WIDTHS))
    for seed, (kind, start, width) in enumerate(every):
        maker = Maker({**STARTS, "unit": unit_normal}[start], SEED + seed)
        kind(maker, width)
        yield f"{kind.__name__}-{start}-{width}", maker.net


def test_no_plain_network_is_called_equalized(tmp_path: Path) -> None:
    called: dict[str, str] = {}
    count = 0
    for name, net in networks():
        path = tmp_path / "net.safetensors"
        save_file({key: np.ascontiguousarray(array) for key, array in net.items()}, path)
        checkpoint = open_checkpoint(path)
        for network in checkpoint.networks:
            recognition = recognise(checkpoint, network)
            if recognition.equalized or recognition.family != "plain":
                called[name] = recognition.family
        count += 1
    assert count >= 200
    assert not called


@pytest.mark.parametrize("name", ["plain_progan-he-24", "baked_stylegan2-torch-24", "quantised-he-12"])
def test_baking_a_plain_network_is_refused(name: str, tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    net = dict(networks())[name]
    save_file(net, tmp_path / "net.safetensors")
    result = run_cli("bake", tmp_path / "net.safetensors", tmp_path / "out.safetensors")
    assert result.code in (2, 3)
    assert not (tmp_path / "out.safetensors").exists()


def test_a_name_that_only_a_hook_uses_is_asked_about_and_not_decided(tmp_path: Path) -> None:
    """A hook without spectral norm's vectors may be anything, so the answer is neither plain nor equalized."""
    rng = np.random.default_rng(SEED)
    save_file({"a.weight_orig": rng.standard_normal((8, 8)).astype(np.float32)}, tmp_path / "net.safetensors")
    checkpoint = open_checkpoint(tmp_path / "net.safetensors")
    recognition = recognise(checkpoint, checkpoint.networks[0])
    assert recognition.family == UNDECIDED
    assert recognition.question is not None


def test_real_checkpoints_are_plain() -> None:
    shared = find_shared()
    if shared is None or not (shared / "real").is_dir():
        pytest.skip("the shared real checkpoints are not here: put them beside the repository or set EQLR_SHARED")
    suffixes = (".pt", ".pth.tar", ".ckpt", ".safetensors", ".jit", ".steg")
    files = [path for path in sorted((shared / "real").rglob("*")) if path.name.endswith(suffixes)]
    assert files
    for path in files:
        checkpoint = open_checkpoint(path)
        for network in checkpoint.networks:
            recognition = recognise(checkpoint, network)
            assert recognition.family == "plain", path
            assert not recognition.equalized, path
