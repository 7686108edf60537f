"""Hostile pickles: every way to name and call something, and every way found to make a reader work for ever."""

from __future__ import annotations

import struct
from functools import cache

from tests.hostile.assembler import STOP, by_lines, by_stack, call, get, integer, put, state_dict_of, text, whole
from tests.hostile.globals_to_refuse import ADVISORIES, KIN

SYSTEM = by_lines("os", "system")


def calls(command: str) -> dict[str, bytes]:
    """A call of each function with the command as argument, by GLOBAL and by STACK_GLOBAL."""
    cases = {}
    listed = [*ADVISORIES.items(), *((f"{module}.{name}", (module, name)) for module, name in KIN)]
    for label, (module, name) in listed:
        cases[f"{label} by GLOBAL"] = state_dict_of(call(by_lines(module, name), text(command)))
        cases[f"{label} by STACK_GLOBAL"] = state_dict_of(call(by_stack(module, name), text(command)))
    return cases


def opcodes(command: str) -> dict[str, bytes]:
    """The same call through every instruction that can produce a global, an object or a call."""
    argument, object_ = text(command), by_lines("builtins", "object")
    torch_tensor = by_lines("torch", "Tensor")
    reconstructor, from_type = (
        by_lines("copy_reg", "_reconstructor"),
        by_lines("torch._tensor", "_rebuild_from_type_v2"),
    )
    persistent = by_lines("torch_utils.persistence", "_reconstruct_persistent_obj")
    getattr_ = by_lines("builtins", "getattr")
    partial = by_lines("functools", "partial")
    model = by_lines("models", "Generator")
    return {
        "INST": whole(b"(", argument, b"ios\nsystem\n"),
        "OBJ": whole(b"(", SYSTEM, argument, b"o"),
        "NEWOBJ": whole(SYSTEM, b"(", argument, b"t\x81"),
        "NEWOBJ_EX": whole(SYSTEM, b"(", argument, b"t}\x92"),
        "NEWOBJ of numpy.memmap": whole(by_lines("numpy", "memmap"), b"(", argument, b"t\x81"),
        "BUILD": whole(model, b")\x81", SYSTEM, b"b"),
        "BUILD behind a call (fickling GHSA-mhc9-48gj-9gp3)": whole(call(SYSTEM, argument), b"}b0}"),
        "BUILD with __setstate__": whole(model, b")\x81}(", text("__setstate__"), SYSTEM, b"ub", argument, b"b"),
        "EXT1": whole(b"\x82\x01", argument, b"\x85R"),
        "EXT2": whole(b"\x83\x01\x00", argument, b"\x85R"),
        "EXT4": whole(b"\x84\x01\x00\x00\x00", argument, b"\x85R"),
        "PERSID": whole(b"Pos.system\n"),
        "BINPERSID": whole(SYSTEM, b"Q"),
        "BINPERSID of a call": whole(call(SYSTEM, argument), b"Q"),
        "persistent class": whole(b"(", text("storage"), SYSTEM, text("0"), text("cpu"), integer(1), b"tQ"),
        "call of a call": whole(call(call(getattr_, model, text("run")), argument)),
        "call of a partial": whole(call(call(partial, model), argument)),
        "partial of os.system": whole(call(partial, SYSTEM, argument)),
        "getattr on builtins": whole(call(getattr_, by_lines("builtins", "object"), text("__subclasses__")), b")R"),
        "call of a record": whole(model, b")\x81", argument, b"\x85R"),
        "object of a record": whole(model, b")\x81", argument, b"\x85\x81"),
        "__newobj__": whole(call(by_lines("copyreg", "__newobj__"), SYSTEM, argument)),
        "_reconstructor": whole(call(reconstructor, SYSTEM, object_, b"N")),
        "_rebuild_from_type_v2": whole(call(from_type, SYSTEM, torch_tensor, argument, b"N")),
        "_load_from_bytes of a pickle": whole(
            call(by_lines("torch.storage", "_load_from_bytes"), _binbytes(whole(call(SYSTEM, argument))))
        ),
        "popped call": whole(call(SYSTEM, argument), b"0}"),
        "call in a key": whole(b"}", call(SYSTEM, argument), b"Ns"),
        "call behind STOP": whole(b"}") + whole(call(SYSTEM, argument)),
        "persistence source": whole(
            call(
                persistent,
                b"}(",
                text("module_src"),
                argument,
                b"u",
            )
        ),
        "no protocol": call(SYSTEM, argument) + STOP,
        "protocol 0": b"(dp0\nS'a'\ncos\nsystem\n(S'" + command.encode() + b"'\ntRs.",
        "protocol 1": b"\x80\x01" + call(SYSTEM, argument) + STOP,
        "operator.getitem": whole(call(by_lines("operator", "getitem"), model, argument)),
        "_rebuild_from_type_v2 of a function": whole(
            call(from_type, by_lines("torch.nn.functional", "relu"), torch_tensor, argument + b"\x85", b"N")
        ),
        "empty module": whole(call(by_lines("", "system"), argument)),
        "name with a newline": whole(text("os\n"), text("system"), b"\x93", argument, b"\x85R"),
    }


