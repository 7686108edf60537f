"""The command-line contract: exit codes, formats, streams, and one clear sentence for every bad input."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from eqlr_tools.cli.sink import progress
from tests.conftest import Result
from tests.models import aladdin_state, plain_model, progan_file

COMMANDS = ["scan", "explain", "audit", "bake", "equalize", "verify", "families"]


@pytest.fixture
def progan(tmp_path: Path) -> Path:
    return progan_file(tmp_path / "progan.pt")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_page_has_examples(command: str, run_cli: Callable[..., Result]) -> None:
    result = run_cli(command, "--help")
    assert result.code == 0
    assert "Examples" in result.stdout
    assert f"eqlr {command}" in result.stdout


def test_scan_json_names_what_is_there(progan: Path, run_cli: Callable[..., Result]) -> None:
    result = run_cli("scan", progan, "-f", "json")
    assert (result.code, result.stderr) == (0, "")
    report = json.loads(result.stdout)
    assert report["schema"] == "eqlr.scan/1"
    (checkpoint,) = report["checkpoints"]
    assert checkpoint["family"] == "aladdin-progan"
    assert checkpoint["container"] == "torch zip"
    assert checkpoint["optimizers"] == ["optimizer"]
    assert checkpoint["networks"][0]["equalized"] == 6


def test_audit_json_has_stored_and_effective_figures(progan: Path, run_cli: Callable[..., Result]) -> None:
    report = json.loads(run_cli("audit", progan, "-f", "json").stdout)
    assert report["schema"] == "eqlr.audit/1"
    (network,) = report["files"][0]["networks"]
    layers = {layer["layer"]: layer for layer in network["layers"]}
    layer = layers["initial.3"]
    weight = aladdin_state()["initial.3.conv.weight"].double()
    c = (2 / (16 * 9)) ** 0.5
    assert layer["c"] == pytest.approx(c)
    assert (layer["kind"], layer["fan_in"], layer["dtype"], layer["shape"]) == (
        "conv2d",
        144,
        "float32",
        [16, 16, 3, 3],
    )
    for form, factor in (("stored", 1.0), ("effective", c)):
        figures = layer[form]
        assert figures["rms"] == pytest.approx(weight.square().mean().sqrt().item() * factor, rel=1e-6)
        assert figures["std"] == pytest.approx(weight.std(correction=0).item() * factor, rel=1e-6)
        assert figures["abs_max"] == pytest.approx(weight.abs().max().item() * factor, rel=1e-6)
        assert figures["min_nonzero"] == pytest.approx(weight.abs().min().item() * factor, rel=1e-6)
        assert figures["adam_steps_per_rms"] == pytest.approx(figures["rms"] / 1e-3)
        assert (figures["zeros"], figures["nonfinite"]) == (0, 0)
    assert layers["initial.1"]["c"] == 1.0
    spread = network["learning_speed_spread"]
    sizes = [layer["stored"]["rms"] for layer in network["layers"]]
    assert spread["stored"] == pytest.approx(max(sizes) / min(sizes))


def test_plan_json_follows_the_contract(progan: Path, run_cli: Callable[..., Result], tmp_path: Path) -> None:
    target = tmp_path / "plain.safetensors"
    report = json.loads(run_cli("bake", progan, target, "--format", "json").stdout)
    assert report["schema"] == "eqlr.plan/1"
    assert (report["source"], report["target"]) == (str(progan), str(target))
    assert report["verified"]["passed"] is True
    from safetensors import safe_open

    assert sorted(step["target"] for step in report["steps"]) == sorted(safe_open(target, "numpy").keys())
    (step,) = [step for step in report["steps"] if step["source"] == "initial.3.conv.weight"]
    assert set(step) == {"action", "network", "source", "target", "factor", "dtype", "shape"}
    assert (step["action"], step["network"]) == ("rescale", "state_dict")
    assert step["factor"] == pytest.approx((2 / 144) ** 0.5)


def test_csv_marks_what_was_interpolated_or_sampled(run_cli: Callable[..., Result], tmp_path: Path) -> None:
    torch.save({"large.weight": torch.randn(1025, 1025), "small.weight": torch.ones(4, 4)}, tmp_path / "a.pt")
    marks = ("quantiles_exact", "snr_exact")
    for options, large in [((), ("False", "False")), (("--exact-quantiles",), ("True", "False"))]:
        rows = csv.DictReader(io.StringIO(run_cli("audit", tmp_path / "a.pt", "-f", "csv", *options).stdout))
        found = {row["layer"]: tuple(row[mark] for mark in marks) for row in rows}
        assert found == {"large": large, "small": ("True", "True")}


def test_csv_and_markdown_are_tables(progan: Path, run_cli: Callable[..., Result]) -> None:
    rows = list(csv.DictReader(io.StringIO(run_cli("audit", progan, "-f", "csv").stdout)))
    assert {row["weights"] for row in rows} == {"stored", "effective"}
    assert all(float(row["rms"]) > 0 for row in rows)
    lines = run_cli("audit", progan, "-f", "markdown").stdout.splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1


def test_tables_fit_the_terminal(progan: Path, run_cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    for width in (60, 80, 120):
        monkeypatch.setenv("COLUMNS", str(width))
        for command in ("scan", "audit", "explain"):
            lines = run_cli(command, progan).stdout.splitlines()
            assert max(map(len, lines)) <= width, command


def test_dry_run_writes_nothing(progan: Path, run_cli: Callable[..., Result], tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    result = run_cli("bake", progan, tmp_path / "out.pt", "--dry-run", "-f", "json")
    assert result.code == 0
    assert json.loads(result.stdout)["verified"] is None
    assert sorted(tmp_path.iterdir()) == before


def test_output_mode_follows_the_umask(progan: Path, run_cli: Callable[..., Result], tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        assert run_cli("bake", progan, tmp_path / "out.pt").code == 0
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "out.pt").stat().st_mode) == 0o640


def test_verify_finds_a_changed_weight(progan: Path, run_cli: Callable[..., Result], tmp_path: Path) -> None:
    assert run_cli("bake", progan, tmp_path / "out.pt").code == 0
    assert run_cli("verify", progan, tmp_path / "out.pt").code == 0
    content = torch.load(tmp_path / "out.pt", weights_only=True)
    content["state_dict"]["initial.3.conv.weight"][0, 0, 0, 0] *= 1 + 1e-5
    # Saved by torch, the file no longer says that eqlr baked it; the weights' size has to.
    torch.save(content, tmp_path / "changed.pt")
    result = run_cli("verify", progan, tmp_path / "changed.pt")
    assert result.code == 1
    assert "initial.3.conv.weight" in result.stdout


def test_a_baked_file_is_not_baked_twice(progan: Path, run_cli: Callable[..., Result], tmp_path: Path) -> None:
    assert run_cli("bake", progan, tmp_path / "out.pt").code == 0
    again = run_cli("bake", tmp_path / "out.pt", tmp_path / "twice.pt")
    assert again.code == 3
    assert "baked by eqlr" in again.stderr
    torch.save(torch.load(tmp_path / "out.pt", weights_only=True), tmp_path / "saved.pt")
    again = run_cli("bake", tmp_path / "saved.pt", tmp_path / "twice.pt")
    assert again.code == 2
    assert "--family aladdin-progan" in again.stderr
    assert not (tmp_path / "twice.pt").exists()


def test_bad_targets(progan: Path, run_cli: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "there.pt").write_text("precious")
    for target, word in [
        ("there.pt", "--force"),
        ("progan.pt", "same file"),
        ("no/such/dir.pt", "does not exist"),
        ("out.xyz", "suffix"),
    ]:
        result = run_cli("bake", progan, tmp_path / target)
        assert result.code == 2
        assert word in result.stderr
    forced = run_cli("bake", progan, progan, "--force")
    assert forced.code == 2
    assert (tmp_path / "there.pt").read_text() == "precious"
    assert run_cli("bake", progan, tmp_path / "there.pt", "--force").code == 0
    assert run_cli("verify", progan, tmp_path / "there.pt").code == 0


def bad_inputs(folder: Path) -> dict[str, tuple[bytes, str]]:
    """Contents that are no checkpoint, with a word that the message must hold."""
    torch.save(aladdin_state(), folder / "good.pt")
    good = (folder / "good.pt").read_bytes()
    header = b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
    overlap = (
        b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}'
    )
    return {
        "empty.pt": (b"", "empty"),
        "truncated.pt": (good[: len(good) // 2], "truncated"),
        "text.safetensors": (b"hello, this is no checkpoint at all", "not a checkpoint"),
        "page.pt": (b"<!DOCTYPE html><html>404</html>", "web page"),
        "lying.safetensors": (len(header).to_bytes(8, "little") + header + bytes(8), "damaged"),
        "overlap.safetensors": (len(overlap).to_bytes(8, "little") + overlap + bytes(16), "overlaps"),
        "huge.safetensors": ((1 << 60).to_bytes(8, "little") + b"{" + bytes(20), "starts with"),
    }


@pytest.mark.parametrize("command", ["scan", "explain", "audit", "bake", "equalize", "verify"])
def test_bad_files_get_one_sentence_and_exit_2(command: str, run_cli: Callable[..., Result], tmp_path: Path) -> None:
    for name, (content, word) in bad_inputs(tmp_path).items():
        path = tmp_path / name
        path.write_bytes(content)
        more = [tmp_path / "out.pt"] if command in ("bake", "equalize") else []
        more = [tmp_path / "good.pt"] if command == "verify" else more
        result = run_cli(command, path, *more)
        assert result.code == 2, name
        assert word in result.stderr, (name, result.stderr)
        assert name in result.stderr
        assert "Traceback" not in result.stderr
        assert not (tmp_path / "out.pt").exists()


class Boom:
    """Pickles as a call of os.system, the way an attack does."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.canary}",)


