"""The order in which modules register, against files that the original code wrote, and against its source."""

from __future__ import annotations

from pathlib import Path

import pytest

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.families.catalogue import FAMILIES
from eqlr_tools.families.naming import Depth, Naming
from eqlr_tools.families.registry import family_named
from eqlr_tools.families.training import Training, registered
from eqlr_tools.rewriting.canonical import canonical_networks
from eqlr_tools.rewriting.carry_optimizer import is_parameter, parameters_of_target
from eqlr_tools.rewriting.selection import Selection, recognise_all
from tests.oracles import Oracle

ORACLES = [
    "rosinality-stylegan2",
    "rosinality-stylegan1",
    "basicsr-stylegan2",
    "huangzh13-stylegan",
    "aladdin-progan",
    "aladdin-stylegan",
    "nvidia-stylegan2-ada",
    "nvidia-stylegan3-t",
]


@pytest.mark.parametrize("name", ORACLES)
def test_order_of_a_file_that_the_project_wrote(name: str, shared_dir: Path) -> None:
    seen = 0
    for path in Oracle(shared_dir / "oracles" / name).files.values():
        for recognition in recognise_all(open_checkpoint(path), Selection()):
            network = next(iter(canonical_networks(recognition)), None)
            if network is None:
                continue
            own = {part.stored for part in (*network.parts.values(), *network.copies) if is_parameter(part.slot)}
            listed = [name for name in recognition.network.tensors if name in own]
            assert isinstance(network.naming.training, Training)
            assert listed == sorted(listed, key=network.naming.training.order), recognition.network.name
            seen += len(listed)
    assert seen


