"""GoogLeNet, the paper's and torchvision's: published sizes, and what the arguments do."""

import pytest
from counting import applied, layers, made, multiply_adds, parameters, paths

from jaxdl.errors import UserError
from jaxdl.models import GoogLeNet


@pytest.mark.parametrize(
    ("batch_norm", "auxiliary", "count"),
    [
        (False, False, 6_998_552),
        (False, True, 13_378_280),
        (True, False, 6_624_904),
        (True, True, 13_004_888),
    ],
)
def test_published_sizes(batch_norm, auxiliary, count):
    assert parameters(GoogLeNet(batch_norm=batch_norm, auxiliary=auxiliary)) == count


def test_published_work():
    assert round(multiply_adds(GoogLeNet(batch_norm=True, auxiliary=False)), 2) == 1.50


@pytest.mark.parametrize("batch_norm", [False, True])
def test_table_1(batch_norm):
    found = layers(GoogLeNet(batch_norm=batch_norm))
    assert found["conv1/conv"] == ((7, 7, 3, 64), (112, 112, 64))
    assert found["conv3/conv"] == ((3, 3, 64, 192), (56, 56, 192))
    large = 3 if batch_norm else 5
    for block, side, inputs, outputs in [
        ("3a", 28, 192, 256),
        ("3b", 28, 256, 480),
        ("4a", 14, 480, 512),
        ("4d", 14, 512, 528),
        ("4e", 14, 528, 832),
        ("5b", 7, 832, 1024),
    ]:
        ends = [found[f"inception{block}/{end}/conv"] for end in BRANCHES]
        assert sum(y[-1] for _, y in ends) == outputs
        assert {y[:-1] for _, y in ends} == {(side, side)}
        assert [k[:2] for k, _ in ends] == [(1, 1), (3, 3), (large, large), (1, 1)]
        assert ends[0][0][2] == ends[3][0][2] == inputs
    assert found["fc"] == ((1024, 1000), (1000,))
    assert found["aux1/conv/conv"] == ((1, 1, 512, 128), (4, 4, 128))
    assert found["aux2/fc1"] == ((2048, 1024), (1024,))


BRANCHES = ("branch1", "branch2/1", "branch3/1", "branch4/1")


def test_torchvisions_names():
    names = paths(GoogLeNet(batch_norm=True))
    assert {
        "params/inception3a/branch1/conv/kernel",
        "params/inception3a/branch2/0/bn/scale",
        "batch_stats/inception5b/branch4/1/bn/mean",
        "params/aux1/conv/bn/bias",
        "params/aux2/fc2/kernel",
    } <= names
    assert len(names) == 2 + 5 * 57 + 2 * (5 + 4)  # fc, convolutions with their norm, heads


def test_auxiliary_classifiers_answer_only_in_training():
    model = GoogLeNet(outputs=10, dropout=0.1, auxiliary_dropout=0.2)
    shape, cut = applied(model, 80, train=True)
    assert shape == (3, 10)
    assert cut == [(0.2, (1024,)), (0.2, (1024,)), (0.1, (1024,))]
    assert applied(model, 80, train=False) == ((10,), [])
    alone = GoogLeNet(outputs=10, auxiliary=False)
    assert applied(alone, 80, train=True)[0] == (10,)


@pytest.mark.parametrize(
    ("model", "least"),
    [
        (GoogLeNet(batch_norm=True), 15),
        (GoogLeNet(auxiliary=False), 31),
        (GoogLeNet(), 79),
    ],
)
def test_smallest_images(model, least):
    assert layers(model, least)["fc"][1] == (1000,)
    with pytest.raises(UserError, match=f"at least {least}x{least} pixels, got {least - 1}x"):
        made(model, least - 1)
