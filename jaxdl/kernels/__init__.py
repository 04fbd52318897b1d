"""Kernels: arithmetic that XLA alone computes slowly, with gradients written by hand.

Convolution and its back ends, products of matrices, batch norm, pooling, recurrences. They know
JAX: no Flax, no parameters, no settings. Only models call them, and only by the names below: to add
one, write a pure function in a file here, with its equations and source in the docstring, and
export it here.
"""

from __future__ import annotations

from jaxdl.kernels.batch_norm import batch_norm_inference, batch_norm_training
from jaxdl.kernels.convolution import conv
from jaxdl.kernels.matmul import dot_general
from jaxdl.kernels.onednn import FOREIGN_CALLS, portable
from jaxdl.kernels.pooling import (
    adaptive_average_pool,
    channels_first,
    local_response_norm,
    max_pool,
)
from jaxdl.kernels.recurrent import CELLS, Weights, cudnn_lstm, scan_layers
from jaxdl.kernels.residual import add_relu
from jaxdl.kernels.roi_align import roi_align

__all__ = [
    "CELLS",
    "FOREIGN_CALLS",
    "Weights",
    "adaptive_average_pool",
    "add_relu",
    "batch_norm_inference",
    "batch_norm_training",
    "channels_first",
    "conv",
    "cudnn_lstm",
    "dot_general",
    "local_response_norm",
    "max_pool",
    "portable",
    "roi_align",
    "scan_layers",
]
