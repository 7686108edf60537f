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
from eqlr_tools.errors import AmbiguousError
from eqlr_tools.families.registry import Recognition, recognise

_MAX_DEPTH = 5


Settings = dict[TreePath, Any]
"""Values of a file's configuration that change, by place."""


def switched(source: Checkpoint, changed: Iterable[Recognition], *, on: bool) -> tuple[Settings, list[str]]:
    """Where to write which value, and notes. `changed` are the networks that are wholly baked or equalized.

    A setting under the same top-level entry as a network belongs to it; any other is shared by all networks whose code
    heeds it, and stays as it is unless all of them change.
    """
    changed = [recognition for recognition in changed if _heeds(recognition, on=on)]
    tops = {network.path[0] for network in source.networks if network.path}
    names = {recognition.network.name for recognition in changed}
    settings: Settings = {}
    notes = []
    for recognition in changed:
        assert recognition.layout is not None
        for path in _settings(source.tree, recognition.layout.switch, not on, ()):
            own = path[:1] == recognition.network.path[:1]
            if own or (path[0] not in tops and not _needed_as_it_is(source, names, on=on)):
                settings[path] = on
            elif path[0] not in tops:
                notes.append(f"{dotted(path)} stays {not on}, because not all networks change")
    notes += [f"{dotted(path)} is {on} now, so that the project's own code loads the file" for path in settings]
    if not on:
        for recognition in changed:
            for path, arguments in _without_setting(source, recognition):
                assert recognition.layout is not None
                settings[path] = {**arguments, recognition.layout.switch: on}
                said = f"{dotted(path)} says {recognition.layout.switch}={on} now"
                notes.append(f"{said}, so that the project's own code loads the file")
    return settings, list(dict.fromkeys(notes))


def _without_setting(source: Checkpoint, recognition: Recognition) -> Iterator[tuple[TreePath, dict[str, Any]]]:
    """The constructor's arguments beside a network, if they leave the setting to its default, which is on."""
    layout = recognition.layout
    holder = source.tree
    for key in recognition.network.path[:-1]:
        holder = holder[key]
    arguments = holder.get(layout.arguments) if layout and isinstance(holder, dict) else None
    if layout and isinstance(arguments, dict) and layout.switch not in arguments:
        yield (*recognition.network.path[:-1], layout.arguments), arguments


def _heeds(recognition: Recognition, *, on: bool) -> bool:
    """True if the setting of that name is about the network, and would change with it."""
    if recognition.layout is None or not recognition.layout.switch:
        return False
    return not recognition.equalized if on else bool(recognition.switchable)


def _needed_as_it_is(source: Checkpoint, changed: set[str], *, on: bool) -> bool:
    """True if the setting says of a network that does not change what is so."""
    for network in source.networks:
        if network.name in changed:
            continue
        try:
            recognition = recognise(source, network)
        except AmbiguousError:
            return True
        if _heeds(recognition, on=on):
            return True
    return False


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
