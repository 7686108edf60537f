"""A baked file says that it is plain, where its project has a setting for that, and an equalized one says otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.nn import functional


def _akanimax(tmp_path: Path) -> Path:
    """A file as pro_gan_pytorch 3 writes it: networks with their configuration beside the state dict."""
    torch.manual_seed(0)
    state = {
        "layers.0.conv_1.weight": torch.randn(16, 16, 4, 4),
        "layers.0.conv_1.bias": torch.randn(16),
        "layers.0.conv_2.weight": torch.randn(16, 16, 3, 3),
        "layers.0.conv_2.bias": torch.randn(16),
        "layers.1.conv_1.weight": torch.randn(8, 16, 3, 3),
        "layers.1.conv_1.bias": torch.randn(8),
        "layers.1.conv_2.weight": torch.randn(8, 8, 3, 3),
        "layers.1.conv_2.bias": torch.randn(8),
        "rgb_converters.0.weight": torch.randn(3, 16, 1, 1),
        "rgb_converters.0.bias": torch.randn(3),
        "rgb_converters.1.weight": torch.randn(3, 8, 1, 1),
        "rgb_converters.1.bias": torch.randn(3),
    }
    conf = {"depth": 3, "num_channels": 3, "latent_size": 16, "use_eql": True}
    path = tmp_path / "akanimax.bin"
    torch.save({name: {"conf": dict(conf), "state_dict": state} for name in ("generator", "shadow_generator")}, path)
    return path


def test_use_eql_goes_off_and_on_again(run_cli: Any, tmp_path: Path) -> None:
    source, baked, back = _akanimax(tmp_path), tmp_path / "baked.pt", tmp_path / "back.pt"
    assert run_cli("bake", source, baked, "--network", "generator").code == 0
    written = torch.load(baked, weights_only=True)
    assert (written["generator"]["conf"]["use_eql"], written["shadow_generator"]["conf"]["use_eql"]) == (False, True)
    assert (
        written["generator"]["state_dict"].keys()
        == torch.load(source, weights_only=True)["generator"]["state_dict"].keys()
    )
    assert run_cli("equalize", baked, back, "--to", "akanimax-progan", "--network", "generator").code == 0
    again = torch.load(back, weights_only=True)
    assert again["generator"]["conf"]["use_eql"] is True


def test_a_shared_setting_changes_with_all_networks_only(run_cli: Any, shared_dir: Path, tmp_path: Path) -> None:
    source = shared_dir / "oracles" / "fb-gan-zoo-pgan" / "checkpoint.pt"
    assert run_cli("bake", source, tmp_path / "all.pt").code == 0
    assert torch.load(tmp_path / "all.pt", weights_only=True)["config"]["equalizedlR"] is False
    result = run_cli("bake", source, tmp_path / "one.pt", "--network", "avgG")
    assert result.code == 0
    assert torch.load(tmp_path / "one.pt", weights_only=True)["config"]["equalizedlR"] is True
    assert run_cli("equalize", tmp_path / "all.pt", tmp_path / "back.pt", "--to", "fb-gan-zoo").code == 0
    assert torch.load(tmp_path / "back.pt", weights_only=True)["config"]["equalizedlR"] is True


class Scaled(torch.nn.Module):
    """A layer of the lernapparat and genforce lineage, from the facts: the switch turns 1/sqrt(fan-in) off, not lr."""

    def __init__(self, shape: tuple[int, ...], gain: float, lr: float, use_wscale: bool) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(shape) / lr)
        self.bias = torch.nn.Parameter(torch.randn(shape[0]) * 0.1 / lr)
        self.multiplier = gain * lr / self.weight[0].numel() ** 0.5 if use_wscale else lr
        self.lr = lr

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight, bias = self.weight * self.multiplier, self.bias * self.lr
        if weight.ndim == 2:
            return functional.leaky_relu(functional.linear(x, weight, bias), 0.2)
        return functional.leaky_relu(functional.conv2d(x, weight, bias, padding=1), 0.2)


class Pulse(torch.nn.Module):
    """PULSE's mapping network: eight dense layers, lr 0.01."""

    def __init__(self, use_wscale: bool) -> None:
        super().__init__()
        for n in range(8):
            setattr(self, f"dense{n}", Scaled((24, 24), 2**0.5, 0.01, use_wscale))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for n in range(8):
            x = getattr(self, f"dense{n}")(x)
        return x


