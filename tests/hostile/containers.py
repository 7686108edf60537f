"""Hostile numpy, HDF5, ONNX, `.pt2`, tar and old torch files, and records of eqlr's own that a stranger wrote."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable
from functools import cache

import h5py
import numpy as np

from tests.hostile import archives
from tests.hostile.assembler import by_lines, call, integer, text, whole

_SIXTEEN = bytes(16)
_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def npy(shape: str, descr: str = "'<f4'", data: bytes = b"", head: bytes | None = None) -> bytes:
    head = head or f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data


@cache
def numpy_files() -> dict[str, bytes]:
    malicious = archives.MALICIOUS
    return {
        "a size of ten thousand digits": npy(f"(0x{'f' * 8000},)"),
        "a negative size": npy("(-1,)"),
        "a boolean size": npy("(True,)", data=bytes(4)),
        "a fractional size": npy("(4.0,)", data=_SIXTEEN),
        "a size beyond the file": npy("(5,)", data=_SIXTEEN),
        "sizes that wrap around": npy("(4611686018427387904, 4)", data=_SIXTEEN),
        "code as a header": npy("", head=b"{'descr': __import__('os').system('touch canary'), 'shape': (1,)}"),
        "a deep header": npy("", head=b"(" * 9000),
        "a header that ends nowhere": b"\x93NUMPY\x01\x00\xff\xff{",
        "a header of 4 GiB": b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
        "a type of an exabyte": npy("(4,)", "('<f4', (1000000000, 1000000000))"),
        "structures with objects": npy("(4,)", "[('a', '<f4'), ('b', 'O')]", bytes(48)),
        "a malicious object": npy("()", "'O'", malicious),
        "an array of objects": npy("(1,)", "'O'", whole(b"N")),
        "dates": npy("(2,)", "'M8[ns]'", _SIXTEEN),
        "an archive with a malicious member": archives.zip_of(
            {"a.npy": npy("(4,)", data=_SIXTEEN), "b.npy": malicious}
        ),
        "an archive with a malicious array": archives.zip_of({"a.npy": npy("()", "'O'", malicious)}),
        "an archive that is a bomb": archives._bomb({"a.npy": 600 << 20}),
        "an archive of very many arrays": archives.zip_of({f"{i}.npy": b"" for i in range(20_001)}),
    }


def _h5(fill: Callable[[h5py.File], None]) -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w") as content:
        fill(content)
    return file.getvalue()


def _elsewhere(file: h5py.File) -> None:
    file.create_dataset("kernel", (16,), "f4", external=[("/etc/hostname", 0, 64)])


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "kernel", (4,))
    file.create_virtual_dataset("kernel", layout)


def _many_links(file: h5py.File) -> None:
    file["kernel"] = np.ones((2, 2), np.float32)
    for number in range(20_001):
        file[f"{number}"] = file["kernel"]


def _huge_chunk(file: h5py.File) -> None:
    shape = (1 << 13, 1 << 14)
    data = file.create_dataset("kernel", shape, "f4", chunks=shape, compression="gzip")
    data.id.write_direct_chunk((0, 0), np.random.default_rng(0).bytes(9 << 20))


@cache
def hdf5_files() -> dict[str, bytes]:
    honest = _h5(lambda file: file.create_dataset("kernel", data=np.ones((4, 4), np.float32)))
    return {
        "data in another file": _h5(_elsewhere),
        "a virtual dataset": _h5(_virtual),
        "a terabyte that is not there": _h5(lambda f: f.create_dataset("k", (1 << 38,), "f4", chunks=(1 << 20,))),
        "a chunk of half a GiB": _h5(_huge_chunk),
        "very many links": _h5(_many_links),
        "cut": honest[: len(honest) // 2],
        "its head alone": honest[:96],
        "a keras archive of it": archives.zip_of({"model.weights.h5": honest[:96]}, zipfile.ZIP_DEFLATED),
    }


@cache
def endless_hdf5_files() -> dict[str, bytes]:
    """They are read, and held nothing that could be endless."""

    def nested(file: h5py.File) -> None:
        group: h5py.Group = file
        for _ in range(3000):
            group = group.create_group("g")
        group["kernel"] = np.ones((2, 2), np.float32)

    def circle(file: h5py.File) -> None:
        file["kernel"] = np.ones((2, 2), np.float32)
        file["self"] = file
        file["soft"] = h5py.SoftLink("/soft")
        file["far"] = h5py.ExternalLink("/etc/hostname", "/kernel")

    def long_rows(file: h5py.File) -> None:
        data = file.create_dataset("kernel", (1, 1, 512, 1 << 14), "f4", chunks=(1, 1, 128, 1 << 14), compression=1)
        data[...] = np.random.default_rng(0).standard_normal((512, 1 << 14), np.float32)

    return {"groups in groups": _h5(nested), "links in a circle": _h5(circle), "rows of 32 MiB": _h5(long_rows)}


def varint(number: int) -> bytes:
    out = b""
    while number >= 0x80:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def field(tag: int, content: bytes) -> bytes:
    return varint(tag << 3 | 2) + varint(len(content)) + content


def onnx_model(graph: bytes) -> bytes:
    return b"\x08\x08" + field(7, graph) + field(8, b"\x10\x11")


def initializer(name: str = "w", dims: bytes = b"\x08\x01", more: bytes = b"") -> bytes:
    return field(5, dims + b"\x10\x01" + field(8, name.encode()) + (more or field(9, bytes(4))))


def external(**entries: str) -> bytes:
    pairs = b"".join(field(13, field(1, key.encode()) + field(2, value.encode())) for key, value in entries.items())
    return onnx_model(initializer(more=pairs + b"\x70\x01"))


@cache
def onnx_files() -> dict[str, bytes]:
    """`data.bin` of 64 bytes and links out of the folder lie beside them."""
    places = [
        "../secret.bin",
        "/etc/hostname",
        "link.bin",
        "up/secret.bin",
        "./up/../data.bin",
        "data.bin\0",
        "x" * 5000,
    ]
    spans = [("60", "8"), ("-4", "4"), ("0", "-4"), ("1e1", "4"), ("9" * 5000, "4"), ("0", "9" * 19), ("\u0663", "4")]
    spans += [("0", "8"), ("0x1", "4"), ("1_0", "4"), ("", "4")]
    million = 1_000_000
    places += ["loop.bin", "pipe.bin", "", ".", "up", "..\\secret.bin", "/dev/zero", "model.onnx/x"]
    return {
        **{f"data in {place[:20]!r}": external(location=place, length="4") for place in places},
        **{
            f"data at {offset[:10]}, {length[:10]}": external(location="data.bin", offset=offset, length=length)
            for offset, length in spans
        },
        "very many fields": onnx_model(field(1, b"") * 1_000_001),
        "very many tensors": onnx_model(b"".join(initializer(str(i)) for i in range(50_001))),
        "very many axes": onnx_model(initializer(dims=b"\x08\x01" * 100)),
        "very many packed axes": onnx_model(initializer(dims=field(1, b"\x01" * 100_000))),
        "axes that wrap around": onnx_model(initializer(dims=(b"\x08" + varint(1 << 62)) * 4)),
        "a negative axis": onnx_model(initializer(dims=b"\x08" + varint((1 << 64) - 1))),
        "unpacked floats": onnx_model(initializer(dims=b"\x08" + varint(million), more=(b"\x25" + bytes(4)) * million)),
        "typed integers without end": onnx_model(
            field(5, b"\x08" + varint(70 << 20) + b"\x10\x06" + field(8, b"w") + field(5, b"\x01" * (70 << 20)))
        ),
        "an integer without end": onnx_model(b"\x08" + b"\xff" * 20),
        "an integer without end in a list": onnx_model(field(5, b"\x10\x06" + field(8, b"w") + field(5, b"\xff" * 20))),
        "a list that ends in an integer": onnx_model(field(5, b"\x10\x06" + field(8, b"w") + field(5, b"\x01\xff"))),
        "field zero": onnx_model(b"\x02\x00"),
        "a group": onnx_model(b"\x2b\x2c"),
        "sparse": onnx_model(field(15, b"")),
    }


@cache
def endless_onnx_files() -> dict[str, bytes]:
    """They are read: what once took the square of their length does not."""

    def node(operator: str, name: str, output: str) -> bytes:
        return field(1, field(1, name.encode()) + field(2, output.encode()) + field(4, operator.encode()))

    chain = b"".join(node("Identity", str(i), str(i + 1)) + initializer(str(i)) for i in range(10_000))
    fan = b"".join(
        initializer(str(i)) + node("Identity", str(i), "hub") + node("Mul", "hub", "hub") for i in range(9_000)
    )
    return {
        "a chain": onnx_model(chain),
        "a hub": onnx_model(fan),
        "one name for all": onnx_model(initializer() * 20_000),
    }


def _tar(**members: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


def _legacy(objects: bytes, keys: bytes = b"]", storages: bytes = b"") -> bytes:
    system = whole(b"}", text("little_endian"), b"\x88s")
    return _MAGIC + whole(b"M\xe9\x03") + system + objects + whole(keys) + storages


def _stream_that_is_a_tar() -> bytes:
    """A header whose name begins like an old stream and swallows the rest as text; torch tries tar before that."""
    members = _tar(
        first=b"", storages=whole(integer(0)) + whole(b"]"), tensors=whole(integer(0)), pickle=archives.MALICIOUS
    )
    stream = _MAGIC + whole(b"M\xe9\x03") + whole(b"}") + b"\x80\x04B" + struct.pack("<I", len(members) - 100)
    blank = stream.ljust(148, b"\0") + b" " * 8 + members[156:512]
    header = blank[:148] + b"%06o\0 " % sum(blank) + blank[156:]
    return header + members[512:] + b"0}." + whole(b"]")


def _state(offset: int = 0, size: int = 4, stride: int = 1, count: int = 4, view: bytes = b"N") -> bytes:
    storage = b"(" + text("storage") + by_lines("torch", "FloatStorage") + text("k") + text("cpu") + integer(count)
    hooks = by_lines("collections", "OrderedDict") + b")R"
    layout = integer(offset) + b"(" + integer(size) + b"t(" + integer(stride) + b"t\x89" + hooks
    tensor = by_lines("torch._utils", "_rebuild_tensor_v2") + b"(" + storage + view + b"tQ" + layout + b"tR"
    return whole(b"}", text("conv.weight"), tensor, b"s")


@cache
def old_torch_files() -> dict[str, bytes]:
    zero, nothing, keys = whole(integer(0)), whole(b"]"), b"](" + text("k") + b"e"
    data = struct.pack("<Q", 4) + _SIXTEEN
    storage = whole(b"(", text("1"), text("cpu"), by_lines("torch", "FloatStorage"), b"t")
    tensor = whole(b"(", text("2"), text("1"), by_lines("torch", "FloatTensor"), b"t")
    one = whole(integer(1)) + storage + struct.pack("<Q", 4) + _SIXTEEN + nothing

    def strided(*numbers: int) -> bytes:
        return whole(integer(1)) + tensor + struct.pack("<ii5q", 2, 0, *numbers)

    return {
        "tar: a billion storages": _tar(storages=whole(integer(1 << 30)), tensors=zero, pickle=whole(b"}")),
        "tar: tensors that are not there": _tar(storages=zero + nothing, tensors=whole(integer(5)), pickle=whole(b"}")),
        "tar: a storage of an exabyte": _tar(
            storages=whole(integer(1)) + storage + b"\xff" * 8, tensors=zero, pickle=whole(b"}")
        ),
        "tar: views of nothing": _tar(storages=zero + whole(b"](](NNNNee"), tensors=zero, pickle=whole(b"}")),
        "tar: a negative size": _tar(storages=one, tensors=strided(2, -2, 1, 1, 0), pickle=whole(b"}")),
        "tar: a size beyond its storage": _tar(storages=one, tensors=strided(2, 3, 3, 1, 0), pickle=whole(b"}")),
        "tar: a malicious pickle": _tar(storages=zero + nothing, tensors=zero, pickle=archives.MALICIOUS),
        "tar: a malicious storage": _tar(
            storages=whole(integer(1)) + archives.MALICIOUS, tensors=zero, pickle=whole(b"}")
        ),
        "tar: the head of an old stream as its name": _stream_that_is_a_tar(),
        "legacy: a size beyond the storage": _legacy(_state(size=5), keys, data),
        "legacy: an offset beyond the storage": _legacy(_state(offset=1), keys, data),
        "legacy: a negative stride": _legacy(_state(stride=-1), keys, data),
        "legacy: one number a billion times": _legacy(_state(size=1 << 30, stride=0), keys, data),
        "legacy: a storage of 4 GiB": _legacy(_state(count=1 << 30), keys, struct.pack("<Q", 1 << 30) + _SIXTEEN),
        "legacy: two sizes of one storage": _legacy(_state(count=5), keys, data),
        "legacy: a view outside its storage": _legacy(
            _state(view=b"(" + text("v") + integer(2) + integer(4) + b"t"), keys, data
        ),
        "legacy: no keys": _legacy(_state(), b"}"),
        "legacy: a malicious pickle": _legacy(archives.MALICIOUS),
        "legacy: malicious keys": _legacy(_state(), call(by_lines("os", "system"), text("touch canary"))),
    }


def _export(table: object, **members: bytes) -> bytes:
    content = table if isinstance(table, bytes) else json.dumps(table).encode()
    return archives.zip_of({"m/data/weights/m_weights_config.json": content, **members})


@cache
def exported_programs() -> dict[str, bytes]:
    meta = {
        "dtype": 7,
        "sizes": [{"as_int": 4}],
        "strides": [{"as_int": 1}],
        "storage_offset": {"as_int": 0},
        "requires_grad": True,
    }
    malicious = archives.torch_zip(archives.MALICIOUS)

    def program(entry: dict[str, object] | None = None, **changes: object) -> bytes:
        own = {"path_name": "w", "is_param": True, "use_pickle": False, "tensor_meta": {**meta, **changes}}
        return _export({"config": {"w": {**own, **(entry or {})}}}, **{"m/data/weights/w": _SIXTEEN})

    return {
        "a size beyond its data": program(sizes=[{"as_int": 1 << 40}]),
        "a negative offset": program(storage_offset={"as_int": -4}),
        "a size that is no number": program(sizes=[{"as_int": "4"}]),
        "no strides": program(strides=[]),
        "an unknown type": program(dtype=99),
        "a type that is a list": program(dtype=[1]),
        "a path out of the archive": program({"path_name": "../../../../etc/hostname"}),
        "a path that is a list": program({"path_name": ["w"]}),
        "a malicious pickle": _export(
            {"config": {"w": {"path_name": "w", "use_pickle": True}}}, **{"m/data/weights/w": malicious}
        ),
        "an old malicious pickle": archives.zip_of({"serialized_state_dict.pt": malicious}),
        "no table": _export([1]),
        "a deep table": _export(b'{"config":' + b"[" * 1_000_000),
        "a wide table": _export(b'{"config":[' + b"{}," * 30_000_000 + b"{}]}"),
    }


@cache
def records() -> dict[str, bytes]:
    """Records in eqlr's form, with which an honest network can still be baked: they are additional."""
    baked = [1, {"model": 5}, {"model": {"weights": "x", "lr_multipliers": 7}}, "x"]
    baked += [
        {"model": {"family": 7, "weights": [[1]]}},
        {"model": {"family": "a", "weights": [], "lr_multipliers": 7}},
    ]
    skeletons: list[object] = [3, [], {"tensor$": ["a"]}, {"x": {"set$": [[1]]}}, {"x": {"complex$": ["a", "b"]}}]
    skeletons += [{"x": {"bytes$": 5}}, {"x": {"float$": "zz"}}, {"pairs$": [[[1], 1]]}, {"x": {"torch$": "Size"}}]
    cases = {f"baked {each!r}": {"baked": each} for each in baked}
    cases |= {f"skeleton {each!r}": {"skeleton": each} for each in skeletons}
    cases |= {f"aliases {each!r}": {"aliases": each} for each in (7, {"a": "a"}, {"a": 5}, [1])}
    tensors = {"l.parametrizations.weight.original": [4, 4], "l.parametrizations.weight.0.scale": []}
    whole_of = {"state_dict$": [[name, {"tensor$": name}] for name in tensors], "attributes$": [1]}
    cases["attributes that are a list"] = {"skeleton": whole_of}
    return {name: json.dumps(record).encode() for name, record in cases.items()}


