"""Copies of remote files that are kept on this machine, for work without a network.

`filecache::https://…` and `simplecache::s3://…` are fsspec's addresses for "fetch the whole file once, then use the
copy"; a filecache copy is fetched anew after a week. They are kept under `$EQLR_CACHE`, by default `~/.cache/eqlr`,
a folder for each address, so that copies keep their names. What the Hugging Face tools have downloaded is found by
its `hf://` address when `HF_HUB_OFFLINE` is set.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from eqlr_tools.errors import UnreadableError

_CACHES = ("filecache::", "simplecache::")
_REPO_TYPES = {"datasets": "dataset", "spaces": "space"}


def cached_copy(location: str) -> Path | None:
    """The local copy that an address means, fetched now if need be; None if it means the remote file itself.

    Raises UnreadableError if there is no copy and none can be had.
    """
    if location.startswith(_CACHES):
        return _fetched_once(location)
    return _from_hub(location) if location.startswith("hf://") else None


def cache_folder() -> Path:
    """Where fetched copies are kept."""
    return Path(os.environ.get("EQLR_CACHE") or Path.home() / ".cache" / "eqlr")


def _fetched_once(location: str) -> Path:
    import fsspec

    protocol = location.partition("::")[0]
    folder = cache_folder() / hashlib.sha256(location.encode()).hexdigest()[:16]
    settings = {protocol: {"cache_storage": str(folder), "same_names": True}}
    try:
        return Path(fsspec.open_local(location, **settings))
    except Exception as error:
        said = str(error) or type(error).__name__
        raise UnreadableError(
            f"{location}: no copy of it in {folder.parent}, and it cannot be fetched ({said})",
            hint="is the network up, and the address right?",
        ) from error


def _from_hub(location: str) -> Path | None:
    """What was downloaded of `hf://[datasets/]owner/name[@revision]/file`, if the hub is not to be asked."""
    try:
        from huggingface_hub import is_offline_mode, try_to_load_from_cache
    except ImportError:
        return None  # Whoever opens the address says what has to be installed.
    if not is_offline_mode():
        return None
    parts = location.removeprefix("hf://").split("/")
    repo_type = _REPO_TYPES.get(parts[0])
    owner, name, *file = parts[1:] if repo_type else parts
    name, _, revision = name.partition("@")
    found = try_to_load_from_cache(f"{owner}/{name}", "/".join(file), revision=revision or None, repo_type=repo_type)
    if not isinstance(found, str):
        raise UnreadableError(
            f"{location}: HF_HUB_OFFLINE is set, and the file has not been downloaded before",
            hint=f"with a network: hf download {owner}/{name} {'/'.join(file)}",
        )
    return Path(found)
