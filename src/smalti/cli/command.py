"""A command is a function whose parameters are its options, each said once.

    @command
    def sample(
        *, images: Images, steps: Annotated[int, typer.Option(help="..."), Between(1, 10_000)] = 18, run: Run
    ) -> None: ...

`command` makes of it what typer takes: a parameter whose type is a `Group` (a dataclass of options that several commands share) becomes the
options that are its fields, in their place. Before the function is called every value is checked by what stands in its annotation
(`Between`, `REGULAR`, `CHECKPOINT`), so that nothing is touched for numbers out of range or paths of devices.

What determines a run, which `--resume` compares, follows from the same signature (`Invocation.identity`): every option counts as typed,
except those in `NEUTRAL`; a command replaces what was typed by the content that it stands for, and says which options that content
says. An option that is forgotten there so counts twice rather than not at all.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import shlex
import stat
import typing
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from smalti.cli.boundary import show_tracebacks
from smalti.core.errors import InputError, from_os_error
from smalti.core.working_folder import check_working_folder

__all__ = [
    "CHECKPOINT",
    "NEUTRAL",
    "REGULAR",
    "Between",
    "Contents",
    "Group",
    "Invocation",
    "Option",
    "SaidOnce",
    "command",
]

# options that change where results go, what is shown, or how fast they come, and never the results
NEUTRAL = frozenset(
    {"out", "overwrite", "resume", "debug", "as_json", "threads", "checkpoint_every", "minutes", "fail_on_copies"}
)

Debug = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of an error.", callback=show_tracebacks, is_eager=True)
]


@dataclass(frozen=True)
class Between:
    """A number's range, both ends included; NaN is never in it.

    Attributes:
        low, high: the ends.
        words: in place of "from LOW to HIGH".
    """

    low: float
    high: float = math.inf
    words: str = ""

    def check(self, option: str, value: Any) -> None:
        """Raise InputError unless `value` is in the range."""
        if self.low <= value <= self.high:
            return
        words = self.words or f"at least {self.low:g}"
        if not self.words and value > self.high:
            words = f"at most {self.high:,}" if isinstance(self.high, int) else f"at most {self.high:g}"
        said = f"{value:g}" if isinstance(value, float) else str(value)
        raise InputError(f"{option} must be {words}, not {said}")


Contents = dict[str | tuple[str, ...], Any]  # what options stand for


class _Regular:
    """A path of a file, or text that names one, that is read whole."""

    def check(self, option: str, value: Any) -> None:
        """Raise InputError for a device, a FIFO, a socket or a folder, which may never end; what is missing is said by the reading."""
        check_regular(option, value, missing=True)


class _Checkpoint:
    """A file or folder of a network, or the name of one."""

    def check(self, option: str, value: Any) -> None:
        """Raise InputError for a device, a FIFO or a socket, or what can be neither a path nor a name."""
        check_regular(option, value, folders=True, missing=True)


REGULAR, CHECKPOINT = _Regular(), _Checkpoint()


def check_regular(option: str, path: str | Path, folders: bool = False, missing: bool = False) -> None:
    """Raise InputError unless `path` is a regular file, or a folder where `folders`, or nothing at all where `missing`."""
    try:
        mode = Path(path).expanduser().stat().st_mode
    except (OSError, ValueError, RuntimeError) as error:
        if missing and isinstance(error, FileNotFoundError):
            return
        if isinstance(error, OSError):
            raise from_os_error(error, f"read {path}") from error
        raise InputError(f"{option}: {path!r} is no path ({error})") from None
    if not (stat.S_ISREG(mode) or (folders and stat.S_ISDIR(mode))):
        kind = "a folder" if stat.S_ISDIR(mode) else "a device, a pipe or a socket"
        raise InputError(f"{option} takes a {'folder or a ' * folders}regular file, and {path} is {kind}")


class Group:
    """Options that several commands share: the base of dataclasses whose fields are annotated as parameters of commands are.

    The default of a parameter of this type may be an instance; its values are then the options' defaults.
    """

    invocation: Invocation

    def check(self) -> None:
        """Raise InputError for values that do not go together; called before the command."""


@dataclass(frozen=True)
class Option:
    """What a command line may say.

    Attributes:
        name: of the parameter.
        flag: as typed, "--batch-size"; "" for an argument without one.
        default: `inspect.Parameter.empty` where it is required.
        checks: what its value must pass.
    """

    name: str
    flag: str
    default: Any
    checks: tuple[Any, ...] = ()

    def check(self, value: Any) -> None:
        """Raise InputError where a value of it is wrong."""
        for each in value if isinstance(value, list) else () if value is None else (value,):
            for check in self.checks:
                check.check(self.flag or self.name.upper(), each)

    def words(self, value: Any) -> list[str]:
        """The words of a command line that give it `value`."""
        if not self.flag:
            return [str(value)]
        if isinstance(value, bool):
            on, _, off = self.flag.partition("/")
            return [on] if value else [off] if off else []
        each = value if isinstance(value, list) else [value]
        return [word for one in each for word in (self.flag, f"{one:g}" if isinstance(one, float) else str(one))]


@dataclass(frozen=True)
class Invocation:
    """One call of a command.

    Attributes:
        command: its name.
        module: where it is defined.
        options: what could be said, by name.
        values: what was said or is the default, by name.
    """

    command: str
    module: str
    options: Mapping[str, Option]
    values: Mapping[str, Any]

    def identity(self, contents: Contents) -> dict[str, Any]:
        """What determines the results, as plain JSON values.

        Args:
            contents: what options stand for, instead of what was typed: the name of one, or a tuple of those that the content says
                together, under whose first name it stands -> plain values, such as the digest of a file.

        Returns:
            The command, every option that is not in NEUTRAL, as typed or by content (files by content too), the digest of the code that
            the command runs, and the versions of what computes.

        Raises:
            ValueError: a content for something that is no option, or two for one.
        """
        from smalti.analysis.identity import plain
        from smalti.core.code import code_digest
        from smalti.core.run_record import installed_versions

        said: dict[str, Any] = {}
        by_content: set[str] = set()
        for names, content in contents.items():
            names = (names,) if isinstance(names, str) else names
            if unknown := (set(names) - set(self.options)) | (set(names) & by_content):
                raise ValueError(f"{self.command}: no option, or said twice: {', '.join(sorted(unknown))}")
            by_content |= set(names)
            said[names[0]] = content
        typed = {name: plain(self.values[name]) for name in self.options if name not in NEUTRAL | by_content}
        ordered = {name: said.get(name, typed.get(name)) for name in self.options if name in said or name in typed}
        code = code_digest(self.module)
        return {"command": self.command, **ordered, "code": code, "versions": installed_versions()}

    def refuse(self, names: Sequence[str], where: str) -> None:
        """Raise InputError where one of these options has another value than its default, as it has no effect `where`."""
        for name in names:
            option = self.options[name]
            if self.values[name] not in (None, [], _plain(option.default)):
                raise InputError(f"{option.flag} has no effect {where}; leave it out")

    def again(
        self, always: tuple[str, ...] = (), without: tuple[str, ...] = ("out", "overwrite", "resume", "debug")
    ) -> str:
        """The command line that does the same: options with other values than their defaults, and those in `always`."""
        words = ["smalti", self.command]
        for name, option in self.options.items():
            value = self.values[name]
            if name not in without and value not in (None, []) and (name in always or value != _plain(option.default)):
                words += option.words(value)
        return shlex.join(words)


class SaidOnce(TyperCommand):
    """A command that says so where an option that takes one value is given twice: the last one counts."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See click."""
        order = self.make_parser(ctx).parse_args(args=list(args))[2]
        for option in dict.fromkeys(order):
            one = not getattr(option, "multiple", False) and (
                not getattr(option, "is_flag", False) or option.secondary_opts
            )
            if one and order.count(option) > 1 and option.param_type_name == "option":
                warnings.warn(f"{option.opts[0]} is given twice; the last one counts", stacklevel=2)
        return super().parse_args(ctx, args)


