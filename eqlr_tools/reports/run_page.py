"""What the HTML page of a run of snapshots holds: figures for its drawings, and the table of the trends."""

from __future__ import annotations

from eqlr_tools.reports.baseline import Json
from eqlr_tools.reports.report import Page, Table, figure, finite

_CONTROLS = (
    '<select id="quantity" aria-label="What is drawn"><option value="rms">rms</option>'
    '<option value="abs_max">largest magnitude</option><option value="moved">movement</option></select>',
)


def run_page(content: Json, table: Table) -> Page:
    """The page of a trend; `content` is its JSON, layers in the order in which they are shown."""
    networks: dict[str, dict[str, Json]] = {}
    for entry in content["layers"]:
        layers = networks.setdefault(entry["network"], {})
        layer = layers.setdefault(entry["layer"], {"name": entry["layer"], "forms": {}})
        layer["forms"][entry["weights"]] = _course(entry)
        layer["moved"] = figure(finite(entry["moved_in_all"]))
    data = {
        "snapshots": content["snapshots"],
        "networks": [{"name": name, "layers": list(layers.values())} for name, layers in networks.items()],
    }
    title = f"{len(content['snapshots'])} snapshots, {content['snapshots'][0]} to {content['snapshots'][-1]}"
    return Page("run", data, title, [table], _CONTROLS, [])


def _course(entry: Json) -> Json:
    """A movement belongs to the snapshot that it leads to."""
    return {
        "rms": [finite(value) for value in entry["rms"]],
        "abs_max": [finite(value) for value in entry["abs_max"]],
        "moved": [None, *map(finite, entry["moved"])],
        "steps": [None, *map(finite, entry["adam_steps"])],
    }
