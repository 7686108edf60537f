"""Commands are imported when they are asked for, and plain option values do without Typer's validation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eqlr_tools.cli.commands import SUMMARIES, Commands
from tests.conftest import Result


def test_the_help_lists_every_command_on_one_line(run_cli: Callable[..., Result]) -> None:
    result = run_cli("--help")
    assert result.code == 0
    lines = result.stdout.splitlines()
    for name, summary in SUMMARIES.items():
        assert any(line.split() == [name, *summary.split()] for line in lines), name


@pytest.mark.parametrize("name", SUMMARIES)
def test_every_name_is_a_command_that_explains_itself(name: str) -> None:
    command = Commands()[name]
    assert command.name == name
    assert command.help
    assert f"eqlr {name}" in (command.epilog or "")


def test_an_unknown_command_is_answered_with_a_near_one(run_cli: Callable[..., Result]) -> None:
    result = run_cli("audt")
    assert result.code == 2
    assert "Did you mean 'audit'?" in result.stderr


LINES = {
    "audit": [
        ["x"],
        ["x", "y", "--network", "a", "--network", "b", "-f", "json", "-o", "z", "-j", "2", "--gain", "1.5", "-q"],
    ],
    "bake": [["a", "b"], ["a", "b", "--dry-run", "--lr-multiplier", "2"]],
    "export": [["a", "b"], ["a", "b", "--precision", "fp16", "--image", "uint8"]],
    "sample": [["a", "-o", "b.png"]],
}


@pytest.mark.parametrize(("name", "line"), [(name, line) for name, lines in LINES.items() for line in lines])
def test_values_are_those_that_typer_makes(name: str, line: list[str]) -> None:
    ours, typers = Commands()[name], Commands()[name]
    del typers.get_params
    found = ours.make_context(name, list(line)).params
    expected: dict[str, Any] = typers.make_context(name, list(line)).params
    assert found == expected
    assert {key: type(value) for key, value in found.items()} == {key: type(value) for key, value in expected.items()}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (["audit"], "Missing argument 'PATH...'"),
        (["audit", "x", "-j", "0"], "greater than or equal to 1"),
        (["audit", "x", "--gain", "much"], "'--gain'"),
        (["audit", "x", "-f", "yaml"], "'table'"),
        (["bake", "x"], "Missing argument"),
    ],
)
def test_wrong_values_are_refused_by_typer(line: list[str], complaint: str, run_cli: Callable[..., Result]) -> None:
    result = run_cli(*line)
    assert result.code == 2
    assert complaint in result.stderr


def test_a_path_stays_a_path() -> None:
    context = Commands()["audit"].make_context("audit", ["x", "-o", "some/where.json"])
    assert context.params["output"] == Path("some/where.json")
