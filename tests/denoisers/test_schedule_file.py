"""Schedules: written, read, refused, and taken by denoisers and the command line."""

import json

import numpy as np
import pytest
import torch

from helpers import noisy, random_source
from smalti import ClosedFormDiffusion, InputError, PSPCFlex, PSPCSquare, denoisers
from smalti.cli.parameters import parse_parameters
from smalti.denoisers.registry import REGISTRY, by_level
from smalti.denoisers.schedule_file import Schedule, expanded

VALUES = {
    "pspc-square": [None, 3], "pspc-flex": [1, 0.4], "local-score": [5, 3], "equivariant-local-score": [5, 3],
    "gaussian-window": [2.0, 1.0], "closed-form-diffusion": [0.5, 0.1],
}  # fmt: skip


@pytest.fixture
def source():
    return random_source(12, (1, 6, 8))


def written(tmp_path, record):
    path = tmp_path / "s.json"
    path.write_text(record if isinstance(record, str) else json.dumps(record))
    return path


GOOD = {"format": 1, "denoiser": "pspc-square", "sigmas": [2, 0.5], "values": [5, 3]}


@pytest.mark.parametrize("name", [name for name, kind in REGISTRY.items() if kind.by_level])
def test_every_kind_is_saved_read_and_taken(tmp_path, source, name):
    schedule = Schedule(name, (2.0, 0.5), tuple(VALUES[name]), {"n": 3}, {"name": "x"}, None)
    schedule.save(tmp_path / "a.json")
    again = Schedule.load(tmp_path / "a.json")
    assert again == schedule
    assert (again.chosen_by, again.data, again.network) == ({"n": 3}, {"name": "x"}, None)
    parameter = by_level(name).parameter
    given = {parameter: list(schedule.values), "sigmas": [2.0, 0.5]}
    assert again.parameters(name) == given
    z, direct = noisy(source, 0.6), denoisers.create(name, source, **given)
    for same in (schedule, tmp_path / "a.json", str(tmp_path / "a.json")):
        assert torch.equal(denoisers.create(name, source, schedule=same)(z, 0.6), direct(z, 0.6))
    parsed = parse_parameters(denoisers.find(name), [f"schedule={tmp_path / 'a.json'}"])
    assert parsed == given, "its content, not its name, is what determines a run"


def test_what_was_typed_is_enough(tmp_path):
    assert Schedule.load(written(tmp_path, GOOD)).parameters() == {"patch_sizes": [5, 3], "sigmas": [2.0, 0.5]}


def test_arrays_and_their_numbers_are_taken():
    made = Schedule("local-score", torch.tensor([2.0, 1.0]), np.array([5, 3]))
    assert (made.sigmas, made.values) == ((2.0, 1.0), (5, 3))
    assert Schedule("local-score", (np.float32(2),), (np.int64(5),)).values == (5,)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": 2}, "its format is 2; this smalti reads format 1"),
        ({"format": True}, "its format is True"),
        ({"denoiser": "optimal"}, "'optimal' has no parameter that a schedule chooses"),
        ({"denoiser": "pspc-sqare"}, "did you mean 'pspc-square'"),
        ({"denoiser": ["x"]}, "its denoiser must be a name"),
        ({"parameter": "window"}, "has a schedule of patch_sizes, not of 'window'"),
        ({"sigmas": "2"}, "its sigmas must be a list, not '2'"),
        ({"sigmas": {}}, "its sigmas must be a list"),
        ({"sigmas": [2, 0]}, "sigmas must be finite numbers greater than 0, not 0"),
        ({"sigmas": [2, "1"]}, "not '1'"),
        ({"sigmas": [True, 1]}, "not True"),
        ({"sigmas": [2, 2]}, "sigma 2 is there twice"),
        ({"sigmas": [], "values": []}, "one value for each of 1 to 10000 sigmas, not 0 for 0"),
        ({"sigmas": [1]}, "not 2 for 1"),
        ({"values": [3.5, 3]}, "patch_sizes must be whole numbers or null"),
        ({"values": [[3], 3]}, r"not \[3\]"),
        ({"values": [{"a": "b" * 100}, 3]}, r"not \{'a': 'bbb.*\.\.\.$"),
        ({"values": [10**400, 3]}, "must be whole numbers"),
        ({"denoiser": "local-score", "values": [None, 3]}, "window must be whole numbers, not None"),
        ({"data": []}, "its 'data' must be an object"),
        ({"sigma": [1]}, "it has a 'sigma'; did you mean 'sigmas'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, change, says):
    with pytest.raises(InputError, match=says) as caught:
        Schedule.load(written(tmp_path, GOOD | change))
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "s.json") in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"format": 1', "not JSON"),
        ("[]", "must be a JSON object"),
        ("{}", "it has no 'format'"),
        ('{"format": 1, "denoiser": "pspc-square", "sigmas": [NaN], "values": [3]}', "not nan"),
        ('{"format": 1, "denoiser": "pspc-square", "sigmas": [1e999], "values": [3]}', "not inf"),
        (" " * (1 << 20) + "{} ", "more than 1 MB"),
    ],
)
def test_files_that_are_no_schedules(tmp_path, text, says):
    with pytest.raises(InputError, match=says):
        Schedule.load(written(tmp_path, text))


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # long paths are cut
    with pytest.raises(InputError, match=r"cannot read the schedule .*nothing.json"):
        Schedule.load("nothing.json")
    with pytest.raises(InputError, match="check the path"):
        Schedule.load(tmp_path)
    (tmp_path / "b").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not JSON"):
        Schedule.load(tmp_path / "b")


