"""Pickles read without unpickling: a stack machine that knows data, and cannot import or call anything.

Python's own unpickler runs what a pickle names. Here `pickletools` splits the stream into opcodes, and the machine below
carries out only those that build data. A name must stand in the reader's table, which says what a call of it makes: a
function of the reader's own, usually of an inert record. Every other name is refused, with the name said.

What a pickle can cost is bounded too: the number of opcodes, and the bytes that are made from others, are budgeted.
"""

from __future__ import annotations

import contextlib
import pickletools
import struct
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from smalti.core.errors import InputError

__all__ = [
    "Attributed",
    "Budget",
    "Inert",
    "Name",
    "Names",
    "Record",
    "RefusedError",
    "printable",
    "refusals",
    "run_pickle",
]

MAX_STEPS = 1_000_000  # opcodes; an ImageNet network of EDM's has a tenth of it. Each makes at most some 300 bytes
MAX_NAME = 200
SMALL_KEY = 1 << 20

Maker = Callable[[tuple[Any, ...]], Any]
Names = Mapping[tuple[str, str], "Maker | None"]

_NOTHING = {"PROTO", "FRAME"}
_BYTE_STRINGS = {"STRING", "BINSTRING", "SHORT_BINSTRING"}  # Python 2's str; pickletools gives them as latin-1 text
_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *(
        "UNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE",
        "BINUNICODE8",
        "SHORT_BINBYTES",
        "BINBYTES",
        "BINBYTES8",
        "BYTEARRAY8",
    ),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_PUTS, _GETS = {"PUT", "BINPUT", "LONG_BINPUT"}, {"GET", "BINGET", "LONG_BINGET"}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_ENCODE = ("_codecs", "encode")  # how bytes are written by protocols 0 to 2


class RefusedError(Exception):
    """What is read asks for something that is not data."""


class Record:
    """What stands for an object of the file. It may be given a state, and does nothing with it unless a reader says so."""

    def set_state(self, state: Any) -> None:
        """The state that the file gives the object (the BUILD opcode)."""


@dataclass(eq=False)
class Name(Record):
    """A name of the table, not called: a class or a function by its module and its attribute."""

    module: str
    attribute: str
    make: Maker | None = None

    def set_state(self, state: Any) -> None:
        raise RefusedError("it sets the state of a class")


@dataclass(eq=False)
class Inert(Record):
    """An object whose content is of no interest."""

    kind: str = "object"


class Attributed(dict[Any, Any], Record):
    """A dict that may also be given attributes, as an OrderedDict may; they are dropped."""


@dataclass
class Budget:
    """What one file may cost, nested pickles included.

    Attributes:
        steps: opcodes.
        encoded: bytes that text is encoded to.
        nested: bytes of pickles within pickles.
    """

    steps: int
    encoded: int
    nested: int

    @classmethod
    def of(cls, size: int) -> Budget:
        """For a file of so many bytes."""
        return cls(MAX_STEPS, size, size)

    def step(self, count: int = 1) -> None:
        self.steps -= count
        if self.steps < 0:
            raise RefusedError(f"it takes more than {MAX_STEPS} steps")

    def encode(self, count: int) -> None:
        self.encoded -= count
        if self.encoded < 0:
            raise RefusedError("it encodes more text than it holds")

    def nest(self, count: int) -> None:
        self.nested -= count
        if self.nested < 0:
            raise RefusedError("it holds more nested data than bytes")


def run_pickle(file: IO[bytes], names: Names, budget: Budget, persistent: Callable[[Any], Any] | None = None) -> Any:
    """The data of one pickle; the file is left after its end.

    Args:
        file: in memory (io.BytesIO): sizes claimed in the file are then cut at its end, not allocated.
        names: what a call of (module, attribute) makes; None for those that are only mentioned.
        budget: spent here.
        persistent: what a persistent id stands for; they are refused without it.

    Returns:
        dicts, lists, tuples, sets of text, numbers, text, bytes, and what `names` make; text of Python 2 is bytes.

    Raises:
        RefusedError: a name or an opcode that is not admitted.
        ValueError, TypeError, IndexError, KeyError, OverflowError: damage; see `refusals`.
    """
    machine = _Machine(names, budget, persistent)
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name == "STOP":
            return machine.result()
        machine.step(opcode.name, argument)
    raise ValueError("it has no end")


