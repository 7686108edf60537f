"""A contributor's own family, given on the command line: the worked example of docs/add-a-family.md, run."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from eqlr_tools.families import catalogue
from tests.conftest import ROOT, Result
from tests.families.builders import Built

BASE = """from dataclasses import replace
from eqlr_tools.families.aladdin import PROGAN
from eqlr_tools.families.family import Family, Signature
from eqlr_tools.families.rules import conv
"""


@pytest.fixture(autouse=True)
def forget_added_families() -> Iterator[None]:
    yield
    catalogue._added.clear()


@pytest.fixture
def toygan(tmp_path: Path) -> Path:
    guide = (ROOT / "docs" / "add-a-family.md").read_text()
    example = re.search(r"<!-- family: toygan -->\n```python\n(.*?)```", guide, re.DOTALL)
    assert example is not None
    path = tmp_path / "toygan.py"
    path.write_text(example[1])
    return path


def network() -> Built:
    net = Built()
    net.scaled("to_w.0.kernel", (16, 16), math.sqrt(2) * 0.01 / 4, 0.01)
    net.scaled("to_w.0.shift", (16,), 0.01, 0.01)
    net.scaled("grow.0.kernel", (12, 12, 3, 3), math.sqrt(2 / 108))
    net.put("grow.0.shift", 12)
    net.scaled("paint.kernel", (3, 12, 1, 1), 1 / math.sqrt(12))
    net.put("paint.shift", 3)
    net.put("seed", 1, 12, 4, 4)
    return net


def test_the_guides_family_bakes_its_network(toygan: Path, tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    net = network()
    source, target = tmp_path / "model.safetensors", tmp_path / "plain.safetensors"
    save_file(net.tensors, source)
    assert run_cli("bake", source, target).code == 3
    result = run_cli("--families", toygan, "bake", source, target)
    assert result.code == 0, result.stderr
    baked = load_file(target)
    for name, array in net.tensors.items():
        wanted = array.astype(np.float64) * net.constants.get(name, 1.0)
        assert np.abs(baked[name] - wanted).max() <= 1e-6 * np.abs(wanted).max(), name
    assert "toygan" in run_cli("--families", toygan, "families").stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", "mine.py: defines no Family of its own"),
        ("import nothing_of_that_name\n", "mine.py, line 1: ModuleNotFoundError"),
        ("x = (\n", "mine.py, line 1: '(' was never closed"),
        ("import sys\nsys.exit(3)\n", "mine.py, line 2: SystemExit: 3"),
        ("from eqlr_tools.families.aladdin import PROGAN\n", "defines no Family of its own"),
        (f"{BASE}MINE = replace(PROGAN, title='x')\n", "called 'aladdin-progan' already"),
        (f"{BASE}A = replace(PROGAN, id='x')\nB = replace(PROGAN, id='x')\n", "called 'x' already"),
        (f"{BASE}MINE = replace(PROGAN, id=7)\n", "family 7: id must be a text"),
        (f"{BASE}MINE = Family(id='x')\n", "line 5: TypeError: Family.__init__() missing"),
        (f"{BASE}MINE = replace(PROGAN, id='x', signatures='y')\n", "signatures must be a tuple of Signature objects"),
        (f"{BASE}MINE = replace(PROGAN, id='x', signatures=(Signature('a('),))\n", "the pattern 'a(' is none"),
        (f"{BASE}MINE = replace(PROGAN, id='x', signatures=(Signature('a', without=('b(',)),))\n", "'b(' is none"),
        (f"{BASE}MINE = replace(PROGAN, id='x', signatures=(Signature('a', also=('b')),))\n", "must be a tuple of pat"),
        (f"{BASE}MINE = replace(PROGAN, id='x', signatures=())\n", "it has no signature"),
        (f"{BASE}MINE = replace(PROGAN, id='x', rules=('y',))\n", "rules must be a tuple of Rule objects"),
        (f"{BASE}MINE = replace(PROGAN, id='x', rules=(conv('y', gain='big'),))\n", "gain must be a positive number"),
        (f"{BASE}MINE = replace(PROGAN, id='x', rules=(conv('y', bias='{{z}}'),))\n", "can hold {layer} and nothing"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(
    text: str, said: str, tmp_path: Path, run_cli: Callable[..., Result]
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    result = run_cli("--families", path, "families")
    assert result.code == 2
    assert said in result.stderr
    assert run_cli("--families", tmp_path / "absent.py", "families").code == 2


def test_the_line_is_told_of_a_file_given_by_a_relative_path(
    tmp_path: Path, run_cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(f"{BASE}MINE = Family(id='x')\n")
    assert "mine.py, line 5: TypeError" in run_cli("--families", "mine.py", "families").stderr


Shapes = dict[str, tuple[int, ...]]

FRIENDS: dict[str, tuple[str, Shapes]] = {
    "lucidrains": ("lucidrains-stylegan2", {"S.net.0.weight": (8, 8), "G.blocks.0.to_style1.weight": (8, 8)}),
    "lucidrains' generator": (
        "lucidrains-stylegan2",
        {
            "blocks.0.to_style1.weight": (8, 8),
            "blocks.0.to_noise1.weight": (8, 1),
            "blocks.0.conv1.weight": (8, 8, 3, 3),
            "blocks.0.to_rgb.to_style.weight": (8, 8),
        },
    ),
    "lucidrains' discriminator": (
        "lucidrains-stylegan2",
        {
            "blocks.0.conv_res.weight": (8, 3, 1, 1),
            "blocks.0.net.2.weight": (8, 8, 3, 3),
            "final_conv.weight": (8,) * 4,
        },
    ),
    "gigagan": ("lucidrains-gigagan", {"style_network.net.0.weight": (8, 8), "layers.0.0.weight": (8, 8, 3, 3)}),
    "gigagan's generator": (
        "lucidrains-gigagan",
        {"init_conv.weights": (2, 8, 8, 3, 3), "layers.0.1.0.weights": (2, 8, 8, 3, 3)},
    ),
    "gigagan's discriminator": (
        "lucidrains-gigagan",
        {
            "layers.0.2.2.weight": (8, 8, 3, 3),
            "layers.0.7.1.weight": (8, 32, 1, 1),
            "to_logits.0.weight": (8, 8, 3, 3),
        },
    ),
    "alae's decoder": (
        "alae",
        {"decode_block.0.conv_2.weight": (8, 8, 3, 3), "decode_block.0.style_1.weight": (16, 8)},
    ),
    "alae's mapping": (
        "alae",
        {"block_1.fc.weight": (8, 8), "block_2.fc.weight": (8, 8), "block_2.fc.bias": (8,)},
    ),
    "edm": (
        "nvidia-edm",
        {
            "model.map_layer0.weight": (8, 8),
            "model.enc.8x8_conv.weight": (8, 3, 3, 3),
            "model.enc.8x8_block0.conv0.weight": (8, 8, 3, 3),
        },
    ),
    "codeformer": (
        "codeformer",
        {
            "quantize.embedding.weight": (8, 8),
            "ft_layers.0.linear1.weight": (8, 8),
            "fuse_convs_dict.32.scale.0.weight": (8, 8, 3, 3),
        },
    ),
    "codeformer's autoencoder": (
        "codeformer",
        {
            "quantize.embedding.weight": (8, 8),
            "encoder.blocks.0.weight": (8, 3, 3, 3),
            "generator.blocks.0.weight": (8, 8, 3, 3),
        },
    ),
    "migan": (
        "migan",
        {"synthesis.b8.conv2.conv1.weight": (8, 1, 3, 3), "encoder.b8.conv1.conv1.weight": (8, 1, 3, 3)},
    ),
    "torchgan's discriminator": ("torchgan", {"disc.0.weight": (1, 8, 4, 4), "model.0.0.weight": (8, 3, 4, 4)}),
}


@pytest.mark.parametrize(
    ("field", "body", "said"),
    [
        ("doubt", "return view.shapes['nothing']", "mine.py, line 4: doubt of family x: KeyError: 'nothing'"),
        ("doubt", "return None", "doubt of family x returned None"),
        ("question", "return 'what?'", "question of family x returned 'what?'"),
        ("extra", "return [1]", "extra of family x returned [1]"),
        ("rules", "raise RuntimeError('oh')", "mine.py, line 4: rules of family x: RuntimeError: oh"),
        ("rules", "return ['y']", "rules of family x returned ['y']"),
    ],
)
@pytest.mark.parametrize("command", ["explain", "scan"])
def test_what_goes_wrong_in_its_functions_is_told_with_the_line(
    field: str, body: str, said: str, command: str, tmp_path: Path, run_cli: Callable[..., Result]
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from eqlr_tools.families.family import Family, Signature\n\ndef function(view, prefix):\n"
        f"    {body}\n\nMINE = Family(id='x', title='x', architecture='any', upstream='',\n"
        f"    signatures=(Signature(r'paint\\.kernel'),), {field}=function)\n"
    )
    source = tmp_path / "model.safetensors"
    save_file(network().tensors, source)
    result = run_cli("--families", path, command, source)
    told = " ".join((result.stdout + result.stderr).split())
    assert said in told, told
    assert result.code == (2 if command == "explain" else result.code)
    assert "internal error" not in told
    assert "Traceback" not in told


def test_a_family_may_be_made_from_one_of_the_package(tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    path = tmp_path / "mine.py"
    path.write_text(f"{BASE}MINE = replace(PROGAN, id='mine')\nAGAIN = MINE\n")
    result = run_cli("--families", path, "families", "-f", "csv")
    assert (result.code, result.stdout.count("\nmine,")) == (0, 1)


@pytest.mark.parametrize("name", FRIENDS)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_false_friends_are_called_by_their_name(
    name: str, prefix: str, tmp_path: Path, run_cli: Callable[..., Result]
) -> None:
    family, shapes = FRIENDS[name]
    path, rng = tmp_path / "net.safetensors", np.random.default_rng(0)
    save_file({prefix + key: np.asarray(rng.standard_normal(s), np.float32) for key, s in shapes.items()}, path)
    result = run_cli("bake", path, tmp_path / "out.safetensors")
    assert result.code == 3
    assert family in result.stderr
    assert not (tmp_path / "out.safetensors").exists()


def test_torchgans_trainer_is_known_by_its_records(tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    """Its generators have the names of any Sequential, and nobody else's may be called after it."""
    net = {"model.0.0.weight": torch.randn(8, 4, 4, 4), "model.0.1.weight": torch.ones(4)}
    torch.save({"epoch": 1, "loss_information": {"generator_iters": 5}, "generator": net}, tmp_path / "torchgan.pt")
    torch.save({"epoch": 1, "generator": net}, tmp_path / "somebody.pt")
    for stem, named in (("torchgan", True), ("somebody", False)):
        result = run_cli("bake", tmp_path / f"{stem}.pt", tmp_path / "out.pt")
        assert result.code == 3
        assert ("torchgan has no equalized layer" in " ".join(result.stderr.split())) == named


