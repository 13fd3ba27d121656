import dataclasses

import pytest

from laboratories import away, laboratory
from smalti import InputError
from smalti.experiments.names import check_names

DENOISERS = ("optimal", "gaussian")


@pytest.mark.parametrize(
    "name", ["gaussian", "Optimal", "half1", "optimal-half2", "optimal-mine", "mine", "z", "reference"]
)
def test_networks_do_not_take_the_names_of_others(name):
    with pytest.raises(InputError, match=f"a network cannot be called '{name}'.*rename its file"):
        check_names(["ddpmpp", name], ["mine", "yours"], DENOISERS)


def test_other_names_are_free():
    check_names(["ddpmpp", "ddpmpp-half1", "halfway", "gaussian-like"], ["half1", "half2"], DENOISERS)
    with pytest.raises(InputError, match="more than capitals"):
        check_names(["dit", "DiT"], [], DENOISERS)
    with pytest.raises(InputError, match="network of a half cannot be called 'gaussian'"):
        check_names(["dit"], ["gaussian"], DENOISERS)


def test_a_laboratory_has_no_two_of_a_name():
    with pytest.raises(InputError, match="cannot be called 'gaussian'"):
        laboratory(away(gaussian=0))
    lab = laboratory()
    with pytest.raises(InputError, match="cannot be called 'ddpmpp'"):
        dataclasses.replace(lab, halves={"ddpmpp": (lab.networks["dit"], lab.source)})