@contextlib.contextmanager
def refusals(what: str, admitted: str, kind: str = "pickle") -> Iterator[None]:
    """Errors of reading, as one line each.

    Args:
        what: the name of the file, for messages.
        admitted: "plain data and arrays".
        kind: what the file should be.

    Raises:
        InputError: refused or damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python's, on odd escapes in text
            yield
    except InputError:
        raise
    except RefusedError as error:
        raise InputError(f"{what} is refused: {error}; only {admitted} are read, and nothing is executed") from error
    except (
        *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, EOFError),
        *(struct.error, RecursionError, NotImplementedError),
    ) as error:
        told = "it ends too early" if isinstance(error, struct.error) else str(error)
        reason = printable(" ".join(told[:1000].split()), 120)
        raise InputError(f"{what} is not a readable {kind} ({reason}); fetch it again") from error


def printable(text: str, length: int = 100) -> str:
    """Text of the file as it may be shown: on one line, short, with ? for what a terminal might obey."""
    return "".join(c if c.isprintable() else "?" for c in text[:length])


class _Machine:
    """The stack, the marks and the memo of one pickle."""

    def __init__(self, names: Names, budget: Budget, persistent: Callable[[Any], Any] | None) -> None:
        self.names, self.budget, self.persistent = names, budget, persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

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
        self.budget.step()
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
        elif name == "EMPTY_SET":
            stack.append(set())
        elif name == "ADDITEMS":
            items = self.since_mark()
            _of_type(stack[-1], set).update(_of_type(item, str) for item in items)
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name == "DICT":
            stack.append(_set_items({}, self.since_mark()))
        elif name in ("SETITEM", "SETITEMS"):
            items = [self.pop(), self.pop()][::-1] if name == "SETITEM" else self.since_mark()
            _set_items(_of_type(stack[-1], dict), items)
        elif name == "GLOBAL":
            module, _, attribute = argument.partition(" ")
            stack.append(self.named(module, attribute))
        elif name == "STACK_GLOBAL":
            attribute, module = self.pop(), self.pop()
            stack.append(self.named(module, attribute))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, function = self.pop(), self.pop()
            stack.append(self.made(function, arguments))
        elif name == "BUILD":
            state = self.pop()
            if not isinstance(stack[-1], Record):
                raise RefusedError(f"it sets the state of a {type(stack[-1]).__name__}")
            stack[-1].set_state(state)
        elif name == "BINPERSID" and self.persistent is not None:
            stack.append(self.persistent(self.pop()))
        else:
            raise RefusedError(f"it uses the pickle opcode {name}")

    def named(self, module: Any, attribute: Any) -> Name:
        key = _name_text(module), _name_text(attribute)
        if key != _ENCODE and key not in self.names:
            raise RefusedError(f"it names {printable('.'.join(key))}")
        return Name(*key, self.names.get(key))

    def made(self, function: Any, arguments: Any) -> Any:
        """What one of the permitted names stands for, given these arguments."""
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise RefusedError("it calls something that is not a name")
        if (function.module, function.attribute) == _ENCODE:
            return self.encoded(*arguments)
        if function.make is None:
            raise RefusedError(f"it calls {function.module}.{function.attribute}")
        return function.make(arguments)

    def encoded(self, text: Any, encoding: Any) -> bytes:
        encoding = _name_text(encoding)
        if encoding.lower().replace("-", "").replace("_", "") not in ("latin1", "iso88591"):
            raise RefusedError(f"it encodes text as {printable(encoding, 40)!r}")
        self.budget.encode(len(_of_type(text, str)))
        return text.encode("latin-1")


def _set_items(target: dict[Any, Any], items: list[Any]) -> dict[Any, Any]:
    if len(items) % 2:
        raise ValueError("a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        quick = isinstance(key, (str, bytes)) or (isinstance(key, int) and key.bit_length() <= 60)
        if not quick:  # others may take for ever to hash, or, integers beyond 2^61 - 1, all have one hash
            raise RefusedError(f"it has a dict key of type {type(key).__name__}")
        # ints whose low bits agree collide in a dict; large ones (old optimisers' addresses) are kept under a text, which does not
        target[f"#{key}" if isinstance(key, int) and abs(key) >= SMALL_KEY else key] = value
    return target


def _of_type(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"a {type(value).__name__} where a {kind.__name__} was expected")
    return value


def _name_text(value: Any) -> str:
    if not isinstance(value, (str, bytes)):
        raise ValueError("a name that is not text")
    if len(value) > MAX_NAME:
        raise RefusedError(f"it names something in {len(value)} letters")
    return value.decode("latin-1") if isinstance(value, bytes) else value
