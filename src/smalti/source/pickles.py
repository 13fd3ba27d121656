"""Pickled dicts of arrays, read without unpickling: a stack machine that knows data, and cannot call anything.

Python's own unpickler runs what a pickle names. Here `pickletools` splits the stream into opcodes, and the machine
below carries out only those that build plain data. A name must be one of the few that a pickled NumPy array has; it
becomes an inert record of what it would have been, and everything else is refused by name.
"""

from __future__ import annotations

import math
import pickletools
from dataclasses import dataclass
from typing import Any

import numpy as np

from smalti.core.errors import InputError

__all__ = ["ArrayRecord", "read_pickle"]

_RECONSTRUCT, _ARRAY, _DTYPE, _ENCODE = "reconstruct", "ndarray", "dtype", "encode"
_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): _ARRAY,
    ("numpy", "dtype"): _DTYPE,
    ("_codecs", "encode"): _ENCODE,
}

_NOTHING = {"PROTO", "FRAME"}
_BYTE_STRINGS = {"STRING", "BINSTRING", "SHORT_BINSTRING"}  # Python 2's str; pickletools gives them as latin-1 text
_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_PUTS, _GETS = {"PUT", "BINPUT", "LONG_BINPUT"}, {"GET", "BINGET", "LONG_BINGET"}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass(eq=False)
class _Name:
    kind: str


@dataclass(eq=False)
class _DtypeRecord:
    text: str


@dataclass(eq=False)
class ArrayRecord:
    """What a pickle says of an array: its shape, dtype ("u1"), order and raw bytes; nothing until its state is set."""

    shape: tuple[int, ...] = ()
    dtype: str = ""
    fortran: bool = False
    data: bytes = b""

    def to_uint8(self) -> np.ndarray:
        """The array, read-only, over the same bytes.

        Raises:
            ValueError: not uint8, or bytes that do not fit the shape.
        """
        if self.dtype.lstrip("|=<>") not in ("u1", "B", "uint8"):
            raise ValueError(f"an array of {self.dtype or 'unknown'} where uint8 was expected")
        if not self.shape or any(side < 1 for side in self.shape) or math.prod(self.shape) != len(self.data):
            raise ValueError(f"an array of shape {self.shape} with {len(self.data)} bytes")
        return np.frombuffer(self.data, np.uint8).reshape(self.shape, order="F" if self.fortran else "C")


def read_pickle(data: bytes, what: str) -> Any:
    """The data in a pickle, with arrays as ArrayRecord; text of Python 2 is bytes.

    Args:
        data: the pickle.
        what: its name, for messages.

    Raises:
        InputError: it names or does anything but building dicts, lists, tuples, numbers, text and arrays.
    """
    machine = _Machine(len(data))
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "STOP":
                return machine.result()
            machine.step(opcode.name, argument)
        raise ValueError("it has no end")
    except _RefusedError as error:
        raise InputError(
            f"{what} is refused: {error}; only plain data and arrays are read, and nothing is executed"
        ) from error
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{what} is not a readable pickle ({reason}); fetch it again") from error


class _RefusedError(Exception):
    pass


