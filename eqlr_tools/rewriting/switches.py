"""Settings in a file that say whether its code equalizes: `use_eql`, `equalizedlR`. A bake turns them off.

With them off the project's own code loads the baked file and applies its weights as they are; left on, it would
apply the constants a second time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from eqlr_tools.checkpoints.checkpoint import Checkpoint
from eqlr_tools.checkpoints.pickled_values import Record
from eqlr_tools.checkpoints.provenance import plain_record
from eqlr_tools.checkpoints.trees import Path as TreePath
from eqlr_tools.checkpoints.trees import dotted
from eqlr_tools.families.registry import Recognition

_MAX_DEPTH = 5


def switched(source: Checkpoint, changed: Iterable[Recognition], *, on: bool) -> tuple[dict[TreePath, bool], list[str]]:
    """Where to write which value, and notes. `changed` are the networks that are wholly baked or equalized.

    A setting under the same top-level entry as a network belongs to it; any other is shared by all networks, and
    stays as it is unless all of them change.
    """
    changed = [recognition for recognition in changed if recognition.layout and recognition.layout.switch]
    tops = {network.path[0] for network in source.networks if network.path}
    names = {recognition.network.name for recognition in changed}
    settings: dict[TreePath, bool] = {}
    notes = []
    for recognition in changed:
        assert recognition.layout is not None
        for path in _settings(source.tree, recognition.layout.switch, not on, ()):
            own = path[:1] == recognition.network.path[:1]
            if own or (path[0] not in tops and names == {network.name for network in source.networks}):
                settings[path] = on
            elif path[0] not in tops:
                notes.append(f"{dotted(path)} stays {not on}, because not all networks change")
    notes += [
        f"{dotted(path)} is {value} now, so that the project's own code loads the file"
        for path, value in settings.items()
    ]
    return settings, list(dict.fromkeys(notes))


def _settings(tree: Any, name: str, value: bool, path: TreePath) -> Iterator[TreePath]:
    """Paths of all entries of that name and value."""
    tree = plain_record(tree) if isinstance(tree, Record) else tree
    if not isinstance(tree, dict) or len(path) > _MAX_DEPTH:
        return
    for key, child in tree.items():
        if key == name and child is value:
            yield (*path, key)
        else:
            yield from _settings(child, name, value, (*path, key))
