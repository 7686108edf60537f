"""Tables as text: what fits, what is left out, and how wide characters are."""

from __future__ import annotations

import pytest

from eqlr_tools.reports.report import Column, Marked, Table
from eqlr_tools.reports.text_tables import table_lines, text_width, wrapped

COLUMNS = [Column("layer", right=False), Column("rms", 1), Column("note", 2, right=False), Column("zeros", 3)]


def table(*names: str) -> Table:
    return Table(COLUMNS, [[name, 0.5, Marked("overflow", "bad"), 12345] for name in names])


def test_a_pipe_gets_every_column() -> None:
    lines, hidden = table_lines(table("conv1", "to_rgb"), None, color=False)
    assert lines == [
        "layer   rms  note       zeros",
        "─" * 29,
        "conv1   0.5  overflow  12,345",
        "to_rgb  0.5  overflow  12,345",
    ]
    assert hidden == []


def test_columns_are_left_out_by_rank_until_the_table_fits() -> None:
    lines, hidden = table_lines(table("conv1"), 23, color=False)
    assert lines[0] == "layer  rms  note"
    assert hidden == ["zeros"]
    assert max(map(text_width, lines)) <= 23


@pytest.mark.parametrize("width", [20, 30, 45, 80])
def test_the_first_column_is_shortened_last(width: int) -> None:
    lines, _ = table_lines(table("a." * 60 + "weight"), width, color=False)
    assert max(map(text_width, lines)) <= width
    assert "…" in lines[2]


def test_a_long_name_makes_room_for_what_matters_and_keeps_its_end() -> None:
    """Names of one network begin alike. A column that matters little leaves them their length."""
    names = [f"generator.synthesis.blocks.{i}.attention.conv" for i in range(2)]
    columns = [Column("layer", right=False, least=18), Column("abs max", 4), Column("std", 5)]
    table = Table(columns, [[name, 0.5, 0.25] for name in names])
    lines, hidden = table_lines(table, 30, color=False)
    assert [lines[0].split(), *(line.split() for line in lines[2:])] == [
        ["layer", "abs", "max"],
        ["…cks.0.attention.conv", "0.5"],
        ["…cks.1.attention.conv", "0.5"],
    ]
    assert hidden == ["std"]
    lines, hidden = table_lines(table, 54, color=False)
    assert (lines[2].split(), hidden) == ([names[0], "0.5"], ["std"])


def test_sentences_are_wrapped_to_the_room_that_is_left() -> None:
    columns = [Column("family", right=False), Column("because", right=False, prose=True)]
    sentence = "no tensor is called as this family calls its own, and nothing else speaks for it"
    lines, _ = table_lines(Table(columns, [["rosinality", sentence]]), 60, color=False)
    assert max(map(len, lines)) <= 60
    assert " ".join(line[12:] for line in lines[2:]) == sentence


def test_wide_characters_take_two_places() -> None:
    assert text_width("卷积1") == 5
    assert text_width("e\u0301") == 1
    lines, _ = table_lines(table("卷积", "conv"), None, color=False)
    assert [text_width(line) for line in lines[2:]] == [28, 28]


def test_colours_take_no_room() -> None:
    plain, _ = table_lines(table("conv1"), None, color=False)
    colored, _ = table_lines(table("conv1"), None, color=True)
    assert "\x1b[1;31moverflow\x1b[0m" in colored[2]
    assert colored[2].replace("\x1b[1;31m", "").replace("\x1b[0m", "") == plain[2]


def test_a_terminal_is_not_steered_by_a_name() -> None:
    assert wrapped("a\x1b[2Jb", None) == ["a\\x1b[2Jb"]
    assert wrapped("one two three", 8) == ["one two", "three"]
