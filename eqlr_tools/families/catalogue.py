"""The list of all families: those of the package, and those that a user or an installed package adds."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from eqlr_tools.errors import UsageError
from eqlr_tools.families import (
    akanimax,
    aladdin,
    basicsr_stylegan2,
    edm2,
    false_friends,
    fb_gan_zoo,
    genforce,
    gfpgan_clean,
    hammer,
    huangzh13,
    imaginaire,
    interfacegan,
    labml,
    mat,
    mmgen,
    mobilestylegan,
    moono,
    nashory,
    nvidia_layers,
    nvidia_stylegan2,
    nvidia_stylegan3,
    nvidia_tf,
    other_frameworks,
    precure,
    progan_flax,
    progan_plain,
    rosinality_hook,
    rosinality_layers,
    rosinality_stylegan2,
    rosinality_variants,
    semanticstylegan,
    stored_scale,
    stylegan1_plain,
    stylegan2_plain,
    stylegan2_rewrites,
    stylegan3_ports,
    styleswin,
    tfgan,
    torch_parametrize,
    unnamed,
)
from eqlr_tools.families.family import Family

ENTRY_POINT_GROUP = "eqlr_tools.families"

FAMILIES: tuple[Family, ...] = (
    torch_parametrize.FAMILY,
    nvidia_tf.PROGAN,
    nvidia_tf.STYLEGAN,
    nvidia_tf.STYLEGAN2,
    nvidia_stylegan2.FAMILY,
    nvidia_stylegan3.FAMILY,
    nvidia_stylegan3.STYLEGAN_XL,
    nvidia_layers.SEPARABLE,
    mat.FAMILY,
    stylegan3_ports.MMGEN_FAMILY,
    stylegan3_ports.HAMMER_FAMILY,
    rosinality_stylegan2.FAMILY,
    rosinality_variants.PSP,
    rosinality_variants.STYLECLIP,
    rosinality_variants.DUALSTYLEGAN,
    rosinality_variants.GPEN,
    rosinality_variants.LIA,
    rosinality_variants.CIPS,
    rosinality_variants.SWAPPING,
    rosinality_variants.ROSINALITY_SWAPPING,
    semanticstylegan.FAMILY,
    styleswin.FAMILY,
    mobilestylegan.FAMILY,
    basicsr_stylegan2.FAMILY,
    basicsr_stylegan2.GFPGAN_V1,
    basicsr_stylegan2.COMPONENTS,
    gfpgan_clean.FAMILY,
    mmgen.STYLEGAN2,
    mmgen.STYLEGAN1,
    mmgen.PGGAN,
    rosinality_hook.FAMILY,
    fb_gan_zoo.FAMILY,
    akanimax.FAMILY,
    aladdin.PROGAN,
    aladdin.STYLEGAN,
    nashory.FAMILY,
    nashory.MODULES,
    huangzh13.FAMILY,
    genforce.STYLEGAN2,
    genforce.STYLEGAN,
    genforce.PGGAN,
    hammer.STYLEGAN2,
    hammer.STYLEGAN,
    hammer.PGGAN,
    interfacegan.FAMILY,
    interfacegan.STYLEGAN,
    labml.FAMILY,
    stored_scale.TAE,
    stored_scale.WSCALE,
    imaginaire.FAMILY,
    stylegan2_rewrites.PPEETTEERRS,
    stylegan2_rewrites.ADRIANSAHLMAN,
    other_frameworks.FLAX,
    other_frameworks.CHAINER,
    moono.FAMILY,
    progan_flax.FAMILY,
    tfgan.FAMILY,
    precure.FAMILY,
    edm2.FAMILY,
    stylegan1_plain.FAMILY,
    stylegan2_plain.FAMILY,
    stylegan3_ports.PLAIN_FAMILY,
    nvidia_layers.STATED,
    progan_plain.FAMILY,
    progan_plain.MULTISCALE,
    rosinality_layers.FAMILY,
    unnamed.HOOK,
    unnamed.PARAMETRIZATION,
    unnamed.WSCONV,
    false_friends.LUCIDRAINS,
    false_friends.GIGAGAN,
    false_friends.ALAE,
    false_friends.EDM,
    false_friends.CODEFORMER,
    false_friends.MIGAN,
    false_friends.TORCHGAN,
)

_added: dict[Path, list[Family]] = {}


def known_families() -> tuple[Family, ...]:
    """The package's families, those of installed entry points, and those of `--families` files."""
    return (*FAMILIES, *_installed(), *(family for found in _added.values() for family in found))


def add_families(path: Path) -> list[Family]:
    """Take over the families that a Python file defines. The file is run: it is the user's own code, named by them.

    Raises UsageError if the file cannot be loaded or defines none, or if an id is taken.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file", hint="--families takes a Python file that defines Family objects")
    spec = importlib.util.spec_from_file_location(f"eqlr_families_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path}: not a Python file", hint="--families takes a file that ends in .py")
    from eqlr_tools.families.own import refusal, taken_over

    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise refusal(str(path), error) from error
    _added.pop(path.resolve(), None)
    known = known_families()
    named = {id(value): value for value in vars(module).values() if isinstance(value, Family)}
    found = [family for family in named.values() if not any(family is other for other in known)]
    if not found:
        raise UsageError(f"{path}: defines no Family of its own", hint="docs/add-a-family.md walks through one")
    families = taken_over(found, str(path), {family.id for family in known})
    _added[path.resolve()] = families
    return families


def added_files() -> tuple[Path, ...]:
    """The files whose families were taken over, for other processes to do the same."""
    return tuple(_added)


@cache
def _installed() -> tuple[Family, ...]:
    """Families that installed packages offer under the entry point group `eqlr_tools.families`."""
    if not _offered():
        return ()
    from importlib.metadata import entry_points

    from eqlr_tools.families.own import refusal, taken_over

    found: list[Family] = []
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        where = f"the entry point {entry.name!r} of {ENTRY_POINT_GROUP}, {entry.value}"
        try:
            value = entry.load()
        except (Exception, SystemExit) as error:
            raise refusal(where, error) from error
        if not isinstance(value, Family):
            raise UsageError(f"{where} is not a Family", hint="the package that offers it needs mending")
        found += taken_over([value], where, {family.id for family in (*FAMILIES, *found)})
    return tuple(found)


def _offered() -> bool:
    """Whether any installed package names the group. Looking for the name takes a few milliseconds; the standard
    library's metadata, which reads every package there is, as long as half of an audit of a small file."""
    name = ENTRY_POINT_GROUP.encode()
    for folder in map(Path, sys.path):
        if folder.is_file():  # A zip archive, say.
            return True
        for directory in _metadata_directories(folder):
            try:
                text = (directory / "entry_points.txt").read_bytes()
            except OSError:
                continue
            if name in text:
                return True
    return False


def _metadata_directories(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder or ".") as entries:
            names = [entry.name for entry in entries]
    except OSError:
        return
    for name in names:
        if name.endswith((".dist-info", ".egg-info")) or name == "EGG-INFO":
            yield folder / name
