"""The public names: one list, in the stub, which says where each is."""

import subprocess
import sys

import pytest

import smalti


@pytest.mark.parametrize("name", smalti.__all__)
def test_every_public_name_is_there_and_found_by_completion(name: str) -> None:
    assert getattr(smalti, name) is not None
    assert name in dir(smalti)


def test_functions_are_not_hidden_by_modules_of_their_name() -> None:
    assert callable(smalti.compare)
    assert callable(smalti.transforms)
    assert callable(smalti.sensitivity)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        smalti.no_such_name  # noqa: B018


def test_importing_the_package_does_not_wait_for_torch() -> None:
    program = "import sys, smalti; heavy = {'torch', 'numba', 'numpy'} & set(sys.modules); sys.exit(str(heavy) if heavy else 0)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
