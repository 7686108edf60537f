"""The order of a rewritten state dict: the one that the module which loads it will have.

It matters because torch numbers an optimizer's parameters in that order. A plain layer has (weight, bias), but one
whose weight was re-parametrised has (bias, then what became of the weight), since torch takes the weight out of its
module and registers it anew: `weight_orig` behind the module's other parameters, a parametrization behind its children.
"""

from __future__ import annotations

from collections.abc import Iterable

_PARAMETRIZED = "parametrizations.weight."


def in_module_order(keys: Iterable[str], new: set[str]) -> list[str]:
    """Reorder a rewritten dict's keys; `new` are those that the source did not have."""
    order = list(keys)
    for key in [key for key in order if key in new and key.rpartition(".")[2] == "weight"]:
        path = key.removesuffix("weight")
        behind = (place for place, other in enumerate(order) if _stands_behind(other, path))
        first = next(behind, len(order))
        if first < order.index(key):
            order.remove(key)
            order.insert(first, key)
    for path in dict.fromkeys(key.partition(_PARAMETRIZED)[0] for key in order if key in new and _PARAMETRIZED in key):
        own = [key for key in order if key in new and key.startswith(path + _PARAMETRIZED)]
        rest = [key for key in order if key not in own]
        last_inside = max((place for place, key in enumerate(rest) if key.startswith(path)), default=None)
        if last_inside is not None:
            order = [*rest[: last_inside + 1], *own, *rest[last_inside + 1 :]]
    return order


def _stands_behind(key: str, path: str) -> bool:
    """True if torch lists the key behind the weight of the module at `path`: its bias, all that its children own."""
    return key.startswith(path) and (key == f"{path}bias" or "." in key[len(path) :])
