"""The pages as files: self-contained, and deaf to what hostile names would have them do."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from eqlr_tools.reports.audit import audit_report
from eqlr_tools.reports.audit_page import audit_page
from eqlr_tools.reports.formats import Format
from eqlr_tools.reports.html import page
from eqlr_tools.reports.report import Column, Report, Table
from tests.conftest import SAMPLES
from tests.reports.audits import HOSTILE, audit_of, audit_of_state, normal, state


class _Elements(HTMLParser):
    """Every element of a page, with its attributes, and the text of its data block."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.data = ""
        self._in_data = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._in_data = dict(attrs).get("id") == "data"

    def handle_data(self, data: str) -> None:
        if self._in_data:
            self.data += data

    def handle_endtag(self, tag: str) -> None:
        self._in_data = False


def hostile_page(folder: Path) -> str:
    tensors = {f"{HOSTILE}.weight": normal(8, 8), "'\"&<b>.weight": normal(4, 4), "\u202edipu.weight": normal(4, 4)}
    return page(audit_report(audit_of_state(tensors, folder / "x<script>alert(1)<!--.pt"), Format.html))


def test_a_page_needs_nothing_but_itself() -> None:
    elements = _Elements(page(audit_report(audit_of(SAMPLES / "stylegan2_digits.pt"), Format.html))).elements
    for tag, attributes in elements:
        assert tag not in ("link", "iframe", "object", "embed", "img", "base")
        assert not {"src", "href", "srcset"} & set(attributes), (tag, attributes)
    (policy,) = [a["content"] for tag, a in elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert re.search(r"script-src('?\s'sha256-[\w+/=]+')+$", policy)


def test_hostile_names_are_text(tmp_path: Path) -> None:
    text = hostile_page(tmp_path)
    parsed = _Elements(text)
    scripts = [attributes for tag, attributes in parsed.elements if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "data"}, {}, {}, {}]
    assert not [a for _, a in parsed.elements if any(name.startswith("on") for name in a)]
    assert "b" not in [tag for tag, _ in parsed.elements]
    assert "\u202e" not in text
    names = [layer["name"] for network in json.loads(parsed.data)["networks"] for layer in network["layers"]]
    assert HOSTILE in names


def test_other_reports_become_tables_with_their_notes() -> None:
    table = Table([Column("name", right=False), Column("size")], [["<i>a</i>", 12.5], ["b", None]], "T & T", ["foot"])
    text = page(Report("eqlr.scan/1", {}, [table], ["a <line>"]))
    assert "&lt;i&gt;a&lt;/i&gt;" in text
    assert '<td class="n" data-v="12.5">12.5</td>' in text
    assert "T &amp; T" in text
    assert "a &lt;line&gt;" in text
    assert "<title>eqlr scan</title>" in text


def test_hazards_are_worded(tmp_path: Path) -> None:
    broken, huge = normal(8, 8), normal(8, 8)
    broken[0, 0] = torch.nan
    huge[0, 0] = 1e6
    content = audit_of_state(state(broken=broken, huge=huge, tiny=normal(8, 8, 1e-7)), tmp_path / "a")
    text = page(audit_report(content, Format.html))
    for words in ('bad">1 NaN', 'bad">1.6% overflow', 'warn">', "flushed", 'good">ok'):
        assert words in text


@pytest.mark.parametrize("name", ["progan_digits.pth.tar", "dcgan_digits.pt"])
def test_figures_of_the_page_are_those_of_the_json(name: str) -> None:
    content = audit_of(SAMPLES / name)
    drawn = json.loads(_Elements(page(audit_report(content, Format.html))).data)["networks"]
    for network, shown in zip(content["files"][0]["networks"], drawn, strict=True):
        for layer, curve in zip(network["layers"], shown["layers"], strict=True):
            histogram = layer["stored"]["histogram"]
            assert curve["forms"]["stored"]["counts"] == histogram["counts"]
            assert curve["forms"]["stored"]["low"] == histogram["exponents"][0]


def test_layers_stand_in_the_order_of_their_depth(tmp_path: Path) -> None:
    """safetensors holds names alphabetically, torch in the network's order; what --sort says goes before either."""

    def shown(names: list[str], sorted_by: str | None = None) -> tuple[list[str], str]:
        content = audit_of_state(state(**dict.fromkeys(names, normal(4, 4))), tmp_path / "a")
        drawn = audit_page(content, sorted_by)
        rows = [str(row[0]) for row in drawn.tables[0].rows]
        assert [layer["name"] for layer in drawn.data["networks"][0]["layers"]] == rows
        return rows, drawn.data["order"]

    assert shown(["b1", "b10", "b2", "to"]) == (["b1", "b2", "b10", "to"], "in the file's order")
    assert shown(["to", "b1", "b10", "b2"])[0] == ["to", "b1", "b10", "b2"]
    assert shown(["b1", "b10", "b2"], "rms") == (["b1", "b10", "b2"], "sorted by rms")
