"""The output formats: what `--format` takes. Apart from how they are rendered, so that start-up stays light."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """The values of `--format`."""

    table = "table"
    json = "json"
    csv = "csv"
    markdown = "markdown"
    html = "html"
    jsonl = "jsonl"
    parquet = "parquet"

    @property
    def streams(self) -> bool:
        """True for the formats that are written record by record, of as many checkpoints as there are."""
        return self in (Format.jsonl, Format.csv, Format.parquet)