def test_contradictions(tmp_path, source):
    schedule = Schedule("pspc-square", (2.0, 0.5), (5, 3))
    with pytest.raises(InputError, match="one of pspc-square, not of local-score"):
        denoisers.create("local-score", source, schedule=schedule)
    for taken in ({"patch_sizes": [3]}, {"sigmas": [1.0]}, {"patch_size": 3}):
        with pytest.raises(InputError, match=r"leave .* or the schedule out"):
            denoisers.create("pspc-square", source, schedule=schedule, **taken)
    with pytest.raises(InputError, match=r"a schedule is a file or a smalti\.Schedule, not int"):
        denoisers.create("pspc-square", source, schedule=3)
    with pytest.raises(InputError, match="'gaussian' has no parameter"):
        denoisers.create("gaussian", source, schedule=schedule)
    with pytest.raises(InputError, match="gaussian has no parameter 'schedule'"):
        parse_parameters(denoisers.find("gaussian"), ["schedule=x"])
    with pytest.raises(InputError, match="a 9 x 9 patch does not fit the 6 x 8 images"):
        denoisers.create("pspc-square", source, schedule=Schedule("pspc-square", (2.0,), (9,)))
    assert expanded("gaussian", {"rank": 3}) == {"rank": 3}


def test_the_whole_image_by_level(source):
    z = noisy(source, 2.0)
    mixed = PSPCSquare(source, patch_sizes=[None, 3], sigmas=[2.0, 0.5])
    assert torch.equal(mixed(z, 2.0), denoisers.Optimal(source)(z, 2.0))
    assert torch.equal(mixed(z, 0.5), PSPCSquare(source, 3)(z, 0.5))
    assert parse_parameters(PSPCSquare, ["patch_sizes=5,3"]) == {"patch_sizes": [5, 3]}
    with pytest.raises(InputError, match="whole numbers separated by commas"):
        parse_parameters(PSPCSquare, ["patch_sizes=a"])


def test_smoothing_by_level(source):
    z = noisy(source, 2.0)
    mixed = ClosedFormDiffusion(source, [0.5, 0.1], sigmas=[2.0, 0.5])
    for sigma, smoothing in ((2.0, 0.5), (0.5, 0.1)):
        assert torch.equal(mixed(z, sigma), ClosedFormDiffusion(source, smoothing)(z, sigma))
    both = mixed(z, torch.tensor([2.0, 0.5]))
    assert torch.allclose(both, torch.stack([mixed(z[:1], 2.0)[0], mixed(z[1:], 0.5)[0]]))
    with pytest.raises(InputError, match="2 smoothings for 1 sigmas"):
        ClosedFormDiffusion(source, [0.5, 0.1], sigmas=[1.0])
    with pytest.raises(InputError, match="not negative, not -1"):
        ClosedFormDiffusion(source, [0.5, -1.0], sigmas=[1.0, 2.0])
    with pytest.raises(InputError, match="greater than 0"):
        ClosedFormDiffusion(source, [0.5], sigmas=[0.0])


def test_other_thresholds_share_the_heatmaps(source):
    z, flex = noisy(source, 0.5), PSPCFlex(source, thresholds=0.9, sigmas=[2.0, 0.5])
    other = flex.with_thresholds([1.0, 0.3])
    assert torch.equal(other(z, 0.5), PSPCFlex(source, thresholds=[1.0, 0.3], sigmas=[2.0, 0.5])(z, 0.5))
    assert torch.equal(flex(z, 0.5), PSPCFlex(source, thresholds=0.9, sigmas=[2.0, 0.5])(z, 0.5))
    assert other._linear is flex._linear
    with pytest.raises(InputError, match="above 0"):
        flex.with_thresholds(0)