class _Machine:
    """The stack, the marks and the memo of one pickle. `budget` bounds the bytes that encoding may make."""

    def __init__(self, budget: int) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.budget = budget

    def result(self) -> Any:
        if len(self.stack) != 1 or self.marks:
            raise ValueError("it ends in the middle of something")
        return self.stack.pop()

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise ValueError("it takes more than it has put")
        return self.stack.pop()

    def since_mark(self) -> list[Any]:
        at = self.marks.pop()
        items = self.stack[at:]
        del self.stack[at:]
        return items

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _NOTHING:
            return
        if name in _BYTE_STRINGS:
            stack.append(argument.encode("latin-1"))
        elif name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in _PUTS:
            self.memo[int(argument)] = stack[-1]
        elif name in _GETS:
            stack.append(self.memo[int(argument)])
        elif name == "MARK":
            self.marks.append(len(stack))
        elif name in _TUPLES:
            stack.append(tuple([self.pop() for _ in range(_TUPLES[name])][::-1]))
        elif name == "TUPLE":
            stack.append(tuple(self.since_mark()))
        elif name == "EMPTY_LIST":
            stack.append([])
        elif name == "LIST":
            stack.append(self.since_mark())
        elif name in ("APPEND", "APPENDS"):
            items = [self.pop()] if name == "APPEND" else self.since_mark()
            _of_type(stack[-1], list).extend(items)
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name == "DICT":
            stack.append(_set_items({}, self.since_mark()))
        elif name in ("SETITEM", "SETITEMS"):
            items = [self.pop(), self.pop()][::-1] if name == "SETITEM" else self.since_mark()
            _set_items(_of_type(stack[-1], dict), items)
        elif name == "GLOBAL":
            module, _, attribute = argument.partition(" ")
            stack.append(_named(module, attribute))
        elif name == "STACK_GLOBAL":
            attribute, module = self.pop(), self.pop()
            stack.append(_named(module, attribute))
        elif name == "REDUCE":
            arguments, function = self.pop(), self.pop()
            stack.append(self.made(function, arguments))
        elif name == "BUILD":
            state = self.pop()
            _set_state(stack[-1], state)
        else:
            raise _RefusedError(f"it uses the pickle opcode {name}")

    def made(self, function: Any, arguments: Any) -> Any:
        """What one of the permitted names stands for, given these arguments."""
        if not isinstance(function, _Name) or not isinstance(arguments, tuple):
            raise _RefusedError("it calls something that is not a NumPy array's constructor")
        if function.kind == _RECONSTRUCT and isinstance(arguments[0], _Name) and arguments[0].kind == _ARRAY:
            return ArrayRecord()
        if function.kind == _DTYPE and isinstance(arguments[0], (str, bytes)):
            return _DtypeRecord(_text(arguments[0]))
        if function.kind == _ENCODE and len(arguments) == 2 and isinstance(arguments[0], str):
            if _text(arguments[1]).lower().replace("-", "").replace("_", "") not in ("latin1", "iso88591"):
                raise _RefusedError(f"it encodes text as {_text(arguments[1])[:40]!r}")
            self.budget -= len(arguments[0])
            if self.budget < 0:
                raise _RefusedError("it encodes more text than it holds")
            return arguments[0].encode("latin-1")
        raise _RefusedError(f"it calls {function.kind} in a way that pickled arrays do not")


def _named(module: Any, attribute: Any) -> _Name:
    module, attribute = _text(module), _text(attribute)
    kind = _NAMES.get((module, attribute))
    if kind is None:
        shown = "".join(c if c.isprintable() else "?" for c in f"{module}.{attribute}")[:100]
        raise _RefusedError(f"it names {shown}")
    return _Name(kind)


def _set_state(target: Any, state: Any) -> None:
    if isinstance(target, _DtypeRecord):
        return  # byte order, which uint8 does not have
    if not isinstance(target, ArrayRecord) or not isinstance(state, tuple) or len(state) != 5:
        raise _RefusedError("it sets the state of something that is not an array")
    _, shape, dtype, fortran, data = state
    if not isinstance(shape, tuple) or not all(type(side) is int for side in shape):
        raise ValueError("an array without a shape")
    if not isinstance(dtype, _DtypeRecord) or not isinstance(data, bytes):
        raise ValueError("an array without bytes")
    target.shape, target.dtype, target.fortran, target.data = shape, dtype.text, bool(fortran), data


def _set_items(target: dict[Any, Any], items: list[Any]) -> dict[Any, Any]:
    if len(items) % 2:
        raise ValueError("a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, (str, bytes, int)):  # others may take for ever to hash
            raise _RefusedError(f"it has a dict key of type {type(key).__name__}")
        target[key] = value
    return target


def _of_type(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f"a {type(value).__name__} where a {kind.__name__} was expected")
    return value


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if not isinstance(value, str):
        raise ValueError("a name that is not text")
    return value
