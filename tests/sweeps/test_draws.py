"""What a search draws: ranges as they are written, and settings that depend on a number alone."""

import math

import numpy as np
import pytest

from jaxdl.sweeps.draws import Draw, drawn, shown, texts_of

CONFIG = {
    "optimizer": {"learning_rate": {"peak": 0.1}},
    "model": {"width": 64, "dropout": 0.0, "activation": "relu"},
}


def draw(given):
    return Draw.of(given, CONFIG)


def values(given, number=2000):
    return [drawn([draw(given)], 0, i)[given.partition("=")[0]] for i in range(number)]


def test_a_range_is_drawn_from_evenly():
    found = np.array(values("model.dropout=0:0.5"))
    assert 0 <= found.min() < 0.01 and 0.49 < found.max() <= 0.5
    np.testing.assert_allclose(
        np.quantile(found, (0.25, 0.5, 0.75)), (0.125, 0.25, 0.375), atol=0.03
    )


def test_a_logarithmic_range_is_drawn_from_evenly_in_the_logarithm():
    found = np.log10(values("optimizer.learning_rate.peak=log:1e-4:1"))
    assert -4 <= found.min() < -3.9 and -0.1 < found.max() <= 0
    np.testing.assert_allclose(np.quantile(found, (0.25, 0.5, 0.75)), (-3, -2, -1), atol=0.2)


@pytest.mark.parametrize("given", ["model.width=1:4", "model.width=log:1:4", "model.width=1,2,3,4"])
def test_whole_numbers_are_drawn_with_both_ends(given):
    found = values(given)
    assert {*found} == {1, 2, 3, 4} and all(type(value) is int for value in found)
    if "log" not in given:
        assert np.bincount(found)[1:].min() > 400


def test_whole_numbers_are_fractions_where_the_config_has_one():
    assert not draw("model.dropout=0:1").whole and draw("model.width=0:1").whole
    assert draw("model.depth=2:8").whole and not draw("model.depth=2.0:8").whole


def test_choices_are_texts_of_overrides():
    found = draw("model.hidden=(64,),(64, 32)")
    assert found.ends() == ["(64,)", "(64, 32)"]
    setting = {"model.hidden": found.at(0.99), "optimizer.learning_rate.peak": 0.001}
    assert texts_of(setting) == ["model.hidden=(64, 32)", "optimizer.learning_rate.peak=0.001"]
    assert shown(setting) == "hidden=(64, 32), peak=0.001"


def test_a_setting_is_a_function_of_seed_and_number():
    draws = [draw("model.width=1:1000000"), draw("model.dropout=0:1")]
    again = [drawn(draws, 3, number) for number in (7, 0, 7)]
    assert again[0] == again[2] != again[1]
    assert drawn(draws, 4, 7) != again[0]


@pytest.mark.parametrize("share", [0.0, 0.5, math.nextafter(1, 0)])
def test_no_rounding_leads_out_of_a_range(share):
    for given in ("model.dropout=0.12345678:0.12345679", "model.width=log:3:5", "model.width=2:3"):
        found = draw(given)
        assert found.low <= found.at(share) <= found.high


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("model.width", "write KEY="),
        ("=1:2", "write KEY="),
        ("model.width=", "write KEY="),
        ("model.width=5", "a single value leaves nothing to draw"),
        ("model.width=2:1", "expected the lower end first, got 2 and 1"),
        ("model.width=1:1", "expected the lower end first"),
        ("model.dropout=log:0:1", "a logarithm needs ends above 0, got 0"),
        ("model.width=a:b", "'a:b' is not a range of numbers"),
        ("model.width=1:2:3", "is not a range of numbers"),
        ("model.dropout=0:inf", "is not a range of numbers"),
        ("model.dropout=nan:1", "is not a range of numbers"),
        ("model.width=1,1", "has a value twice"),
        ("model.width=1,,2", "empty value"),
        ("config.model.width=1:2", "leave out 'config.'"),
        ("seed=1:2", "a search has the config's seed"),
    ],
)
def test_what_is_not_a_range_is_refused(refuses, given, message):
    with refuses(f"--draw {given}", message):
        draw(given)
