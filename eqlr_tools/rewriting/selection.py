"""Which networks and layers a command is about: the options `--network`, `--include` and `--exclude`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from eqlr_tools.checkpoints.checkpoint import Checkpoint, Network
from eqlr_tools.checkpoints.trees import Path as TreePath
from eqlr_tools.errors import AmbiguousError, NothingMatchedError, UsageError
from eqlr_tools.families.family import Overrides
from eqlr_tools.families.registry import Recognition, recognise


@dataclass(frozen=True)
class Selection:
    """The user's choice. Layer globs match the layer's name, or `network.layer`.

    `multipliers` are learning-rate multipliers of single networks by path and prefix, for a file that was just written.
    """

    networks: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    family: str | None = None
    overrides: Overrides = field(default_factory=Overrides)
    multipliers: Mapping[tuple[TreePath, str], float] = field(default_factory=dict)

    def overrides_for(self, network: Network) -> Overrides:
        """What is said of one network instead of its family."""
        own = self.multipliers.get((network.path, network.prefix))
        return self.overrides if own is None else replace(self.overrides, lr_multiplier=own)

    def wants(self, network: str, layer: str) -> bool:
        """True if the layer is included (everything is, by default) and not excluded."""
        return self.choice(network, layer) is not False if not self.include else bool(self.choice(network, layer))

    def choice(self, network: str, layer: str) -> bool | None:
        """True if a glob includes the layer, False if one excludes it, None if no glob speaks of it."""
        if _any_match(self.exclude, network, layer):
            return False
        if _any_match(self.include, network, layer):
            return True
        return False if self.include else None


def _any_match(globs: Sequence[str], network: str, layer: str) -> bool:
    return any(fnmatchcase(layer, glob) or fnmatchcase(f"{network}.{layer}", glob) for glob in globs)


def refuse_undecided(checkpoint: Checkpoint, recognitions: Sequence[Recognition]) -> None:
    """Raise AmbiguousError with the question, its candidates and the option that answers it, if one is open."""
    for recognition in recognitions:
        question = recognition.question
        if question is not None:
            layout = f" looks like {recognition.layout.id}:" if recognition.layout else ":"
            raise AmbiguousError(
                f"{checkpoint.path}: network {recognition.network.name}{layout} {question.text}",
                hint=f"answer with {question.answer} ({'; '.join(question.candidates)})",
            )


def recognise_all(checkpoint: Checkpoint, selection: Selection) -> list[Recognition]:
    """Recognise the selected networks of a checkpoint.

    Raises UsageError for a network that the file lacks, NothingMatchedError if it has none at all.
    """
    names = [network.name for network in checkpoint.networks]
    for wanted in selection.networks:
        if wanted not in names:
            raise UsageError(
                f"{checkpoint.path}: no network is called {wanted!r}", hint=f"it has: {', '.join(names) or 'none'}"
            )
    if not names:
        raise NothingMatchedError(
            f"{checkpoint.path}: no network in this file, only {len(checkpoint.loose)} loose tensors",
            hint="eqlr scan shows what was found",
        )
    return [
        recognise(checkpoint, network, family=selection.family, overrides=selection.overrides_for(network))
        for network in checkpoint.networks
        if not selection.networks or network.name in selection.networks
    ]