def command(function: Callable[..., None]) -> Callable[..., None]:
    """What typer takes for `function`: its groups expanded, --debug added, values checked, enumerations as their values."""
    hints = typing.get_type_hints(function, include_extras=True)
    parameters: list[inspect.Parameter] = []
    members: dict[str, tuple[type[Group], list[str]]] = {}  # of parameters that are groups: the type, its options
    for parameter in inspect.signature(function).parameters.values():
        hint = hints[parameter.name]
        if isinstance(hint, type) and issubclass(hint, Group):
            fields = _fields(hint, parameter.default)
            members[parameter.name] = hint, [field.name for field in fields]
            parameters += fields
        else:
            parameters.append(_parameter(parameter.name, hint, parameter.default))
    parameters.append(_parameter("debug", Debug, False))
    options = {parameter.name: _option(parameter) for parameter in parameters}

    @functools.wraps(function)
    def run(**given: Any) -> None:
        check_working_folder()
        defaults = {name: option.default for name, option in options.items()}
        values = {name: _plain(given.get(name, defaults[name])) for name in options}
        for name, option in options.items():
            option.check(values[name])
        invocation = Invocation(function.__name__, function.__module__, options, values)
        arguments: dict[str, Any] = {}
        for name in inspect.signature(function).parameters:
            if name in members:
                kind, names = members[name]
                arguments[name] = group = kind(**{each: values[each] for each in names})
                group.invocation = invocation
                group.check()
            else:
                arguments[name] = values[name]
        function(**arguments)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    del run.__wrapped__  # type: ignore[attr-defined]
    return run


def _fields(group: type[Group], default: Any) -> list[inspect.Parameter]:
    hints = typing.get_type_hints(group, include_extras=True)
    found = []
    for field in dataclasses.fields(group):  # type: ignore[arg-type]
        if isinstance(default, Group):
            value = getattr(default, field.name)
        else:
            value = inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
        found.append(_parameter(field.name, hints[field.name], value))
    return found


def _parameter(name: str, hint: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)


def _option(parameter: inspect.Parameter) -> Option:
    said = getattr(parameter.annotation, "__metadata__", ())
    info = next((extra for extra in said if hasattr(extra, "param_decls")), None)
    # in Annotated, typer's first argument is a name, which it keeps as the default until it reads the function
    words = [getattr(info, "default", None), *(getattr(info, "param_decls", None) or ())]
    flags = [word for word in words if isinstance(word, str) and word.startswith("-")]
    flag = flags[0] if flags else f"--{parameter.name.replace('_', '-')}"
    if isinstance(info, typer.models.ArgumentInfo):
        flag = ""
    return Option(parameter.name, flag, parameter.default, tuple(extra for extra in said if hasattr(extra, "check")))


def _plain(value: Any) -> Any:
    """Enumerations as the values that were typed, no list as the empty one."""
    return value.value if isinstance(value, Enum) else value
