"""Images whose names hold their classes."""

import re

import pytest

from jaxdl.data.recognition import recognize
from jaxdl.data.sources.image_folders import images
from jaxdl.data.sources.label_names import NUMBERED


def kinds(table):
    return [table.classes[i] for i in table.columns["label"]]


def test_the_group_of_the_expression_is_the_class(draw):
    path = draw("cat.0.png", "cat.1.png", "dog.0.png")
    splits = images(path, size=4, label_in_name=r"(.+)\.\d+", test_fraction=0.0)
    assert kinds(splits["train"]) == ["cat", "cat", "dog"] and {*splits} == {"train"}


def test_folders_called_as_splits_are_splits_and_one_without_classes_is_left_out(draw, caplog):
    path = draw("train/a_1.png", "train/b_1.png", "test/a_2.png", "more/1.png", "more/2.png")
    splits = images(path, size=4, label_in_name=r"(.+)_\d+")
    assert kinds(splits["train"]) == ["a", "b"] and kinds(splits["test"]) == ["a"]
    assert "more: no name in it has a class" in caplog.text


@pytest.mark.parametrize(
    "name, kind",
    [
        ("cat.12", "cat"),
        ("great_pyrenees_7", "great_pyrenees"),
        ("Wagen (3)", "Wagen"),
        ("model3_12", "model3"),
        ("Kätzchen-1", "Kätzchen"),
        ("12", None),
        ("2024_12", None),
        ("cat", None),
    ],
)
def test_usual_names_are_words_and_a_number(name, kind):
    match = re.fullmatch(NUMBERED, name)
    assert (match and match[1]) == kind


@pytest.mark.parametrize(
    "settings, words",
    [
        (dict(label_in_name="(.+"), "missing )"),
        (dict(label_in_name=r".+\.\d+"), "has 0 groups"),
        (dict(label_in_name=r"(.+)(\.)\d+"), "has 2 groups"),
        (dict(label_in_name=r"(.+)_\d+"), "no image has a name like"),
        (dict(label_in_name=r"(c.+)\.\d+"), "dog.0.png: no class in its name, as in 'cat.0.png'"),
        (dict(label_in_name=r"(.+)\.\d+", splits={}), "leave labels and splits out"),
        (dict(label_in_name=r"(.+)\.\d+", labels="a.csv"), "leave labels and splits out"),
    ],
)
def test_what_does_not_fit_is_one_line(draw, refuses, settings, words):
    path = draw("cat.0.png", "cat.1.png", "dog.0.png")
    with refuses("images: ", words):
        images(path, size=4, **settings)


def test_init_finds_classes_in_names_and_leaves_the_rest_to_be_predicted(draw):
    train = [f"train/{kind}.{i}.png" for kind in ("cat", "dog") for i in range(8)]
    path = draw(*train, *(f"test/{i}.png" for i in range(3)))
    found = recognize(path)
    assert found.settings["label_in_name"] == NUMBERED
    assert found.splits["train"].classes == ("cat", "dog") and found.to_predict == (path + "/test",)


@pytest.mark.parametrize(
    "names",
    [
        [f"{kind}/{other}_{i}.png" for kind in ("x", "y") for other in "ab" for i in range(6)],
        [f"IMG_{i}.png" for i in range(12)],
        [f"{chr(97 + i)}_{i}.png" for i in range(12)],
    ],
    ids=["folders by class", "one word", "a word for each"],
)
def test_init_takes_other_names_for_names(draw, names, refuses):
    path = draw(*names)
    if "/" in names[0]:
        assert "label_in_name" not in recognize(path).settings
    else:
        with refuses("is not in the folder of a class"):
            recognize(path)
