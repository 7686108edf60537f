"""The one restricted unpickler: it interprets the opcodes itself and has no way to import or call anything.

Python's own `pickle.Unpickler` can be restricted by overriding `find_class`, but it still allocates whatever a
hostile memo index asks for, copies embedded blobs of any size into memory, and calls whatever `find_class` gave.
Here a global stays a name, an object stays a `Record` of that name with its arguments and state, and a long byte
string stays a place in the file. What may be *called* is decided in `globals.py`, by an allow-list.
"""

from __future__ import annotations

import gc
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from eqlr_tools.checkpoints.cursor import Cursor
from eqlr_tools.checkpoints.globals import Reading, admit, forbidden, instantiate, reduce_call
from eqlr_tools.checkpoints.pickled_values import Global, LazyBytes, Record, StateDict, UnknownElementsError
from eqlr_tools.checkpoints.sources import MemorySource, SliceSource, Source
from eqlr_tools.checkpoints.tensors import Tensor
from eqlr_tools.errors import DamagedError, UnreadableError

_LEASE = 4096
"""Instructions are counted in bundles; what is left of one is given back."""

_MAX_TEXT_BYTES = 1 << 25
_MAX_INTEGER_BYTES = 255
_FREE_ARGUMENTS = 16
_OBJECT_COST = 4
_LONGEST_NAME = 200

LAZY_BYTES = 1 << 14
"""Byte strings from this size on are left in the file."""

_GET_AGAIN = "it is truncated or damaged; get it again"

_DAMAGED = (
    IndexError, KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, struct.error
)  # fmt: skip
"""What instructions raise whose operands are not what they need."""

LOAD_FROM_BYTES = "torch.storage._load_from_bytes"


