"""What can be asked for, and what is known of it."""

import pytest

from jaxdl.chips import CHIPS, GIB
from jaxdl.errors import UserError
from jaxdl.targets.target import Target


@pytest.mark.parametrize(
    ("text", "number", "machines", "topology"),
    [
        ("tpu:v5e:2x4", 8, 2, "v5e:2x4"),
        ("tpu:v4:2x2x1", 4, 1, "v4:2x2x1"),
        ("tpu:v5e:1x1", 1, 1, "v5e:1x1"),
        ("tpu:v5p:2x2x3", 12, 3, "v5p:2x2x3"),
        ("cuda:a100", 1, 1, "1x1x1"),
        ("cuda:h100:8", 8, 1, "1x1x8"),
        ("cuda:b200:16", 16, 2, "1x2x8"),
    ],
)
def test_targets(text, number, machines, topology):
    target = Target.of(text)
    assert (target.number, target.machines, target.topology) == (number, machines, topology)
    assert Target.of(str(target)) == target


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--target : must begin with tpu: or cuda:"),
        ("v5e:2x4", "must begin with tpu: or cuda:"),
        ("rocm:mi300", "must begin with tpu: or cuda:"),
        ("tpu", "no such chip"),
        ("tpu:v5:2x4", "--target tpu:v5:2x4: no such chip; did you mean 'v5"),
        ("tpu:h100:8", "no such chip"),
        ("cuda:v5e:2x4", "no such chip"),
        ("tpu:v5e", "say the 2 sides of the slice, such as tpu:v5e:2x2"),
        ("tpu:v4:2x2", "say the 3 sides of the slice, such as tpu:v4:2x2x2"),
        ("tpu:v5e:2x0", "say the 2 sides"),
        ("tpu:v5e:2×4", "say the 2 sides"),
        ("tpu:v6e:3x4", "a machine has 2x2 chips, so the first two sides must be even"),
        ("tpu:v4:1x1x4", "the first two sides must be even"),
        ("cuda:h100:x", "say how many GPUs, such as cuda:h100:8"),
        ("cuda:h100:2x4", "say how many GPUs"),
        ("cuda:h100:-1", "say how many GPUs"),
        ("cuda:h100:12", "machines have 8 GPUs; choose 1 to 8, or a multiple"),
        ("cuda:h100:9999999", "say how many GPUs"),
    ],
)
def test_what_is_refused(text, message):
    with pytest.raises(UserError, match=message):
        Target.of(text)


@pytest.mark.parametrize("name", CHIPS)
def test_the_table_is_plausible(name):
    chip = CHIPS[name]
    assert 16 * GIB <= chip.memory <= 200 * GIB
    assert 100e12 <= chip.flops[16] <= 3e15
    assert chip.network < chip.bandwidth < chip.flops[16]
    assert chip.source.startswith("https://")
    assert sorted(chip.flops.values(), reverse=True) == [chip.flops[b] for b in sorted(chip.flops)]


def test_the_least_time_of_arithmetic():
    tpu, gpu = CHIPS["v5e"], CHIPS["a100"]
    assert tpu.seconds({"bf16": 197e12}) == tpu.seconds({"f32": 197e12}) == pytest.approx(1)
    assert gpu.seconds({"bf16": 312e12, "f32": 156e12, "f64": 19.5e12}) == pytest.approx(3)
    assert gpu.seconds({"f8e4m3fn": 312e12}) == pytest.approx(1)