def test_a_mapping_network_keeps_the_multiplier_that_its_code_applies(run_cli: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    on, off = Pulse(use_wscale=True), Pulse(use_wscale=False)
    torch.save(on.state_dict(), tmp_path / "on.pth")
    result = run_cli("bake", tmp_path / "on.pth", tmp_path / "off.pth", "--to", "original")
    assert result.code == 0, result.stderr
    assert "use_wscale=False" in result.stdout + result.stderr
    off.load_state_dict(torch.load(tmp_path / "off.pth", weights_only=True), strict=True)
    z = torch.randn(4, 24)
    with torch.no_grad():
        torch.testing.assert_close(off(z), on(z), rtol=1e-5, atol=1e-6)
    # Baked once more, without the code in mind, it is plain throughout; and the same function.
    assert run_cli("bake", tmp_path / "off.pth", tmp_path / "plain.pth").code == 0
    assert run_cli("verify", tmp_path / "on.pth", tmp_path / "plain.pth").code == 0
    plain = torch.load(tmp_path / "plain.pth", weights_only=True)
    expected = on.dense3.weight * on.dense3.multiplier
    torch.testing.assert_close(plain["dense3.weight"], expected, rtol=1e-6, atol=0.0, check_dtype=True)


class Equalized(torch.nn.Conv2d):
    """akanimax's convolution, and with the switch off torch's own."""

    def __init__(self, *sizes: int, use_eql: bool, padding: int = 0) -> None:
        super().__init__(*sizes, padding=padding)
        torch.nn.init.normal_(self.weight)
        self.scale = 2**0.5 / self.weight[0].numel() ** 0.5 if use_eql else 1.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(x, self.weight * self.scale, self.bias, padding=self.padding)


class Critic(torch.nn.Module):
    """The first block of akanimax's discriminator."""

    def __init__(self, use_eql: bool) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Module()])
        self.layers[0].conv_1 = Equalized(8, 8, 3, use_eql=use_eql, padding=1)
        self.layers[0].conv_2 = Equalized(8, 12, 3, use_eql=use_eql, padding=1)
        self.from_rgb = torch.nn.ModuleList([torch.nn.Sequential(Equalized(3, 8, 1, use_eql=use_eql))])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        block = self.layers[0]
        return block.conv_2(functional.leaky_relu(block.conv_1(self.from_rgb[0](x)), 0.2))


def test_the_original_code_loads_the_file_with_its_switch_off(run_cli: Any, tmp_path: Path) -> None:
    torch.manual_seed(1)
    on, off = Critic(use_eql=True), Critic(use_eql=False)
    saved = {"discriminator": {"conf": {"use_eql": True}, "state_dict": on.state_dict()}}
    torch.save(saved, tmp_path / "on.bin")
    assert run_cli("bake", tmp_path / "on.bin", tmp_path / "off.pt", "--to", "original").code == 0
    file = torch.load(tmp_path / "off.pt", weights_only=True)["discriminator"]
    assert file["conf"]["use_eql"] is False
    off.load_state_dict(file["state_dict"], strict=True)
    image = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(off(image), on(image), rtol=1e-5, atol=1e-6)


def test_a_family_without_a_switch_has_no_original_form(run_cli: Any, shared_dir: Path, tmp_path: Path) -> None:
    source = shared_dir / "oracles" / "rosinality-stylegan2" / "checkpoint.pt"
    result = run_cli("bake", source, tmp_path / "x.pt", "--to", "original")
    assert result.code == 2
    assert "no switch" in result.stderr.replace("\n", " ")


def test_what_eqlr_equalized_is_not_asked_about(run_cli: Any, tmp_path: Path) -> None:
    """Before version 3 akanimax wrote no `use_eql` into the file: the user has to say, once."""
    told = torch.load(_akanimax(tmp_path), weights_only=True)["generator"]["state_dict"]
    source, baked, back = tmp_path / "old.pt", tmp_path / "baked.pt", tmp_path / "back.pt"
    torch.save(told, source)
    assert run_cli("bake", source, tmp_path / "no.pt").code == 2
    assert run_cli("bake", source, baked, "--family", "akanimax-progan").code == 0
    assert run_cli("equalize", baked, back, "--to", "akanimax-progan").code == 0
    assert run_cli("bake", back, tmp_path / "again.pt").code == 0
