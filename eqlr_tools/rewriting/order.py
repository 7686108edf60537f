"""The order of a rewritten state dict: the one that the module which loads it will have.

It matters because torch numbers an optimizer's parameters in that order. A plain layer has (weight, bias), but one
whose weight was re-parametrised has (bias, then what became of the weight), since torch takes the weight out of its
module and registers it anew: `weight_orig` behind the module's other parameters, a parametrization behind its children.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

_PARAMETRIZED = "parametrizations.weight."


def in_module_order(keys: Iterable[str], new: set[str]) -> list[str]:
    """Reorder a rewritten dict's keys; `new` are those that the source did not have."""
    return _parametrizations_last(_weights_first(list(keys), new), new)


def _weights_first(order: list[str], new: set[str]) -> list[str]:
    """Move each new weight in front of what torch lists behind it: its module's bias, all that its children own."""
    place = {key: number for number, key in enumerate(order)}
    weights = {key.removesuffix("weight"): key for key in order if key in new and key.rpartition(".")[2] == "weight"}
    behind: dict[str, str] = {}
    for key in order:
        for path in _modules_around(key):
            if path in weights and (key == f"{path}bias" or "." in key[len(path) :]):
                behind.setdefault(path, key)
    before: dict[str, list[str]] = {}
    for path in sorted(behind, key=len):  # Of several in front of one key, the outer module's comes first.
        if place[behind[path]] < place[weights[path]]:
            before.setdefault(behind[path], []).append(weights[path])
    moved = {key for group in before.values() for key in group}
    return [each for key in order if key not in moved for each in (*before.get(key, ()), key)]


def _parametrizations_last(order: list[str], new: set[str]) -> list[str]:
    """Move what became of each module's weight behind all else that the module owns."""
    blocks: dict[str, list[str]] = {}
    for key in order:
        if key in new and _PARAMETRIZED in key:
            blocks.setdefault(key.partition(_PARAMETRIZED)[0], []).append(key)
    last: dict[str, str] = {}
    for key in order:
        for path in _modules_around(key):
            if path in blocks and not (key in new and key.startswith(path + _PARAMETRIZED)):
                last[path] = key
    after: dict[str, list[str]] = {}
    for path in sorted(last, key=len):  # Of several behind one key, the inner module's comes first.
        after.setdefault(last[path], [])[:0] = blocks[path]
    moved = {key for group in after.values() for key in group}
    result: list[str] = []
    for first in order:
        pending = [] if first in moved else [first]
        while pending:
            key = pending.pop()
            result.append(key)
            pending += reversed(after.get(key, ()))
    return result


def _modules_around(key: str) -> Iterator[str]:
    """The paths of the modules that own a key, from the whole network's, which is empty, inwards."""
    yield ""
    for place, letter in enumerate(key):
        if letter == ".":
            yield key[: place + 1]
