"""Checks every annotation of jaxdl, shapes included, while the tests run."""

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

_HOOK = install_import_hook("jaxdl", "beartype_checked.checked")

ROOT = Path(__file__).parent.parent


@pytest.fixture
def tfds_dir():
    """Where prepared data sets are; tests on real data are skipped without."""
    folder = os.environ.get("TFDS_DATA_DIR")
    if not folder:
        pytest.skip("real data: set TFDS_DATA_DIR to a folder of prepared TFDS data sets")
    return Path(folder)


@pytest.fixture(scope="session")
def root():
    """The checkout."""
    return ROOT
