"""Hostile torch zips, safetensors files, and indexes of shards."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
import zlib
from functools import cache
from pathlib import Path

from tests.hostile.assembler import by_lines, call, integer, text, whole

_MEBIBYTE = bytes(1 << 20)
MALICIOUS = whole(call(by_lines("os", "system"), text("touch canary")))


def tensor_pickle(elements: int = 4, count: int = 1) -> bytes:
    """A state dict of `count` float tensors on storages 0, 1, ..."""
    parts = []
    for index in range(count):
        storage = b"(" + text("storage") + by_lines("torch", "FloatStorage") + text(str(index)) + text("cpu")
        storage += integer(elements) + b"tQ"
        rebuild = by_lines("torch._utils", "_rebuild_tensor_v2")
        hooks = by_lines("collections", "OrderedDict") + b")R"
        tensor = (
            rebuild + b"(" + storage + integer(0) + b"(" + integer(elements) + b"t(" + integer(1) + b"t\x89" + hooks
        )
        parts.append(text(f"conv{index}.weight") + tensor + b"tR")
    return whole(b"}(", *parts, b"u")


def zip_of(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def torch_zip(pickle: bytes | None = None, **more: bytes) -> bytes:
    return zip_of({"a/data.pkl": pickle or tensor_pickle(), "a/data/0": bytes(16), **more})


@cache
def zips() -> dict[str, bytes]:
    good = torch_zip()
    two_names = good.replace(b"a/data.pkl", b"a/data.pk_", 1)
    return {
        "malicious pickle": torch_zip(MALICIOUS),
        "local name differs from the directory's (GHSA-7q5r-7gvp-wc82)": two_names,
        "an archive behind a malicious one": torch_zip(MALICIOUS) + good,
        "a malicious archive behind an honest one": good + torch_zip(MALICIOUS),
        "a list of members that others find elsewhere": _with_directory_of(good, torch_zip(MALICIOUS)),
        "bytes before the archive": b"PK\x03\x04" + bytes(100) + good,
        "a locator that leads elsewhere": _with_lying_locator(),
        "encryption flag (GHSA-w8jq-xcqf-f792)": _with_flag(good, 1),
        "malicious pickle with a wrong CRC (CVE-2025-10156)": _with_wrong_crc(torch_zip(MALICIOUS)),
        "two members of one name": _with_duplicate(),
        "a second pickle, which torch finds": zip_of(
            {"a/data.pkl": tensor_pickle(), "A/Data.pkl": MALICIOUS, "a/data/0": bytes(16)}
        ),
        "a second pickle behind a backslash": zip_of(
            {"a/data.pkl": tensor_pickle(), "a\\data.pkl": MALICIOUS, "a/data/0": bytes(16)}
        ),
        "two pickles": zip_of({"a/data.pkl": tensor_pickle(), "b/data.pkl": MALICIOUS, "a/data/0": bytes(16)}),
        "a second pickle in the first folder, which torch takes": zip_of(
            {"b/data.pkl": MALICIOUS, "data.pkl": tensor_pickle(), "data/0": bytes(16)}
        ),
        "Keras weights beside a pickle": zip_of({"a/data.pkl": MALICIOUS, "model.weights.h5": bytes(16)}),
        "one storage under a thousand names": _read_over(1000, by=1),
        "one storage a thousand times, with strides": _read_over(1000, by=1_000_000),
        "overlapping members": _overlapping(),
        "bomb of zeros": _bomb({"a/data.pkl": 600 << 20}),
        "bombs as storages": _storage_bombs(),
        "lying size": _with_size(good, 1 << 40),
        "negative directory": good[:-6] + b"\xff\xff\xff\x7f" + good[-2:],
        "many members": _many_members(300_000),
        "cut in the middle": good[: len(good) // 2],
        "cut at the end": good[:-1],
        "directory alone": good[good.index(b"PK\x01\x02") :],
        "storage missing": zip_of({"a/data.pkl": tensor_pickle()}),
        "storage too short": zip_of({"a/data.pkl": tensor_pickle(), "a/data/0": bytes(15)}),
        "unknown byte order": torch_zip(None, **{"a/byteorder": b"\xff"}),
        "data outside the archive": zip_of({"a/data.pkl": tensor_pickle(), "../../data/0": bytes(16)}),
        "bzip2": zip_of({"a/data.pkl": tensor_pickle(), "a/data/0": bytes(16)}, zipfile.ZIP_BZIP2),
        "7z": b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(64),
    }


def _read_over(names: int, by: int) -> bytes:
    """Many tensors of one storage of 8 MB: all of it, or two numbers that lie far from each other."""
    count = 2_000_000
    size = integer(count // by) + b"\x85"
    storage = (
        b"(" + text("storage") + by_lines("torch", "FloatStorage") + text("0") + text("cpu") + integer(count) + b"tQ"
    )
    layout = integer(0) + size + integer(by) + b"\x85\x89}"
    tensor = by_lines("torch._utils", "_rebuild_tensor_v2") + b"(" + storage + layout + b"tR"
    pairs = b"".join(text(f"l{number}.weight") + tensor for number in range(names))
    return zip_of({"a/data.pkl": whole(b"}(", pairs, b"u"), "a/data/0": bytes(4 * count)})


def safetensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    body = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(body) if length is None else length) + body + data


def _entry(begin: int = 0, end: int = 16, shape: object = (4,), dtype: object = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def _raw_entry(name: bytes, size: bytes) -> bytes:
    return b'{"%s":{"dtype":"F32","shape":[%s],"data_offsets":[0,16]}}' % (name, size)


@cache
def headers() -> dict[str, bytes]:
    data = bytes(16)
    return {
        "length of 2^63": safetensors({"a": _entry()}, data, 1 << 63),
        "length beyond the file": safetensors({"a": _entry()}, data, 1000),
        "length too short": safetensors({"a": _entry()}, data, 10),
        "length zero": safetensors({}, data, 0),
        "overlap": safetensors({"a": _entry(), "b": _entry(8, 24)}, bytes(24)),
        "same bytes twice": safetensors({"a": _entry(), "b": _entry()}, data),
        "gap": safetensors({"a": _entry(), "b": _entry(32, 48)}, bytes(48)),
        "data behind the last": safetensors({"a": _entry()}, bytes(17)),
        "cut": safetensors({"a": _entry()}, bytes(15)),
        "reversed offsets": safetensors({"a": _entry(16, 0)}, data),
        "negative offset": safetensors({"a": _entry(-16, 0)}, data),
        "huge offset": safetensors({"a": _entry(0, 1 << 62)}, data),
        "integer beyond 64 bits": safetensors(
            b'{"a":{"dtype":"F32","shape":[%d],"data_offsets":[0,16]}}' % 10**4000, data
        ),
        "integer of many digits": safetensors(
            b'{"a":{"dtype":"F32","shape":[%s],"data_offsets":[0,16]}}' % (b"9" * 9000)
        ),
        "negative shape": safetensors({"a": _entry(shape=[-4])}, data),
        "fractional shape": safetensors({"a": _entry(shape=[4.0])}, data),
        "boolean shape": safetensors({"a": _entry(shape=[True])}, data),
        "shape that wraps around": safetensors({"a": _entry(shape=[1 << 62, 4])}, data),
        "a million axes": safetensors({"a": _entry(shape=[1 << 60] * 1_000_000)}, data),
        "shape of another size": safetensors({"a": _entry(shape=[5])}, data),
        "no shape": safetensors({"a": {"dtype": "F32", "data_offsets": [0, 16]}}, data),
        "dtype unknown": safetensors({"a": _entry(dtype="F33")}, data),
        "dtype no string": safetensors({"a": _entry(dtype=["F32"])}, data),
        "duplicate name": safetensors(b'{"a":%s,"a":%s}' % ((json.dumps(_entry()).encode(),) * 2), data),
        "header no table": safetensors([1, 2], data),
        "header no JSON": safetensors(b"{nope", data),
        "header not UTF-8": safetensors(b'{"\xff":1}', data),
        "entry no table": safetensors({"a": 5}, data),
        "metadata no strings": safetensors({"__metadata__": {"a": 1}, "a": _entry()}, data),
        "metadata no table": safetensors({"__metadata__": "x", "a": _entry()}, data),
        "deep header": safetensors(b'{"a":' + b"[" * 100_000, data),
        "wide header": safetensors(b'{"a":[' + b"0," * 20_000_000 + b"0]}", data),
        "many entries": safetensors(b"{" + b",".join(b'"%d":{}' % i for i in range(3_000_000)) + b"}", data),
        "terminal codes in a name": safetensors({"\x1b]0;owned\x07\x1b[2J\n": _entry(dtype="F33")}, data),
        "half a surrogate in a name": safetensors(
            b'{"\\ud800":{"dtype":"F33","shape":[4],"data_offsets":[0,16]}}', data
        ),
    }


def index(folder: Path, weight_map: object, **more: object) -> Path:
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": weight_map, **more}))
    return path


def indexes(folder: Path) -> dict[str, Path]:
    """Each in a folder of its own, beside a checkpoint that none of them may reach."""
    secret = folder / "secret.safetensors"
    secret.write_bytes(safetensors({"a": _entry()}, bytes(16)))
    maps: dict[str, object] = {
        "parent folder": {"a": "../secret.safetensors"},
        "absolute path": {"a": str(secret)},
        "hidden in the middle": {"a": "x/../../secret.safetensors"},
        "itself": {"a": "model.safetensors.index.json"},
        "the folder": {"a": "."},
        "a null byte": {"a": "secret.safetensors\0.json"},
        "an empty name": {"a": ""},
        "no string": {"a": 5},
        "a list": ["a"],
        "nothing": {},
        "a missing shard": {"a": "other.safetensors"},
        "a link out of the folder": {"a": "link.safetensors"},
        "a link through a folder": {"a": "inner"},
    }
    cases = {}
    for number, (name, weight_map) in enumerate(maps.items()):
        own = folder / str(number)
        own.mkdir()
        os.symlink("../secret.safetensors", own / "link.safetensors")
        os.symlink("..", own / "inner")
        cases[name] = index(own, weight_map)
    own = folder / "metadata"
    own.mkdir()
    (own / "shard.safetensors").write_bytes(secret.read_bytes())
    cases["metadata no table"] = index(own, {"a": "shard.safetensors"}, metadata=[1])
    cases["metadata no table"].parent.joinpath("shard.safetensors").touch()
    return cases


def _with_flag(archive: bytes, flag: int) -> bytes:
    """Set a flag bit in both tables of every member."""
    changed = bytearray(archive)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = changed.find(signature)
        while at >= 0:
            changed[at + offset] |= flag
            at = changed.find(signature, at + 4)
    return bytes(changed)


def _with_directory_of(good: bytes, other: bytes) -> bytes:
    """Both archives in one file, whose end states the place of the first one's list of members."""
    both = bytearray(other + good)
    both[-6:-2] = other[-6:-2]
    return bytes(both)


