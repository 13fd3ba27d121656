"""Values as captions give them."""

import math

from smalti.experiments.readings import level, with_interval


def row(value, low, high):
    return {"mse": value, "mse_low": low, "mse_high": high}


def test_two_digits_and_the_interval():
    assert with_interval(row(0.07531, 0.0704, 0.081), "mse") == "0.075 [0.07, 0.081]"
    assert with_interval(row(0.5, math.nan, math.nan), "mse") == "0.5"
    assert with_interval(row(math.nan, math.nan, math.nan), "mse") == "undefined"
    assert level(1.923) == "sigma 1.9"
