from collections.abc import Sequence
from typing import Any, Literal

import pytest
import torch

from smalti import denoisers
from smalti.cli.parameters import parse_parameters
from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError


class Made(Denoiser):
    name = "made"

    def __init__(
        self,
        source,
        window: int = 7,
        strength: float = 1.0,
        sizes: Sequence[int] | None = None,
        sigmas: Sequence[float] | torch.Tensor | None = None,
        soft: bool = False,
        mode: Literal["row", "column"] = "row",
        title: str = "",
        free: Any = None,
        bare=None,
        rank: int | None = None,
        scale: float | int | Literal["row", "column"] = 1,
        array: torch.Tensor | None = None,
        backend: str = "auto",
    ):
        pass


class Plain(Denoiser):
    name = "plain"

    def __init__(self, source, *, rank: int):
        pass


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("window=5", 5),
        ("strength=2", 2),
        ("strength=1e-3", 1e-3),
        ("sizes=3,5,7", [3, 5, 7]),
        ("sizes=[3, 5]", [3, 5]),
        ("sizes=3", [3]),
        ("sizes=none", None),
        ("sigmas=80,1.5", [80.0, 1.5]),
        ("soft=true", True),
        ("soft=False", False),
        ("mode=column", "column"),
        ("title=a=b", "a=b"),
        ("title=7", "7"),
        ("free=7", 7),
        ("free=1.5,2", [1.5, 2.0]),
        ("bare=none", None),
        ("bare=word", "word"),
    ],
)
def test_values_follow_the_signature(pair, value):
    got = parse_parameters(Made, [pair])[pair.partition("=")[0]]
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        (["window"], "NAME=VALUE"),
        (["windoe=3"], "did you mean 'window'.*there are: window, strength"),
        (["source=x"], "no parameter 'source'"),
        (["window=3.5"], "window cannot be '3.5'; it takes a whole number$"),
        (["window=none"], "window cannot be"),
        (["strength=x"], "it takes a number$"),
        (["sigmas=x"], "it takes numbers separated by commas, or none$"),
        (["rank=x"], "it takes a whole number, or none$"),
        (["sizes=3,x"], "sizes cannot be .*; it takes whole numbers separated by commas, or none$"),
        (["sizes=3,1.5"], "sizes cannot be"),
        (["soft=1"], "soft cannot be .*; it takes true or false$"),
        (["mode=diagonal"], "mode cannot be .*; it takes row or column$"),
        (["scale=big"], "it takes a number, row or column$"),
        (["array=3"], "array cannot be '3'; it takes nothing but none here; give its other values in Python$"),
        (["window=3", "window=5"], "twice"),
    ],
)
def test_bad_values_are_named(pairs, says):
    with pytest.raises(InputError, match=says):
        parse_parameters(Made, pairs)


def test_backend_is_a_parameter():
    assert parse_parameters(Made, [], "torch") == {"backend": "torch"}
    with pytest.raises(InputError, match="twice"):
        parse_parameters(Made, ["backend=torch"], "numba")
    with pytest.raises(InputError, match="plain has no backends"):
        parse_parameters(Plain, ["rank=1"], "auto")


def test_a_required_parameter_is_asked_for():
    with pytest.raises(InputError, match="plain needs --param rank=VALUE"):
        parse_parameters(Plain, [])


def test_denoisers_by_name():
    assert denoisers.find("optimal") is denoisers.REGISTRY["optimal"]
    with pytest.raises(InputError, match="did you mean 'pspc-square'"):
        denoisers.find("pscp-square")


@pytest.mark.parametrize("name", list(denoisers.REGISTRY))
def test_every_registered_signature_can_be_read(name):
    assert parse_parameters(denoisers.REGISTRY[name], []) == {}


def test_real_parameters():
    assert parse_parameters(denoisers.REGISTRY["pspc-square"], ["patch-sizes=3,5", "sigmas=2,0.1"]) == {
        "patch_sizes": [3, 5],
        "sigmas": [2.0, 0.1],
    }
    assert parse_parameters(denoisers.REGISTRY["gaussian"], ["rank=4"]) == {"rank": 4}