def test_the_guides_family_is_known_to_workers(toygan: Path, tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for index in range(3):
        save_file(network().tensors, folder / f"{index}.safetensors")
    result = run_cli("--families", toygan, "scan", folder, "-f", "jsonl", "--jobs", "2")
    assert result.stdout.count('"family": "toygan"') == 2 * 3, result.stdout + result.stderr
    refused = run_cli("--families", toygan, "scan", folder, "-f", "jsonl", "--dask", "tcp://127.0.0.1:1")
    assert refused.code == 2
    assert "install the families there" in refused.stderr


INSTALLED = """
import sys
sys.path.insert(0, sys.argv[1])
from eqlr_tools.families.catalogue import known_families
print("offered" in {family.id for family in known_families()})
"""


@pytest.mark.parametrize("group", ["eqlr_tools.families", "somebody.else"])
def test_families_of_an_installed_package(tmp_path: Path, group: str) -> None:
    (tmp_path / "offering.py").write_text(
        "from dataclasses import replace\nfrom eqlr_tools.families.catalogue import FAMILIES\n"
        "FAMILY = replace(FAMILIES[0], id='offered')\n"
    )
    metadata = tmp_path / "offering-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: offering\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{group}]\noffered = offering:FAMILY\n")
    command = [sys.executable, "-c", INSTALLED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(group == "eqlr_tools.families")]