def test_a_forbidden_global_is_named_and_not_called(run_cli: Callable[..., Result], tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    torch.save({"state_dict": aladdin_state(), "extra": Boom(canary)}, tmp_path / "evil.pt")
    result = run_cli("bake", tmp_path / "evil.pt", tmp_path / "out.pt")
    assert result.code == 2
    assert f"{os.system.__module__}.system" in result.stderr
    assert not canary.exists()
    assert not (tmp_path / "out.pt").exists()


def test_missing_files_and_directories(run_cli: Callable[..., Result], tmp_path: Path) -> None:
    assert run_cli("scan", tmp_path / "nothing.pt").code == 2
    assert run_cli("scan", tmp_path).code == 3
    assert run_cli("bake", tmp_path, tmp_path / "out.pt").code == 2
    assert run_cli("scan", str(tmp_path / "*.pt")).code == 3


def test_nothing_to_bake_or_equalize_is_exit_3(progan: Path, run_cli: Callable[..., Result], tmp_path: Path) -> None:
    torch.save(plain_model().state_dict(), tmp_path / "plain.pt")
    assert run_cli("bake", tmp_path / "plain.pt", tmp_path / "out.pt").code == 3
    assert run_cli("equalize", progan, tmp_path / "out.pt").code == 3
    assert run_cli("audit", progan, "--include", "nothing*").code == 3
    assert not (tmp_path / "out.pt").exists()


def test_one_unreadable_file_does_not_end_an_audit(progan: Path, run_cli: Callable[..., Result]) -> None:
    (progan.parent / "broken.pt").write_bytes(b"PK\x03\x04 no archive")
    result = run_cli("audit", progan.parent, "-f", "json")
    assert result.code == 2
    assert "broken.pt" in result.stderr
    assert [Path(file["path"]).name for file in json.loads(result.stdout)["files"]] == ["progan.pt"]


def test_a_sparse_tensor_is_refused_not_flattened(run_cli: Callable[..., Result], tmp_path: Path) -> None:
    state = {**aladdin_state(), "table.weight": torch.eye(4).to_sparse()}
    torch.save({"state_dict": state}, tmp_path / "sparse.pt")
    assert run_cli("audit", tmp_path / "sparse.pt").code == 0
    result = run_cli("bake", tmp_path / "sparse.pt", tmp_path / "out.pt")
    assert result.code == 2
    assert "table.weight is a sparse tensor" in result.stderr
    assert not (tmp_path / "out.pt").exists()


def test_usage_errors_are_exit_2(progan: Path, run_cli: Callable[..., Result], tmp_path: Path) -> None:
    assert run_cli("sacn", progan).code == 2
    assert run_cli("bake", progan).code == 2
    assert run_cli("bake", progan, tmp_path / "out.pt", "--network", "nope").code == 2
    assert run_cli("bake", progan, tmp_path / "out.pt", "--family", "nope").code == 2
    assert run_cli("bake", progan, tmp_path / "out.pt", "--family", "rosinality-stylegan2").code == 2
    assert run_cli("bake", progan, tmp_path / "out.pt", "--gain", "-1").code == 2
    assert run_cli("equalize", progan, tmp_path / "out.pt", "--fan-in", "odd").code == 2


def test_the_suffix_does_not_decide_the_container(progan: Path, run_cli: Callable[..., Result], tmp_path: Path) -> None:
    disguised = tmp_path / "model.safetensors"
    disguised.write_bytes(progan.read_bytes())
    report = json.loads(run_cli("scan", disguised, "-f", "json").stdout)
    assert report["checkpoints"][0]["container"] == "torch zip"


def test_reports_do_not_overwrite_files(progan: Path, run_cli: Callable[..., Result], tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    assert run_cli("audit", progan, "-f", "json", "-o", out).code == 0
    assert json.loads(out.read_text())["schema"] == "eqlr.audit/1"
    assert run_cli("audit", progan, "-f", "json", "-o", progan).code == 2
    assert run_cli("audit", progan, "-f", "json", "-o", out, "--force").code == 0


def test_network_choice_and_partial_bakes(run_cli: Callable[..., Result], tmp_path: Path) -> None:
    torch.save({"netG": aladdin_state(1), "netD": aladdin_state(2)}, tmp_path / "two.pt")
    out = tmp_path / "out.pt"
    assert run_cli("bake", tmp_path / "two.pt", out, "--network", "netG", "--exclude", "prog_blocks*").code == 0
    first, second = torch.load(tmp_path / "two.pt"), torch.load(out)
    assert all(torch.equal(first["netD"][name], second["netD"][name]) for name in first["netD"])
    changed = {name for name in first["netG"] if not torch.equal(first["netG"][name], second["netG"][name])}
    assert "initial.3.conv.weight" in changed
    assert not any(name.startswith("prog_blocks") for name in changed)
    assert run_cli("verify", tmp_path / "two.pt", out).code == 0
    assert run_cli("bake", out, tmp_path / "rest.pt").code == 0
    assert run_cli("verify", tmp_path / "two.pt", tmp_path / "rest.pt").code == 0


def test_shards_with_an_index(run_cli: Callable[..., Result], tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = {name: tensor.clone() for name, tensor in aladdin_state().items()}
    names = sorted(state)
    shards = {"model-00001-of-00002.safetensors": names[:5], "model-00002-of-00002.safetensors": names[5:]}
    for shard, members in shards.items():
        save_file({name: state[name] for name in members}, tmp_path / shard)
    index = {"weight_map": {name: shard for shard, members in shards.items() for name in members}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    report = json.loads(run_cli("scan", tmp_path, "-f", "json").stdout)
    (checkpoint,) = report["checkpoints"]
    assert checkpoint["family"] == "aladdin-progan"
    assert run_cli("bake", tmp_path / "model.safetensors.index.json", tmp_path / "out.safetensors").code == 0


def test_stdout_is_data_and_commands_work_as_a_process(progan: Path) -> None:
    command = [sys.executable, "-m", "eqlr_tools", "scan", str(progan), "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "NO_COLOR": "1"})
    assert json.loads(done.stdout)["checkpoints"][0]["path"] == str(progan)
    assert done.stderr == ""


def test_version_and_completion(run_cli: Callable[..., Result]) -> None:
    assert run_cli("--version").stdout.startswith("eqlr 0.")
    script = subprocess.run(
        [sys.executable, "-m", "eqlr_tools", "--show-completion"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
    )
    assert "Traceback" not in script.stderr


def test_help_is_wrapped_for_the_terminal_and_nowhere_else(
    run_cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    lines = [line.strip() for line in run_cli("audit", "--help").stdout.splitlines()]
    start = next(number for number, line in enumerate(lines) if line.startswith("rms, std"))
    paragraph = lines[start : lines.index("", start)]
    assert all(len(line) + 1 + len(after.split()[0]) > 66 for line, after in itertools.pairwise(paragraph))


def test_a_bar_shows_the_name_of_a_file_as_it_is(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with progress("audit a[bold]b[/].pt", 1 << 30) as advance:
        advance(1 << 29)
    assert "a[bold]b[/].pt" in capsys.readouterr().err
