"""`eqlr export` as a user meets it: files, metadata, refusals, and no file when the graph is wrong."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.errors import OutputError, VerificationError
from eqlr_tools.onnx_export import stylegan2
from eqlr_tools.onnx_export.choices import Choices
from eqlr_tools.onnx_export.export import Common, export
from eqlr_tools.onnx_export.hazards import hazardous
from eqlr_tools.onnx_export.options import Noise, Options
from eqlr_tools.rewriting.selection import Selection
from tests.onnx_export.graphs import load, run


def test_writes_one_checked_file_with_metadata(run_cli, samples: Path, tmp_path: Path) -> None:
    source, target = samples / "stylegan2_digits.pt", tmp_path / "digits.onnx"
    result = run_cli("export", source, target, "-f", "json")
    assert result.code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["schema"] == "eqlr.export/1"
    assert report["facts"]["resolution"] == 16
    assert report["facts"]["network"] == "g_ema"
    assert {entry["latents"] for entry in report["checked"]["outputs"]} == {"usual", "extreme"}
    assert all(entry["snr_db"] > 100 for entry in report["checked"]["outputs"])
    model = load(target)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["eqlr.source_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert metadata["eqlr.family"] == "rosinality-stylegan2"
    assert (model.producer_name, model.opset_import[0].version) == ("eqlr-tools", 18)
    assert [path.name for path in tmp_path.iterdir()] == ["digits.onnx"]


def test_any_batch(run_cli, samples: Path, tmp_path: Path) -> None:
    target = tmp_path / "digits.onnx"
    assert run_cli("export", samples / "stylegan2_digits.pt", target).code == 0
    z = np.random.default_rng(0).standard_normal((7, 32)).astype(np.float32)
    together = run(target, z=z)
    assert together.shape == (7, 3, 16, 16)
    np.testing.assert_allclose(run(target, z=z[3:4]), together[3:4], atol=1e-5)


def test_mapping_then_synthesis_is_the_whole(run_cli, samples: Path, tmp_path: Path) -> None:
    source = samples / "stylegan2_digits.pt"
    assert run_cli("export", source, tmp_path / "whole.onnx").code == 0
    assert run_cli("export", source, tmp_path / "parts.onnx", "--split").code == 0
    z = np.random.default_rng(0).standard_normal((2, 32)).astype(np.float32)
    w = run(tmp_path / "parts.mapping.onnx", z=z)
    np.testing.assert_allclose(
        run(tmp_path / "parts.synthesis.onnx", w=w), run(tmp_path / "whole.onnx", z=z), atol=1e-5
    )


def test_bytes_are_the_rounded_float_image(run_cli, samples: Path, tmp_path: Path) -> None:
    source = samples / "stylegan2_digits.pt"
    assert run_cli("export", source, tmp_path / "float.onnx").code == 0
    assert run_cli("export", source, tmp_path / "bytes.onnx", "--image", "uint8").code == 0
    z = np.random.default_rng(0).standard_normal((2, 32)).astype(np.float32)
    image = run(tmp_path / "float.onnx", z=z).transpose(0, 2, 3, 1)
    found = run(tmp_path / "bytes.onnx", z=z)
    assert found.dtype == np.uint8
    assert np.abs(found - np.clip((image + 1) * 127.5, 0, 255)).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_wrong_graph_is_not_written(run_cli, samples: Path, tmp_path: Path, monkeypatch, precision: str) -> None:
    """A gain that is one percent off, on the biases of some layers alone: finite everywhere, and hardly to be seen."""
    right = stylegan2.Synthesis._filtered
    monkeypatch.setattr(stylegan2.Synthesis, "_filtered", lambda self, x, name, bias: right(self, x, name, bias * 0.99))
    result = run_cli("export", samples / "stylegan2_digits.pt", tmp_path / "x.onnx", "--precision", precision)
    assert result.code == 1
    assert "differs from the float64 reference" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_refuses_what_is_no_known_generator_by_name(run_cli, samples: Path, tmp_path: Path) -> None:
    result = run_cli("export", samples / "dcgan_digits.pt", tmp_path / "x.onnx")
    assert result.code == 2
    assert "netG is of no known architecture" in result.stderr
    assert not list(tmp_path.iterdir())


def test_refuses_an_existing_target_and_odd_opsets(run_cli, samples: Path, tmp_path: Path) -> None:
    target = tmp_path / "x.onnx"
    target.write_text("mine")
    assert run_cli("export", samples / "stylegan2_digits.pt", target).code == 2
    assert target.read_text() == "mine"
    assert run_cli("export", samples / "stylegan2_digits.pt", tmp_path / "y.onnx", "--opset", "9").code == 2


def test_mixed_names_the_layers_that_half_precision_would_spoil() -> None:
    fine = np.random.default_rng(0).standard_normal((4, 4, 3, 3))
    assert set(hazardous({"fine": fine, "tiny": fine * 1e-7, "huge": fine * 1e5})) == {"tiny", "huge"}


def test_a_discriminator_is_no_substitute_for_a_generator(run_cli, shared_dir: Path, tmp_path: Path) -> None:
    """StyleGAN3's files hold StyleGAN2's discriminator: it is exported when it is asked for, and only then."""
    source = shared_dir / "oracles" / "nvidia-stylegan3-t" / "checkpoint.pkl"
    result = run_cli("export", source, tmp_path / "x.onnx", "--network", "D")
    assert result.code == 0, result.stderr
    assert run_cli("export", source, tmp_path / "y.onnx", "--network", "D", "--split").code == 2


def test_hazards_are_those_of_the_audit_and_say_what_would_happen() -> None:
    fine = np.random.default_rng(0).standard_normal((8, 8, 3, 3)) * 0.1
    one_large = fine.copy()
    one_large[0, 0, 0, 0] = 7e4
    small = fine.copy()
    small[:1] *= 1e-8
    found = hazardous({"fine": fine, "one": one_large, "flushed": small, "subnormal": fine * 5e-4})
    assert set(found) == {"one", "flushed", "subnormal"}
    assert "overflow" in found["one"]
    assert "become zero" in found["flushed"]
    assert "subnormal" in found["subnormal"]


def test_mixed_keeps_a_hazardous_layer_in_single_precision(samples: Path, run_cli, tmp_path: Path) -> None:
    """One weight of 70,000 overflows in fp16: that layer stays, the others are converted, and both are said."""
    state = torch.load(samples / "stylegan2_digits.pt", weights_only=False)  # Our own file; it holds argparse options.
    weight = state["g_ema"]["conv1.conv.weight"]
    weight[0, 0, 0, 0, 0] = 7e4 * math.sqrt(weight[0, 0].numel())
    torch.save(state, tmp_path / "spoilt.pt")
    target = tmp_path / "mixed.onnx"
    arguments = ("export", tmp_path / "spoilt.pt", target, "--precision", "mixed", "--noise", "none")
    result = run_cli(*arguments, "-f", "json")
    assert result.code == 0, result.stderr
    kept = json.loads(result.stdout)["kept_fp32"]
    assert list(kept) == ["synthesis.b4.conv1"]
    assert "overflow" in kept["synthesis.b4.conv1"]
    assert "in fp32: synthesis.b4.conv1, " in run_cli(*arguments, "--force").stdout
    kinds = {tensor.name: tensor.data_type for tensor in load(target).graph.initializer}
    assert kinds["synthesis.b4.conv1.weight"] == onnx.TensorProto.FLOAT
    assert kinds["synthesis.b8.conv1.weight"] == onnx.TensorProto.FLOAT16


def test_more_than_a_file_holds_goes_beside_it(samples: Path, tmp_path: Path) -> None:
    """As with 2 GB, here with a few kilobytes: two files, one result; replaced together, refused together."""
    checkpoint = open_checkpoint(samples / "stylegan2_digits.pt")
    target, common = tmp_path / "x.onnx", Common(single_file_bytes=1000)
    done = export(checkpoint, target, Selection(), Options(), Choices(), common)
    (file,) = done.files
    data = tmp_path / "x.onnx.data"
    assert (file.nbytes, file.data_bytes) == (target.stat().st_size, data.stat().st_size)
    assert sorted(tmp_path.iterdir()) == [target, data]
    z = np.random.default_rng(0).standard_normal((2, 32)).astype(np.float32)
    export(checkpoint, tmp_path / "single.onnx", Selection(), Options(), Choices(), Common())
    np.testing.assert_array_equal(run(target, z=z), run(tmp_path / "single.onnx", z=z))
    entries = {e.key: e.value for t in load(target, data=False).graph.initializer for e in t.external_data}
    assert entries["location"] == "x.onnx.data"
    assert int(entries["offset"]) % 4096 == 0
    before = data.read_bytes()
    with pytest.raises(OutputError):
        export(checkpoint, target, Selection(), Options(), Choices(), common)
    target.unlink()
    with pytest.raises(OutputError):
        export(checkpoint, target, Selection(), Options(), Choices(), common)
    assert data.read_bytes() == before
    export(checkpoint, target, Selection(), Options(), Choices(), replace(common, force=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["single.onnx", "x.onnx", "x.onnx.data"]


def test_two_parts_with_data_and_random_noise(samples: Path, tmp_path: Path) -> None:
    options = Options(split=True, noise=Noise.random)
    common = Common(single_file_bytes=1000)
    export(
        open_checkpoint(samples / "stylegan2_digits.pt"), tmp_path / "x.onnx", Selection(), options, Choices(), common
    )
    names = [f"x.{part}.onnx{end}" for part in ("mapping", "synthesis") for end in ("", ".data")]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_a_wrong_graph_leaves_no_data_behind(samples: Path, tmp_path: Path, monkeypatch) -> None:
    right = stylegan2.Synthesis._filtered
    monkeypatch.setattr(stylegan2.Synthesis, "_filtered", lambda self, x, name, bias: right(self, x, name, bias * 0.9))
    with pytest.raises(VerificationError):
        export(
            open_checkpoint(samples / "stylegan2_digits.pt"),
            tmp_path / "x.onnx",
            Selection(),
            Options(split=True),
            Choices(),
            Common(single_file_bytes=1000),
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_provider_that_is_not_installed_is_named_with_its_install_line(samples, run_cli, tmp_path, provider) -> None:
    available = onnxruntime.get_available_providers()
    if any(provider in name.lower() for name in available):
        pytest.skip(f"this ONNX Runtime has {available}")
    result = run_cli("export", samples / "stylegan2_digits.pt", tmp_path / "x.onnx", "--provider", provider)
    assert result.code == 2
    assert "eqlr-tools[gpu]" in result.stderr
    assert not list(tmp_path.iterdir())
