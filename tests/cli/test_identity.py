"""What `--resume` compares follows from the options: what once changed a run's identity changes it still, and nothing can be forgotten."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import pytest
import typer

from identity_cases import CASES, identities
from smalti.cli import app
from smalti.cli.command import NEUTRAL, Between, Group, command
from smalti.core.errors import InputError


@dataclasses.dataclass
class Values(Group):
    """A group."""

    strength: Annotated[float, Between(0.0, 1.0)] = 0.5


OLD = json.loads((Path(__file__).parents[1] / "old_identities.json").read_text())
NOW_ALSO: dict[str, set[str]] = {}  # options that count now and did not: none


@pytest.mark.parametrize("name", CASES)
def test_what_changed_an_identity_changes_it_still(name, own_cache):
    found, old = identities([name])[name], OLD[name]
    assert set(found) >= set(old)
    assert all(found[option] != found[""] for option in set(found) - set(old)), "options that there were not"
    for option in old:
        changed, was = found[option] != found[""], old[option] != old[""]
        assert changed == was or option in NOW_ALSO.get(name, ()), f"{name} {option}: changed {changed}, once {was}"


def test_every_option_of_a_run_is_tried():
    """So that a new option cannot go untested: each is changed by a case, or changes no result."""
    untried = {"layout", "split", "labels", "z_set"}  # of other data; with networks that have classes
    for each in app.COMMANDS:
        name, options = each.__name__, set(each.__signature__.parameters)
        if name in CASES and name != "compare":
            tried = {option.partition("_param")[0] for option in CASES[name][1]}
            renamed = {"compile": "compile_network", "schedule": "param"}
            assert options <= {renamed.get(option, option) for option in tried} | NEUTRAL | untried, name


def made(**given):
    """What a command with these options, one of them in a group, was called with, and its identity."""
    seen = []

    @command
    def example(
        *,
        n: Annotated[int, typer.Option("-n"), Between(1, 9)] = 2,
        name: Annotated[str | None, typer.Option("--name")] = None,
        kind: str = "a",
        threads: int = 1,
        run: Values,
    ) -> None:
        seen.append((n, name, kind, threads, run))

    example(**given)
    return seen[0]


def invocation(**given):
    return dataclasses.replace(made(**given)[-1].invocation, module="smalti.core.text")


def test_an_option_counts_as_typed_unless_it_is_said_what_it_stands_for(own_cache):
    first = invocation().identity({})
    assert {"command", "n", "name", "kind", "strength", "code", "versions"} == set(first)
    for name, value in {"n": 3, "name": "x", "kind": "b", "strength": 0.25}.items():
        assert invocation(**{name: value}).identity({}) != first, name
    assert invocation(threads=2).identity({}) == first
    assert invocation(name="x").identity({("name", "kind"): {"sha256": "1"}})["name"] == {"sha256": "1"}
    assert "kind" not in invocation().identity({("name", "kind"): 1})
    for wrong in ({"nmae": 1}, {("name", "kind"): 1, "kind": 2}):
        with pytest.raises(ValueError, match="no option, or said twice"):
            invocation().identity(wrong)


def test_a_file_counts_by_its_content(own_cache, tmp_path):
    (tmp_path / "a.npy").write_bytes(b"1")
    one = invocation(name=str(tmp_path / "a.npy")).identity({})
    (tmp_path / "a.npy").write_bytes(b"2")
    assert invocation(name=str(tmp_path / "a.npy")).identity({}) != one


def test_the_code_that_runs_counts(own_cache, monkeypatch):
    from smalti.core import code

    before = invocation().identity({})["code"]
    monkeypatch.setattr(code, "code_digest", lambda *names: "another")
    assert invocation().identity({})["code"] != before


def test_values_are_checked_before_anything_is_called():
    for given, says in (({"n": 0}, "-n must be at least 1, not 0"), ({"n": 10}, "-n must be at most 9, not 10")):
        with pytest.raises(InputError, match=says):
            made(**given)
    with pytest.raises(InputError, match="--strength must be at most 1"):
        made(strength=2.0)
    with pytest.raises(InputError, match="--strength"):
        made(strength=float("nan"))


def test_the_command_that_does_the_same():
    said = invocation(name="two words", n=3)
    assert said.again() == "smalti example -n 3 --name 'two words'"
    assert said.again(("kind",), ()) == "smalti example -n 3 --name 'two words' --kind a"


def test_the_code_of_a_command_is_what_it_runs_and_not_other_commands():
    from smalti.core.code import _closure

    found = _closure(("smalti.cli.commands.sample",))
    assert {
        "smalti.sampling.sampler",
        "smalti.denoisers.pspc",
        "smalti.engine.collection",
        "smalti.cli.subjects",
    } <= found
    assert not any(
        name.startswith(("smalti.bench", "smalti.experiments", "smalti.cli.commands.train")) for name in found
    )
