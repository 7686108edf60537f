"""The commands by name. Each one's module is imported when it is asked for, so that starting costs what is used.

The help of `eqlr` needs names and summaries only, and shows them as plain text: laying out a page with rich costs as
much time as everything else together. The pages of the commands are laid out by rich.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from eqlr_tools.cli.values import read_plainly

SUMMARIES = {
    "scan": "Say what checkpoints are: container, family, layers, size.",
    "explain": "Show what was recognised and why, and every constant.",
    "audit": "Report the range of every layer's weights.",
    "bake": "Fold the run-time constants in: equalized becomes plain.",
    "equalize": "Divide weights by their He constants: plain becomes equalized.",
    "convert": "Write a checkpoint as another project has it.",
    "verify": "Compare the effective weights of two checkpoints, in ulp.",
    "diff": "Show how far every layer moved between two checkpoints.",
    "export": "Write a network as an ONNX graph that runs fast.",
    "sample": "Draw images from a generator, by ONNX Runtime.",
    "families": "List the families: code lineages whose constants eqlr knows.",
}
"""What the help of `eqlr` says of each command, in its order. The module of a command has its name."""


class Commands(MutableMapping[str, Any]):
    """Typer's table of commands, filled on demand."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in SUMMARIES:
            raise KeyError(name)
        if name not in self._made:
            alone = typer.Typer(add_completion=False, rich_markup_mode="rich")
            import_module(f"eqlr_tools.cli.{name}").register(alone)
            made = typer.main.get_command(alone)
            # Typer would keep the line breaks of the source, whatever the terminal's width.
            paragraphs = (made.help or "").split("\n\n")
            made.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
            read_plainly(made)
            self._made[name] = made
        return self._made[name]

    def __setitem__(self, name: str, command: Any) -> None:
        raise TypeError("a command is a line of SUMMARIES and a module of its name")

    def __delitem__(self, name: str) -> None:
        raise TypeError("commands stay")

    def __iter__(self) -> Iterator[str]:
        return iter(SUMMARIES)

    def __len__(self) -> int:
        return len(SUMMARIES)


class LazyGroup(TyperGroup):
    """The group of all commands, none of which is imported for its help."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = Commands()

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(SUMMARIES.items()))
