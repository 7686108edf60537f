"""What a name in a pickle may do: the allow-list of the restricted unpickler.

A pickle names classes and functions, and builds objects by calling them. Nothing is ever called here. What is
decided is which names are understood as *data*:

* the constructors in `_CONSTRUCTORS` are replaced by functions of ours that build plain data from the arguments;
* the names in `_INERT` and classes of unknown projects (whole pickled models) become a `Record`: the name, the
  arguments and the state, with no behaviour;
* everything else of Python's standard library is refused as soon as it is named, and so are names that walk through
  modules or dunder attributes and functions of torch and numpy that no saved model refers to;
* a call of any other function, or of the result of a call, is refused, since data needs neither.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from eqlr_tools.checkpoints import rebuilding
from eqlr_tools.checkpoints.pickled_values import Global, Record, StateDict
from eqlr_tools.errors import ForbiddenGlobalError


def forbidden(name: object, source: str) -> ForbiddenGlobalError:
    """The error for a name that data does not need."""
    return ForbiddenGlobalError(
        f"{source}: the pickle asks for {name}, which is no data; nothing was executed",
        hint="do not open this file with torch.load or pickle either; ask its author for a safetensors file",
    )


@dataclass(frozen=True)
class Reading:
    """What constructors need to know of the pickle: the name of its file, and `key`, which returns what is to be
    hashed, or raises ValueError if hashing it may take long.
    """

    source: str
    key: Callable[[Any], Any]


def admit(name: Global, source: str) -> Global:
    """Return `name` if a checkpoint may mention it, else raise ForbiddenGlobalError."""
    qualified = str(name)
    if _constructs(name) or qualified in _INERT:
        return name
    package = _package(name)
    if (
        not _is_plain_path(name)
        or package in _standard_library()
        or package in _NEVER_DATA
        or (package in _FUNCTION_MODULES and not _looks_like_a_class(name) and not _is_known_function(name))
    ):
        raise forbidden(qualified if len(qualified) < 200 else f"{qualified[:200]!r}...", source)
    return name


def reduce_call(function: Any, arguments: tuple[Any, ...], reading: Reading) -> Any:
    """REDUCE, INST and OBJ: build plain data or an inert record, or refuse."""
    if not isinstance(function, Global):
        raise forbidden("a call of something that it computed", reading.source)
    admit(function, reading.source)
    if _constructs(function):
        return _construct(function, arguments, reading)
    if function.name == _PERSISTENT_OBJECT:
        return _persistent_object(function, *arguments)
    if str(function) in _INERT:
        return Record(function, arguments)
    if _looks_like_a_class(function) and _package(function) not in _FUNCTION_MODULES:
        return Record(function, arguments)
    raise forbidden(f"a call of {function}", reading.source)


def instantiate(cls: Any, arguments: tuple[Any, ...], reading: Reading) -> Any:
    """NEWOBJ: an empty object of a class; its state follows."""
    if not isinstance(cls, Global):
        raise forbidden("an object of something that it computed", reading.source)
    admit(cls, reading.source)
    if _constructs(cls):
        return _construct(cls, arguments, reading)
    if _package(cls) in _FUNCTION_MODULES and not _looks_like_a_class(cls) and str(cls) not in _INERT:
        raise forbidden(f"an object of {cls}", reading.source)
    return Record(cls, arguments)


def _constructs(name: Global) -> bool:
    return str(name) in _CONSTRUCTORS or str(name) in _READING


def _construct(name: Global, arguments: tuple[Any, ...], reading: Reading) -> Any:
    if str(name) in _CONSTRUCTORS:
        return _CONSTRUCTORS[str(name)](*arguments)
    return _READING[str(name)](reading, *arguments)


_PERSISTENT_OBJECT = "_reconstruct_persistent_obj"
"""NVIDIA's function (`torch_utils.persistence`, also in renamed packages), which *executes* source in its argument."""