@dataclass
class Unpickler:
    """Reads one pickle from `source` at `position`. After `load`, `position` is behind it.

    `persistent_load` resolves persistent ids, `load_blob` the argument of `torch.storage._load_from_bytes`: a file of
    torch's inside the pickle. A pickle that uses what its container does not have is refused.
    """

    source: Source
    position: int = 0
    persistent_load: Callable[[Any], Any] | None = None
    load_blob: Callable[[Source], Any] | None = None
    _stack: list[Any] = field(default_factory=list)
    _marks: list[int] = field(default_factory=list)
    _memo: dict[int, Any] = field(default_factory=dict)
    _blobs: dict[int, tuple[Any, Any]] = field(default_factory=dict)

    def load(self) -> Any:
        """Return the object: plain Python data, `Record`s, tensors and `LazyBytes`.

        Raises ForbiddenGlobalError for a call outside the allow-list, UnreadableError for anything malformed.
        """
        self._cursor = Cursor(self.source, self.position)
        self._reading = Reading(self.source.name, self._key)
        collecting = gc.isenabled()
        gc.disable()  # Nothing becomes garbage here, and looking for it makes millions of objects quadratic.
        try:
            return self._run()
        except EOFError as error:
            raise UnreadableError(f"{self.source.name}: the file ends inside its pickle", hint=_GET_AGAIN) from error
        except _DAMAGED as error:
            where = f"{self.source.name}: the pickle is damaged at byte {self._cursor.position:,}"
            raise UnreadableError(f"{where} ({type(error).__name__})", hint=_GET_AGAIN) from error
        except UnknownElementsError as error:
            hint = "quantised tensors are not read: save them dequantised" if "torch.Q" in str(error) else None
            raise UnreadableError(f"{self.source.name}: {error}", hint=hint) from error
        finally:
            if collecting:
                gc.enable()

    def _run(self) -> Any:
        take = self._cursor.take
        dispatch = _DISPATCH
        while True:
            self._spend("instructions", _LEASE)
            for done in range(_LEASE):
                code = take(1)
                if code == b".":
                    self.position = self._cursor.position
                    self._spend("instructions", done - _LEASE)
                    return self._stack.pop()
                handler = dispatch.get(code)
                if handler is None:
                    raise DamagedError(f"{self.source.name}: byte {code!r} is not a pickle instruction")
                handler(self)

    def _spend(self, what: str, amount: int) -> None:
        self.source.allowance.spend(what, amount, self.source.name)

    def _spend_on_arguments(self, arguments: tuple[Any, ...]) -> None:
        """An object costs more than a number. A call copies what it is given, maybe a long list, a million times."""
        self._spend("instructions", _OBJECT_COST)
        if len(arguments) > _FREE_ARGUMENTS:
            self._spend("instructions", len(arguments))
        for argument in arguments[:_FREE_ARGUMENTS]:
            if isinstance(argument, list | tuple | dict | set | frozenset) and len(argument) > _FREE_ARGUMENTS:
                self._spend("instructions", len(argument))
            elif isinstance(argument, str | bytes) and len(argument) > LAZY_BYTES:
                self._spend("copied_bytes", len(argument))

    def _key(self, key: Any) -> Any:
        return self.source.allowance.key(key, self.source.name)

    def _copied(self, count: int) -> bytes:
        """The next bytes, for text and short byte strings."""
        if count > _MAX_TEXT_BYTES:
            raise DamagedError(f"{self.source.name}: the pickle holds a text of {count:,} bytes")
        self._spend("copied_bytes", count)
        return self._cursor.take(count)

    # Numbers and strings.

    def _int(self, size: int, signed: bool = False) -> int:
        return int.from_bytes(self._cursor.take(size), "little", signed=signed)

    def _push_int_line(self) -> None:
        text = self._cursor.line()
        self._stack.append(text == b"01" if text in (b"00", b"01") else int(text))

    def _push_long_line(self) -> None:
        self._stack.append(int(self._cursor.line().rstrip(b"L") or b"0"))

    def _push_float_line(self) -> None:
        self._stack.append(float(self._cursor.line()))

    def _push_long(self, width: int) -> None:
        size = self._int(width)
        if size > _MAX_INTEGER_BYTES:
            raise ValueError("an integer without end")
        self._stack.append(int.from_bytes(self._cursor.take(size), "little", signed=True))

    def _push_double(self) -> None:
        self._stack.append(struct.unpack(">d", self._cursor.take(8))[0])

    def _push_text(self, width: int) -> None:
        self._stack.append(self._copied(self._int(width)).decode("utf-8", "surrogatepass"))

    def _text_line(self) -> bytes:
        """A line of protocol 0, whose arrays are one line each."""
        line = self._cursor.line(_MAX_TEXT_BYTES)
        self._spend("copied_bytes", len(line))
        return line

    def _push_text_line(self) -> None:
        self._stack.append(self._text_line().decode("raw-unicode-escape"))

    def _push_latin1(self, width: int) -> None:
        """Python 2's `str`: bytes or text, nobody knows; latin-1 keeps every byte apart."""
        size = self._int(width)
        if size >= LAZY_BYTES:
            self._stack.append(self._lazy(size))
        else:
            self._stack.append(self._copied(size).decode("latin-1"))

    def _push_quoted_line(self) -> None:
        text = self._text_line().strip()
        if len(text) < 2 or text[:1] not in (b"'", b'"') or text[-1:] != text[:1]:
            raise ValueError("a string without quotes")
        self._stack.append(text[1:-1].decode("unicode_escape"))

    def _push_bytes(self, width: int) -> None:
        size = self._int(width)
        self._stack.append(self._lazy(size) if size >= LAZY_BYTES else self._copied(size))

    def _lazy(self, size: int) -> LazyBytes:
        start = self._cursor.position
        if start + size > self.source.size:
            raise EOFError
        self._cursor.position += size
        return LazyBytes(self.source, start, size)

    # The stack and the memo.

    def _pop_mark(self) -> list[Any]:
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _pop(self) -> None:
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self._stack.pop()

    def _get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def _put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    # Containers.

    def _tuple(self, count: int) -> None:
        items = tuple(self._stack[len(self._stack) - count :])
        if len(items) != count:
            raise IndexError
        del self._stack[len(self._stack) - count :]
        self._stack.append(items)

    def _push_dict_of_mark(self) -> None:
        items = self._pop_mark()
        self._stack.append({self._key(k): v for k, v in zip(items[::2], items[1::2], strict=True)})

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, list | Record):
            (target if isinstance(target, list) else target.items).extend(items)
        else:
            raise TypeError("not a list")

    def _append(self) -> None:
        item = self._stack.pop()
        self._extend([item])

    def _update(self, items: list[Any]) -> None:
        target = self._stack[-1]
        pairs = {self._key(k): v for k, v in zip(items[::2], items[1::2], strict=True)}
        if isinstance(target, dict):
            target.update(pairs)
        elif isinstance(target, Record):
            target.pairs.update(pairs)
        else:
            raise TypeError("not a dict")

    def _set_item(self) -> None:
        value = self._stack.pop()
        key = self._stack.pop()
        self._update([key, value])

    def _empty_set(self) -> set[Any]:
        self._spend("instructions", _OBJECT_COST)
        return set()

    def _add_items(self) -> None:
        items = self._pop_mark()
        target = self._stack[-1]
        if not isinstance(target, set):
            raise TypeError("not a set")
        target.update(self._key(item) for item in items)

    # Globals, objects, calls: names and records, never anything importable.

    def _push_global_lines(self) -> None:
        self._stack.append(self._global_of_lines())

    def _global_of_lines(self) -> Global:
        module = self._cursor.line().decode("utf-8")
        return admit(Global(module, self._cursor.line().decode("utf-8")), self.source.name)

    def _push_stack_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise TypeError("a global needs two strings")
        self._stack.append(admit(Global(module, name), self.source.name))

    def _reduce(self) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        if not isinstance(arguments, tuple):
            raise TypeError("a call needs a tuple")
        if self.load_blob is not None and isinstance(function, Global) and str(function) == LOAD_FROM_BYTES:
            self._stack.append(self._nested(*arguments))
        else:
            self._stack.append(self._call(function, arguments))

    def _call(self, function: Any, arguments: tuple[Any, ...]) -> Any:
        self._spend_on_arguments(arguments)
        try:
            return reduce_call(function, arguments, self._reading)
        except UnreadableError as error:
            name = next((value for value in reversed(self._stack) if isinstance(value, str)), None)
            if name is not None:  # The key of what is being built lies below it.
                error.locate(repr(name[:_LONGEST_NAME]))
            raise

    def _nested(self, data: Any) -> Any:
        """A nested file is read once, however often the pickle refers to it."""
        assert self.load_blob is not None
        if id(data) not in self._blobs:
            self._blobs[id(data)] = (data, self.load_blob(self._blob(data)))
        return self._blobs[id(data)][1]

    def _blob(self, data: Any) -> Source:
        if isinstance(data, LazyBytes):
            return SliceSource(data.source, data.offset, data.size)
        if isinstance(data, str):
            data = data.encode("latin-1")
        if not isinstance(data, bytes):
            raise TypeError("a nested file that is no byte string")
        return MemorySource(self.source.name, data, self.source.allowance)

    def _new_object(self, keywords: bool) -> None:
        named = self._stack.pop() if keywords else {}
        arguments, cls = self._stack.pop(), self._stack.pop()
        if not isinstance(arguments, tuple) or not isinstance(named, dict):
            raise TypeError("an object needs a tuple and a dict")
        self._spend_on_arguments(arguments)
        record = instantiate(cls, arguments, self._reading)
        if named and isinstance(record, Record):
            self._spend_on_arguments((named,))
            record.state = dict(named)
        self._stack.append(record)

    def _push_instance(self) -> None:
        cls = self._global_of_lines()
        self._stack.append(self._call(cls, tuple(self._pop_mark())))

    def _push_object_of_mark(self) -> None:
        cls, *arguments = self._pop_mark()
        self._stack.append(self._call(cls, tuple(arguments)))

    def _build(self) -> None:
        state = self._stack.pop()
        target = self._stack[-1]
        if isinstance(target, Record):
            self._spend_on_arguments(state if isinstance(state, tuple) else ())
            target.build(state)
        elif isinstance(target, StateDict) and isinstance(state, dict):
            target.attributes = state
        elif not isinstance(target, Tensor):
            raise TypeError("nothing that takes a state")

    def _persistent(self, identifier: Any) -> None:
        if self.persistent_load is None:
            raise UnreadableError(
                f"{self.source.name}: the pickle refers to data outside itself (persistent id)",
                hint="save it with torch.save, or pickle the arrays themselves",
            )
        self._stack.append(self.persistent_load(identifier))

    def _refuse_extension(self, width: int) -> None:
        code = self._int(width)
        raise forbidden(f"copyreg extension {code}", self.source.name)

    def _refuse_buffer(self) -> None:
        raise UnreadableError(
            f"{self.source.name}: the pickle keeps its data in buffers outside the file",
            hint="pickle it without buffer_callback",
        )