def test_an_installed_package_offers_its_family(toygan: Path, tmp_path: Path) -> None:
    """A package as pip leaves it: its module beside its metadata, found by Python's own machinery in a new process."""
    site = tmp_path / "site"
    metadata = site / "toygan_eqlr-1.0.dist-info"
    metadata.mkdir(parents=True)
    (site / "toygan_eqlr.py").write_text(toygan.read_text())
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toygan-eqlr\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[eqlr_tools.families]\ntoygan = toygan_eqlr:TOYGAN\n")
    source, target = tmp_path / "model.safetensors", tmp_path / "plain.safetensors"
    net = network()
    save_file(net.tensors, source)
    paths = os.pathsep.join([str(site), str(ROOT), os.environ.get("PYTHONPATH", "")])

    def eqlr(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "eqlr_tools", *map(str, arguments)]
        return subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True)

    done = eqlr("bake", source, target)
    assert done.returncode == 0, done.stderr
    baked = load_file(target)
    for name, array in net.tensors.items():
        wanted = array.astype(np.float64) * net.constants.get(name, 1.0)
        assert np.abs(baked[name] - wanted).max() <= 1e-6 * np.abs(wanted).max(), name
    assert "somebody/toygan" in eqlr("families", "-f", "csv").stdout

    (metadata / "entry_points.txt").write_text("[eqlr_tools.families]\ntoygan = toygan_eqlr:SQRT2\n")
    refused = eqlr("families")
    assert refused.returncode == 2
    assert "the entry point 'toygan'" in refused.stderr
    assert "Traceback" not in refused.stderr
    once = eqlr("scan", source, target)
    assert (once.returncode, once.stdout, once.stderr.count("the entry point")) == (2, "", 1)