def _persistent_object(function: Global, meta: Any) -> Record:
    """The object that NVIDIA's persistence would rebuild by compiling `meta["module_src"]`; here only its state.

    `meta` is a dict or their EasyDict: type, version, module_src, class_name, state (the instance dictionary).
    """
    fields = meta.pairs if isinstance(meta, Record) else meta
    if not isinstance(fields, dict) or not isinstance(fields.get("class_name"), str):
        raise TypeError("a persistent object without its class")
    record = Record(Global(function.module, fields["class_name"]))
    record.build(fields.get("state"))
    return record


def _looks_like_a_class(name: Global) -> bool:
    return all(part.lstrip("_")[:1].isupper() for part in name.name.split("."))


def _package(name: Global) -> str:
    return name.module.partition(".")[0]


@cache
def _standard_library() -> frozenset[str]:
    return frozenset(sys.stdlib_module_names) - {"__main__"}


_MAX_NAME = 500


def _is_plain_path(name: Global) -> bool:
    """True for `package.module` and `Class`, `function` or `Outer.Inner`: nothing that reaches through a module
    (`os.system` of module `models`), an object's innards (`__globals__`) or what cannot be imported anyway.
    """
    parts = name.name.split(".")
    return (
        len(name.module) + len(name.name) <= _MAX_NAME
        and all(part.isidentifier() for part in name.module.split("."))
        and all(part.isidentifier() or part in ("<locals>", "<lambda>") for part in parts)
        and not any(part.startswith("__") and part.endswith("__") for part in parts)
        and (len(parts) == 1 or parts[0].lstrip("_")[:1].isupper() or "<locals>" in parts)
    )


# What saved models refer to besides classes: activations, initialisers, dtypes, ufuncs. Only referring is allowed.
_FUNCTION_MODULES = {
    "torch": re.compile(
        r"torch|torch\.(functional|special|storage|tensor|_tensor|_C|_C\._nn|nn\..*|optim\..*|utils\.data\._utils\.collate)"
    ),
    "numpy": re.compile(r"numpy|numpy\.(core|_core|ma|random)(\..*)?"),
}
_FUNCTIONS_OF_FILES = frozenset("load save fromfile memmap loadtxt genfromtxt savez savetxt save_compressed".split())


def _is_known_function(name: Global) -> bool:
    modules = _FUNCTION_MODULES[_package(name)]
    return modules.fullmatch(name.module) is not None and name.name not in _FUNCTIONS_OF_FILES and "." not in name.name


# Python's standard library where other versions differ, and packages whose names in a pickle mean code.
_NEVER_DATA = frozenset(
    """
    __builtin__ builtins commands copy_reg cPickle cStringIO exceptions httplib imp md5 os2 popen2 StringIO urllib2
    urlparse pip setuptools pkg_resources distutils wheel dill cloudpickle joblib IPython
    aifc asynchat asyncore audioop binhex cgi cgitb crypt imghdr lib2to3 mailcap msilib nis nntplib ossaudiodev pipes
    smtpd sndhdr spwd sunau telnetlib uu xdrlib site sitecustomize usercustomize _pyrepl _osx_support _aix_support
    """.split()
)

_PATHS = "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath"

_INERT = frozenset(
    f"{module}.{name}"
    for module, names in {
        "argparse": "Namespace",
        "types": "SimpleNamespace",
        "collections": "defaultdict deque Counter",
        "builtins": "getattr bytearray list dict tuple int float bool str object slice range Ellipsis",
        "__builtin__": "getattr bytearray list dict tuple int long float bool str unicode object slice xrange Ellipsis",
        "decimal": "Decimal",
        "fractions": "Fraction",
        "functools": "partial",
        "logging": "getLogger",
        "datetime": "datetime date time timedelta timezone",
        "pathlib": _PATHS,
        "pathlib._local": _PATHS,
        "typing": "Any Callable Dict FrozenSet Iterable List Literal Mapping Optional Sequence Set Tuple Type Union",
        "uuid": "UUID",
        "re": "_compile",
        "random": "Random",
        "torch": "device Size Generator",
        "torch._C": "Generator",
        "torch._utils": "_rebuild_sparse_tensor _rebuild_qtensor _rebuild_device_tensor_from_numpy "
        "_rebuild_meta_tensor_no_storage _rebuild_wrapper_subclass _rebuild_nested_tensor",
        "torch.serialization": "_get_layout",
        "torch.nn.backends.thnn": "_get_thnn_function_backend",
        "torch.jit._pickle": "build_intlist build_doublelist build_boollist build_tensorlist restore_type_tag",
        "numpy": "dtype ndarray",
        "numpy.core.multiarray": "_reconstruct",
        "numpy._core.multiarray": "_reconstruct",
        "numpy.core.numeric": "_frombuffer",
        "numpy._core.numeric": "_frombuffer",
        "numpy.random": "RandomState",
        "numpy.random.bit_generator": "__pyx_unpickle_SeedSequence",
        "numpy.random._pickle": "__randomstate_ctor __generator_ctor __bit_generator_ctor",
    }.items()
    for name in names.split()
)