def _with_lying_locator() -> bytes:
    """ZIP64, where the place of the 64-bit end record is stated, too."""
    archive = bytearray(_many_members(70_000))
    at = archive.rfind(b"PK\x06\x07")
    archive[at + 8 : at + 16] = struct.pack("<Q", 0)
    return bytes(archive)


def _with_wrong_crc(archive: bytes) -> bytes:
    changed = bytearray(archive)
    for signature, offset in ((b"PK\x03\x04", 14), (b"PK\x01\x02", 16)):
        changed[changed.find(signature) + offset] ^= 0xFF
    return bytes(changed)


def _with_size(archive: bytes, size: int) -> bytes:
    changed = bytearray(archive)
    at = changed.rfind(b"PK\x01\x02")
    changed[at + 20 : at + 28] = struct.pack("<II", size & 0xFFFFFFF0, size & 0xFFFFFFF0 or 0xFFFFFFF0)
    return bytes(changed)


def _with_duplicate() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/data.pkl", tensor_pickle())
        archive.writestr("a/data/0", bytes(16))
        archive.writestr("a/data.pk_", MALICIOUS)
    return file.getvalue().replace(b"a/data.pk_", b"a/data.pkl")


def _overlapping() -> bytes:
    """Two storages that are one and the same run of bytes: a small file that unfolds to a large one."""
    archive = bytearray(zip_of({"a/data.pkl": tensor_pickle(count=2), "a/data/0": bytes(16), "a/data/1": bytes(16)}))
    first = archive.find(b"PK\x01\x02", archive.find(b"PK\x01\x02") + 4)
    second = archive.find(b"PK\x01\x02", first + 4)
    archive[second + 42 : second + 46] = archive[first + 42 : first + 46]
    return bytes(archive)