@cache
def exhausting() -> dict[str, bytes]:
    """Small files (a few megabytes at most) that ask for much time or memory."""
    million = 1_000_000
    ordered, make_set = by_lines("collections", "OrderedDict"), by_lines("builtins", "set")
    model = by_lines("models", "Net")
    new_object, torch_tensor = by_lines("copyreg", "__newobj__"), by_lines("torch", "Tensor")
    from_type = by_lines("torch._tensor", "_rebuild_from_type_v2")
    nested_tuple = b")" + b"".join(put(0) + get(0) + b"\x86" for _ in range(60))
    doubled_list = b"]" + b"".join(put(0) + b"0](" + get(0) + get(0) + b"e" for _ in range(60))
    doubled_dict = b"}" + b"".join(
        put(0) + b"0}(" + text("a.b") + get(0) + text("c.d") + get(0) + b"u" for _ in range(60)
    )
    pairs = b"](" + b"".join(integer(i) + b"N\x86" for i in range(100_000)) + b"e"
    long_text = text("x" * 4_000_000)
    # The hash of a complex number is that of real + 1000003 * imaginary: these have all the same.
    colliding = b"".join(
        get(1) + b"G" + struct.pack(">d", -1000003.0 * i) + b"G" + struct.pack(">d", float(i)) + b"\x86RN"
        for i in range(1, 60_000)
    )
    cycle = b"}" + put(0) + text("self") + get(0) + b"s"
    return {
        "memo bomb": whole(b"N", b"r\xff\xff\xff\x7f", b"0}"),
        "memo bomb by line": whole(b"Np99999999999999999999\n0}"),
        "frame bomb": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f}.",
        "text bomb": whole(b"X\xff\xff\xff\xff"),
        "bytes bomb": whole(b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f"),
        "bytearray bomb": whole(b"\x96\xff\xff\xff\xff\xff\xff\xff\x7f"),
        "long bomb": whole(b"\x8b\xff\xff\xff\x7f"),
        "long of a million digits": whole(b"L" + b"9" * million + b"L\n"),
        "many instructions": whole(b"N0" * (4 * million), b"}"),
        "many objects": whole(model, put(0), b"0(", (get(0) + b")\x81") * million, b"t"),
        "many sets": whole(b"(", b"\x8f" * (4 * million), b"t"),
        "many state dicts": whole(ordered, put(0), b"0(", (get(0) + b")R") * million, b"t"),
        "many dicts": whole(b"(", b"}" * (4 * million), b"t"),
        "deep list": whole(b"](" * million, b"e" * million),
        "deep tuple": whole(b")", b"\x85" * million),
        "deep dict": whole((b"}" + text("a")) * 200_000, b"N", b"s" * 200_000),
        "deep objects": whole(model, put(0), b"0", (get(0) + b")\x81") * 300_000, b"b" * 299_999),
        "nested tuple as key": whole(b"}", nested_tuple, b"Ns"),
        "nested tuple in a set": whole(b"\x8f(", nested_tuple, b"\x90"),
        "nested tuple in set()": whole(call(make_set, b"](", nested_tuple, b"e")),
        "nested tuple in frozenset": whole(b"(", nested_tuple, b"\x91"),
        "nested tuple in OrderedDict()": whole(call(ordered, b"](", nested_tuple, b"N\x86e")),
        "colliding keys": whole(by_lines("builtins", "complex"), put(1), b"0}(", colliding, b"u"),
        "doubled list": whole(doubled_list),
        "doubled dict": whole(doubled_dict),
        "doubled tuple": whole(b"}", text("a"), nested_tuple, b"s"),
        "doubled modules": whole(_doubled_modules()),
        "cyclic dict": whole(cycle),
        "cyclic list": whole(b"]", put(0), get(0), b"a"),
        "cyclic module": whole(
            model, b")\x81", put(0), b"}(", text("_parameters"), b"}", text("_modules"), b"}", text("x"), get(0), b"sub"
        ),
        "copied lists": whole(ordered, put(0), pairs, put(1), b"0(", (get(0) + get(1) + b"\x85R") * 2000, b"t"),
        "copied texts": whole(
            by_lines("_codecs", "encode"),
            put(0),
            long_text,
            put(1),
            b"0(",
            (get(0) + get(1) + text("latin1") + b"\x86R") * 1000,
            b"t",
        ),
        "copied states": whole(
            b"}(",
            b"".join(integer(i) + b"N" for i in range(50_000)),
            b"u",
            put(0),
            b"}",
            put(1),
            b"0",
            model,
            b")\x81(",
            (get(0) + get(1) + b"\x86b") * 20_000,
            b"0",
        ),
        "objects of objects": whole(call(new_object, *([new_object] * 5000))),
        "types of types": whole(
            from_type,
            b"(" + from_type + torch_tensor,
            (b"(" + from_type + torch_tensor) * 3000,
            b")",
            b"t" * 3001,
            b"R",
        ),
        "a number beyond the floats": whole(call(by_lines("builtins", "complex"), b"\x8a\xff" + b"\x7f" * 255)),
        "huge shape": whole(
            call(
                by_lines("torch._utils", "_rebuild_tensor_v2"),
                b"N",
                integer(0),
                b"(",
                (b"\x8a\xff" + b"\x7f" * 255) * 64,
                b"t",
                b")",
                b"\x89",
                b"}",
            )
        ),
    }


def _binbytes(data: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(data)) + data


def _doubled_modules() -> bytes:
    """A module that contains the next one twice, forty deep."""
    module = by_lines("models", "Net")
    inner = b"N"
    for _ in range(40):
        children = b"}(" + text("a") + get(7) + text("b") + get(7) + b"u"
        inner += put(7) + b"0" + module + b")\x81}(" + text("_parameters") + b"}" + text("_modules") + children + b"ub"
    return inner