# Constructors: each builds plain data from the arguments that the pickle gives.


def _ordered_dict(reading: Reading, pairs: Any = ()) -> Any:
    return StateDict((reading.key(name), value) for name, value in pairs)


def _set(reading: Reading, items: Any = ()) -> set[Any]:
    return {reading.key(item) for item in items}


def _frozenset(reading: Reading, items: Any = ()) -> frozenset[Any]:
    return frozenset(reading.key(item) for item in items)


def _encode(text: Any, encoding: Any = "latin1", *_: Any) -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ValueError("an encoding that pickles do not use")
    return text.encode("latin-1")


def _bytes(*arguments: Any) -> Any:
    """Protocols below 3 have no byte strings: the empty one is `bytes()`."""
    return Record(Global("builtins", "bytes"), arguments) if arguments else b""


def _get_item(reading: Reading, generic: Any, arguments: Any) -> Record:
    """`typing.List[int]` and the like, which typed configurations hold."""
    if not isinstance(generic, Global) or generic.module != "typing":
        raise forbidden("operator.getitem", reading.source)
    return Record(generic, (arguments,))


def _reconstructor(reading: Reading, cls: Any, base: Any, state: Any = None) -> Any:
    record = instantiate(cls, (), reading)
    if isinstance(record, Record):
        record.state = state
    return record


def _new_object(reading: Reading, cls: Any, *arguments: Any) -> Any:
    return instantiate(cls, arguments, reading)


def _rebuild_from_type(reading: Reading, function: Any, cls: Any, arguments: Any, state: Any = None) -> Any:
    return reduce_call(function, tuple(arguments), reading)


# Constructors that hash, name or build in their turn what they are given; their first argument is the reading.
_READING: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "builtins.set": _set,
    "__builtin__.set": _set,
    "builtins.frozenset": _frozenset,
    "__builtin__.frozenset": _frozenset,
    "operator.getitem": _get_item,
    "_operator.getitem": _get_item,
    "copyreg._reconstructor": _reconstructor,
    "copy_reg._reconstructor": _reconstructor,
    "copyreg.__newobj__": _new_object,
    "copy_reg.__newobj__": _new_object,
    "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
}

_CONSTRUCTORS: dict[str, Callable[..., Any]] = {
    "builtins.complex": lambda real, imaginary=0.0: complex(real, imaginary),
    "__builtin__.complex": lambda real, imaginary=0.0: complex(real, imaginary),
    "builtins.bytes": _bytes,
    "__builtin__.bytes": _bytes,
    "_codecs.encode": _encode,
    "numpy.core.multiarray.scalar": rebuilding.numpy_scalar,
    "numpy._core.multiarray.scalar": rebuilding.numpy_scalar,
    "torch._utils._rebuild_tensor": rebuilding.tensor,
    "torch._utils._rebuild_tensor_v2": rebuilding.tensor,
    "torch._utils._rebuild_tensor_v3": rebuilding.typed_tensor,
    "torch._utils._rebuild_parameter": rebuilding.parameter,
    "torch._utils._rebuild_parameter_with_state": rebuilding.parameter,
    "torch.nn.parameter.Parameter": rebuilding.parameter,
    "torch.autograd.variable.Variable": lambda data, *_: data,
}
