"""A device is held against its own published peak, or none."""

import pytest

from jaxdl.chips import CHIPS, chip_of

KINDS = {
    "TPU v4": "v4",
    "TPU v5 lite": "v5e",
    "TPU v5": "v5p",
    "TPU v5p": "v5p",
    "TPU v6 lite": "v6e",
    "NVIDIA A100-SXM4-80GB": "a100",
    "NVIDIA H100 80GB HBM3": "h100",
    "NVIDIA H200": "h200",
    "NVIDIA L4": "l4",
    "NVIDIA B200": "b200",
    "NVIDIA H100 PCIe": None,
    "NVIDIA H100 NVL": None,
    "NVIDIA L40S": None,
    "NVIDIA GH200 480GB": None,
    "TPU v7x": None,
    "cpu": None,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_device_is_known_by_what_it_calls_itself(kind):
    assert chip_of(kind) is (CHIPS[KINDS[kind]] if KINDS[kind] else None)
