"""Names for the pytrees that everything hands on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Batch = Mapping[str, Any]  # name -> array with a leading batch axis
Params = Any  # what the gradient changes, a pytree of arrays
ModelState = Any  # what training changes without a gradient, such as batch statistics
Carry = Any  # what a recurrent model remembers, a pytree with a leading batch axis

# Columns for transforms that ask which example it is, and in which epoch it is seen.
ROW, EPOCH = "row", "epoch"
DATA_AXIS = "data"  # of a mesh, or mapped: the examples of a batch are spread over its devices
