"""Write the pages that are made from the code: one per command, and the families.

`python docs/generate.py` writes them, `python docs/generate.py --check` says whether they are up to date. mkdocs then
builds the site: `mkdocs build`, without network.
"""

from __future__ import annotations

import re
import sys
from enum import Enum
from pathlib import Path
from typing import Any

import typer

from eqlr_tools.cli.app import app
from eqlr_tools.families.registry import FAMILIES
from eqlr_tools.reports.families import families_report
from eqlr_tools.reports.formats import Format
from eqlr_tools.reports.rendering import render

DOCS = Path(__file__).parent


def pages() -> dict[Path, str]:
    """Every generated page with its text."""
    commands: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    made = {DOCS / "commands" / f"{name}.md": command_page(name, command) for name, command in commands.items()}
    made[DOCS / "families.md"] = families_page()
    return made


def command_page(name: str, command: Any) -> str:
    """What a command does, its arguments, options and examples."""
    arguments = [parameter for parameter in command.params if not parameter.opts[0].startswith("-")]
    options = [parameter for parameter in command.params if parameter.opts[0].startswith("-")]
    usage = " ".join(["eqlr", name, *(argument.metavar or argument.name for argument in arguments), "[OPTIONS]"])
    examples = [part.strip() for part in plain(command.epilog or "").removeprefix("Examples:").split("·")]
    lines = [
        f"# eqlr {name}",
        "",
        paragraphs(command.help or ""),
        "",
        "```",
        usage,
        "```",
        "",
        "## Examples",
        "",
        "```sh",
    ]
    lines += [*examples, "```", "", "## Arguments and options", "", "| name | meaning |", "|:--|:--|"]
    lines += [f"| `{argument.metavar or argument.name}` | {plain(argument.help or '')} |" for argument in arguments]
    lines += [f"| {option_names(option)} | {plain(option.help or '')}{default(option)} |" for option in options]
    return "\n".join(lines) + "\n"


def option_names(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in option.opts)
    choices = [member.value for member in type(option.default)] if isinstance(option.default, Enum) else []
    value = "|".join(choices) or option.metavar
    return f"{names} `{value}`".replace("|", "\\|") if value and not option.is_flag else names


def default(option: Any) -> str:
    value = getattr(option.default, "value", option.default)
    return f" Default: `{value}`." if value not in (None, False, (), []) else ""


def families_page() -> str:
    table = render(families_report(FAMILIES), Format.markdown)
    return (
        "# Families\n\nA family is the convention of one code lineage: what its layers are called, which constant\n"
        "belongs to each, what happens to the bias. Names and shapes decide; `eqlr explain FILE` prints what each\n"
        f"family says of a file.\n\n{table}"
    )


def paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(plain(part).split()) for part in text.split("\n\n"))


def plain(text: str) -> str:
    """Without the markup for the terminal."""
    return re.sub(r"\[/?[a-z ]+\]", "", text)


def main() -> int:
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv[1:]:
        print("\n".join(f"stale: {path}" for path in stale) or "the generated pages are up to date")
        return bool(stale)
    (DOCS / "commands").mkdir(exist_ok=True)
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