def _storage_bombs() -> bytes:
    elements = 16 << 20
    sizes = {f"a/data/{i}": 4 * elements for i in range(5)}
    return _bomb(sizes, {"a/data.pkl": tensor_pickle(elements, 5)})


def _bomb(sizes: dict[str, int], honest: dict[str, bytes] | None = None) -> bytes:
    """Members that inflate to so many zeros, as `zipfile` would deflate them, but without waiting for it."""
    members = {name: _deflated_zeros(size)[0] for name, size in sizes.items()}
    archive = bytearray(zip_of({**(honest or {}), **members}))
    with zipfile.ZipFile(io.BytesIO(archive)) as written:
        starts = {name: written.getinfo(name).header_offset for name in sizes}
    for name, size in sizes.items():
        entry = archive.find(b"PK\x01\x02", archive.rfind(name.encode()) - 46)
        for at, method in ((starts[name] + 8, 8), (entry + 10, 8)):
            archive[at : at + 2] = struct.pack("<H", method)
            archive[at + 6 : at + 10] = struct.pack("<I", _deflated_zeros(size)[1])
            archive[at + 14 : at + 18] = struct.pack("<I", size)
    return bytes(archive)


@cache
def _deflated_zeros(size: int) -> tuple[bytes, int]:
    """A deflate stream of so many MiB of zeros, one block repeated, and the CRC of what it inflates to."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    crc = 0
    for _ in range(size >> 20):
        crc = zlib.crc32(_MEBIBYTE, crc)
    return block * (size >> 20) + b"\x03\x00", crc


def _many_members(count: int) -> bytes:
    """Empty members, as `zipfile` writes them, but without waiting for it."""
    members, directory, at = [], [], 0
    for index in range(count):
        name = b"a/data/%d" % index
        common = struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 0x21, 0, 0, 0, len(name), 0)
        members.append(b"PK\x03\x04" + common + name)
        directory.append(b"PK\x01\x02\x14\x00" + common + struct.pack("<HHHII", 0, 0, 0, 0, at) + name)
        at += len(members[-1])
    table = b"".join(directory)
    end = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, len(table), at)
    end += b"PK\x06\x07" + struct.pack("<IQI", 0, at + len(table), 1)
    end += b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, len(table), at, 0)
    return b"".join(members) + table + end