GENFORCE_STYLEGAN = """
mapping.dense0.weight mapping.dense0.bias synthesis.layer0.bias synthesis.layer0.const
synthesis.layer0.apply_noise.weight
synthesis.layer0.style.weight synthesis.layer0.style.bias synthesis.layer1.bias synthesis.layer1.weight
synthesis.layer1.apply_noise.weight synthesis.layer1.style.weight synthesis.layer1.style.bias synthesis.output0.bias
synthesis.output0.weight synthesis.layer2.bias synthesis.layer2.weight synthesis.layer2.apply_noise.weight
synthesis.layer2.style.weight synthesis.layer2.style.bias synthesis.layer3.bias synthesis.layer3.weight
synthesis.layer3.apply_noise.weight synthesis.layer3.style.weight synthesis.layer3.style.bias synthesis.output1.bias
synthesis.output1.weight
"""
GENFORCE_STYLEGAN2 = """
mapping.dense0.weight mapping.dense0.bias synthesis.early_layer.const synthesis.layer0.weight synthesis.layer0.bias
synthesis.layer0.noise_strength synthesis.layer0.style.weight synthesis.layer0.style.bias synthesis.output0.weight
synthesis.output0.bias synthesis.output0.style.weight synthesis.output0.style.bias synthesis.layer1.weight
synthesis.layer1.bias synthesis.layer1.noise_strength synthesis.layer1.style.weight synthesis.layer1.style.bias
synthesis.layer2.weight synthesis.layer2.bias synthesis.layer2.noise_strength synthesis.layer2.style.weight
synthesis.layer2.style.bias synthesis.output1.weight synthesis.output1.bias synthesis.output1.style.weight
synthesis.output1.style.bias
"""
GENFORCE_DISCRIMINATOR = """
input0.weight input0.bias layer0.weight layer0.bias layer1.weight layer1.bias skip_layer0.weight layer2.weight
layer2.bias layer3.weight layer3.bias layer4.weight layer4.bias
"""
MMGEN_STYLEGAN1 = """
style_mapping.1.bias style_mapping.1.linear.weight_orig convs.0.conv1.input convs.0.noise_injector1.weight
convs.0.adain1.affine.bias convs.0.adain1.affine.weight_orig convs.0.conv2.conv.bias convs.0.conv2.conv.weight_orig
convs.0.noise_injector2.weight convs.0.adain2.affine.bias convs.0.adain2.affine.weight_orig convs.1.conv1.0.conv.bias
convs.1.conv1.0.conv.weight_orig convs.1.noise_injector1.weight convs.1.adain1.affine.bias
convs.1.adain1.affine.weight_orig convs.1.conv2.conv.bias convs.1.conv2.conv.weight_orig convs.1.noise_injector2.weight
convs.1.adain2.affine.bias convs.1.adain2.affine.weight_orig to_rgbs.0.conv.bias to_rgbs.0.conv.weight_orig
to_rgbs.1.conv.bias to_rgbs.1.conv.weight_orig
"""
MMGEN_STYLEGAN2 = """
style_mapping.1.bias style_mapping.1.linear.weight_orig constant_input.input conv1.conv.weight_orig
conv1.conv.style_modulation.bias conv1.conv.style_modulation.linear.weight_orig conv1.noise_injector.weight
conv1.activate.bias to_rgb1.bias to_rgb1.conv.weight_orig to_rgb1.conv.style_modulation.bias
to_rgb1.conv.style_modulation.linear.weight_orig convs.0.conv.weight_orig convs.0.conv.style_modulation.bias
convs.0.conv.style_modulation.linear.weight_orig convs.0.noise_injector.weight convs.0.activate.bias
convs.1.conv.weight_orig convs.1.conv.style_modulation.bias convs.1.conv.style_modulation.linear.weight_orig
convs.1.noise_injector.weight convs.1.activate.bias to_rgbs.0.bias to_rgbs.0.conv.weight_orig
to_rgbs.0.conv.style_modulation.bias to_rgbs.0.conv.style_modulation.linear.weight_orig
"""
MMGEN_PGGAN = """
noise2feat.bias noise2feat.linear.weight_orig torgb_layers.0.conv.bias torgb_layers.0.conv.weight_orig
torgb_layers.1.conv.bias torgb_layers.1.conv.weight_orig conv_blocks.0.conv.bias conv_blocks.0.conv.weight_orig
conv_blocks.1.conv.bias conv_blocks.1.conv.weight_orig conv_blocks.2.conv.bias conv_blocks.2.conv.weight_orig
"""
READ = [
    ("genforce-stylegan", "generator", GENFORCE_STYLEGAN),
    ("genforce-stylegan2", "generator", GENFORCE_STYLEGAN2),
    ("genforce-stylegan2", "discriminator", GENFORCE_DISCRIMINATOR),
    ("mmgen-stylegan1", "generator", MMGEN_STYLEGAN1),
    ("mmgen-stylegan2", "generator", MMGEN_STYLEGAN2),
    ("mmgen-pggan", "generator", MMGEN_PGGAN),
]


@pytest.mark.parametrize(("family", "role", "listed"), READ)
def test_order_that_the_source_of_the_project_says(family: str, role: str, listed: str) -> None:
    naming = next(naming for naming in family_named(family).namings if naming.role == role)
    slots = list(naming.slots(Depth(8, 1 if role == "generator" else 0)))
    assert [parameter[0].stored for parameter in parameters_of_target(naming, slots)] == listed.split()


def trained() -> list[Naming]:
    return [naming for family in FAMILIES for naming in family.namings if isinstance(naming.training, Training)]


def test_every_parameter_has_a_place_of_its_own() -> None:
    for naming in trained():
        if naming.measured is None:
            slots = [slot for slot in naming.slots(Depth(32, 3, True)) if is_parameter(slot)]
            assert isinstance(naming.training, Training)
            order = naming.training.order
            stored = {slot.stored for slot in slots}
            assert len({order(name) for name in stored}) == len(stored)


def test_numbers_count_upwards_within_a_word() -> None:
    order = registered("weight bias first layer", blocks={"layer": (2, 0)})
    names = "layer10.weight first.weight layer2.bias layer2.weight 11.bias 2.bias".split()
    assert sorted(names[:4], key=order) == ["first.weight", "layer2.weight", "layer2.bias", "layer10.weight"]
    assert sorted(names[4:], key=order) == ["2.bias", "11.bias"]
