"""Which of its sizes a growing network is exported at."""

from __future__ import annotations

import numpy as np

from eqlr_tools.errors import UsageError
from eqlr_tools.networks.stylegan2 import resolutions
from eqlr_tools.onnx_export.choices import Choices
from eqlr_tools.onnx_export.pieces import Parameters


def grown(parameters: Parameters, choices: Choices, part: str, layer: str) -> tuple[int, float, list[str]]:
    """The size of a growing network, how far it is faded in, and what the user should know of that.

    A level of detail of 1.3 says that the largest size but one is in use, and faded in by 0.7.
    """
    has = [size for size in resolutions(parameters, part) if f"{part}b{size}.{layer}.weight" in parameters]
    lod = float(parameters.get("lod", np.zeros(())))
    known = 0 <= lod < len(has)
    if not known and not choices.resolution:
        raise UsageError(f"the file's level of detail is {lod:g}, of {len(has)} sizes", hint="--resolution N takes one")
    said = has[-1] >> int(lod) if known else 0
    resolution = choices.resolution or said
    if resolution not in has:
        raise UsageError(f"--resolution {resolution}: the network has {', '.join(map(str, has))}")
    alpha = choices.alpha
    if alpha is None:
        alpha = 1.0 - (lod - int(lod)) if resolution == said else 1.0
    if alpha != 1.0 and resolution > 4 and resolution // 2 not in has:
        raise UsageError(f"--alpha {alpha:g}: the file has no {layer} for {resolution // 2}, the size before")
    if lod:
        return resolution, alpha, [f"the file's level of detail is {lod:g}: {said} pixels, faded in by {alpha:g}"]
    grows = len(has) > 1 and not choices.resolution
    return resolution, alpha, ["exported at its largest size; --resolution N takes one that was trained"] * grows