def flat_with(record: bytes) -> bytes:
    """An equalized layer in safetensors, with this as eqlr's record."""
    header = {
        "__metadata__": {"eqlr": record.decode()},
        "l.parametrizations.weight.original": {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]},
        "l.parametrizations.weight.0.scale": {"dtype": "F32", "shape": [], "data_offsets": [64, 68]},
    }
    return archives.safetensors(header, bytes(64) + struct.pack("<f", 0.5))


@cache
def honest() -> dict[str, bytes]:
    """Small files that open, to be changed."""
    zero, tensor = whole(integer(0)), {"path_name": "w", "is_param": True, "use_pickle": False}
    meta = {"dtype": 7, "sizes": [{"as_int": 4}], "strides": [{"as_int": 1}], "storage_offset": {"as_int": 0}}
    program = {"config": {"w": {**tensor, "tensor_meta": {**meta, "requires_grad": True}}}}
    return {
        "npy": npy("(2, 2)", data=_SIXTEEN),
        "onnx": onnx_model(field(1, field(1, b"w") + field(2, b"y") + field(4, b"Conv")) + initializer()),
        "hdf5": _h5(lambda file: file.create_dataset("kernel", data=np.ones((4, 4), np.float32))),
        "legacy": _legacy(_state(), b"](" + text("k") + b"e", struct.pack("<Q", 4) + _SIXTEEN),
        "tar": _tar(storages=zero + whole(b"]"), tensors=zero, pickle=whole(b"}")),
        "exported program": _export(program, **{"m/data/weights/w": _SIXTEEN}),
    }