_DISPATCH: dict[bytes, Callable[[Unpickler], Any]] = {
    b"\x80": lambda u: u._int(1),
    b"\x95": lambda u: u._int(8),
    b"I": Unpickler._push_int_line,
    b"J": lambda u: u._stack.append(u._int(4, signed=True)),
    b"K": lambda u: u._stack.append(u._int(1)),
    b"M": lambda u: u._stack.append(u._int(2)),
    b"L": Unpickler._push_long_line,
    b"\x8a": lambda u: u._push_long(1),
    b"\x8b": lambda u: u._push_long(4),
    b"F": Unpickler._push_float_line,
    b"G": Unpickler._push_double,
    b"N": lambda u: u._stack.append(None),
    b"\x88": lambda u: u._stack.append(True),
    b"\x89": lambda u: u._stack.append(False),
    b"X": lambda u: u._push_text(4),
    b"\x8c": lambda u: u._push_text(1),
    b"\x8d": lambda u: u._push_text(8),
    b"V": Unpickler._push_text_line,
    b"T": lambda u: u._push_latin1(4),
    b"U": lambda u: u._push_latin1(1),
    b"S": Unpickler._push_quoted_line,
    b"B": lambda u: u._push_bytes(4),
    b"C": lambda u: u._push_bytes(1),
    b"\x8e": lambda u: u._push_bytes(8),
    b"\x96": lambda u: u._push_bytes(8),
    b"(": lambda u: u._marks.append(len(u._stack)),
    b"0": Unpickler._pop,
    b"1": Unpickler._pop_mark,
    b"2": lambda u: u._stack.append(u._stack[-1]),
    b"g": lambda u: u._get(int(u._cursor.line())),
    b"h": lambda u: u._get(u._int(1)),
    b"j": lambda u: u._get(u._int(4)),
    b"p": lambda u: u._put(int(u._cursor.line())),
    b"q": lambda u: u._put(u._int(1)),
    b"r": lambda u: u._put(u._int(4)),
    b"\x94": lambda u: u._put(len(u._memo)),
    b")": lambda u: u._stack.append(()),
    b"]": lambda u: u._stack.append([]),
    b"}": lambda u: u._stack.append({}),
    b"\x8f": lambda u: u._stack.append(u._empty_set()),
    b"\x85": lambda u: u._tuple(1),
    b"\x86": lambda u: u._tuple(2),
    b"\x87": lambda u: u._tuple(3),
    b"t": lambda u: u._stack.append(tuple(u._pop_mark())),
    b"l": lambda u: u._stack.append(u._pop_mark()),
    b"d": Unpickler._push_dict_of_mark,
    b"\x91": lambda u: u._stack.append(frozenset(u._key(item) for item in u._pop_mark())),
    b"a": Unpickler._append,
    b"e": lambda u: u._extend(u._pop_mark()),
    b"s": Unpickler._set_item,
    b"u": lambda u: u._update(u._pop_mark()),
    b"\x90": Unpickler._add_items,
    b"c": Unpickler._push_global_lines,
    b"\x93": Unpickler._push_stack_global,
    b"R": Unpickler._reduce,
    b"\x81": lambda u: u._new_object(keywords=False),
    b"\x92": lambda u: u._new_object(keywords=True),
    b"i": Unpickler._push_instance,
    b"o": Unpickler._push_object_of_mark,
    b"b": Unpickler._build,
    b"P": lambda u: u._persistent(u._cursor.line().decode("ascii")),
    b"Q": lambda u: u._persistent(u._stack.pop()),
    b"\x82": lambda u: u._refuse_extension(1),
    b"\x83": lambda u: u._refuse_extension(2),
    b"\x84": lambda u: u._refuse_extension(4),
    b"\x97": Unpickler._refuse_buffer,
    b"\x98": Unpickler._refuse_buffer,
}
