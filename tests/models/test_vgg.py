"""VGG: its published sizes, and what its arguments do."""

import pytest
from counting import applied, layers, made, multiply_adds, parameters, paths

from jaxdl.errors import UserError
from jaxdl.models import VGG


@pytest.mark.parametrize(
    ("depth", "count"), [(11, 132_863_336), (13, 133_047_848), (16, 138_357_544), (19, 143_667_240)]
)
def test_published_sizes(depth, count):
    """Table 2 of the paper has them in millions: 133, 133, 138, 144."""
    assert parameters(VGG(depth=depth)) == count
    assert len(layers(VGG(depth=depth))) == depth


def test_published_work():
    assert round(multiply_adds(VGG(depth=19)), 2) == 19.63


def test_batch_norm_adds_a_scale_and_a_bias_a_channel():
    channels = 2 * 64 + 2 * 128 + 4 * 256 + 8 * 512
    assert parameters(VGG(depth=19, batch_norm=True)) == 143_667_240 + 2 * channels


def test_stages_halve_the_image():
    found = layers(VGG(depth=16))
    assert found["features/0"] == ((3, 3, 3, 64), (224, 224, 64))
    assert found["features/14"] == ((3, 3, 256, 256), (56, 56, 256))
    assert found["features/28"] == ((3, 3, 512, 512), (14, 14, 512))
    assert found["classifier/0"] == ((25_088, 4096), (4096,))


def test_torchvisions_names():
    plain, normed = paths(VGG(depth=11)), paths(VGG(depth=11, batch_norm=True))
    convolutions = {0, 3, 6, 8, 11, 13, 16, 18}
    assert {f"params/features/{i}/kernel" for i in convolutions} <= plain
    assert {f"params/classifier/{i}/kernel" for i in (0, 3, 6)} <= plain & normed
    assert {"params/features/25/bias", "batch_stats/features/26/var"} <= normed


def test_any_image_size_that_leaves_a_pixel():
    assert parameters(VGG(depth=11), 32) == parameters(VGG(depth=11), 100) == 132_863_336
    with pytest.raises(UserError, match="at least 32x32 pixels, got 31x31"):
        made(VGG(), 31)


def test_dropout_only_in_training():
    model = VGG(depth=11, dropout=0.25)
    assert applied(model, 32, train=True) == ((1000,), [(0.25, (4096,))] * 2)
    assert applied(model, 32, train=False) == ((1000,), [])


def test_a_probability_out_of_range_is_refused():
    for rate in (-0.1, 1.0):
        with pytest.raises(UserError, match=r"must be in .0, 1., got"):
            made(VGG(depth=11, dropout=rate), 32)
