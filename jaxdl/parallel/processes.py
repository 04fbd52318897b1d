"""Several processes that train one model: they join, agree, and never wait forever.

Each has its own devices and runs the same program; `jax.distributed` connects them. Process 0
leads: only it writes the run directory, and its clock decides when to save. A process that waits
too long, for one that was killed or hangs, prints where it is and ends with exit status 1. Started
again, all resume from the newest checkpoint.
"""

from __future__ import annotations

import contextlib
import faulthandler
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxdl.errors import UserError, first_line
from jaxdl.terminal import complain

_STDERR = 2
_GOODBYE = 10  # seconds to wait for the others when a signal ends this process
_timeout: int | None = None  # seconds, once joined; a process joins at most once


@contextlib.contextmanager
def joined(
    address: str, number: int | None = None, index: int | None = None, timeout: int = 600
) -> Iterator[None]:
    """Make this process one of several, until the block ends.

    Args:
      address: HOST:PORT of process 0; 'auto' asks the cluster: Slurm, Open MPI, Kubernetes or TPU.
      number: of processes; by default the cluster says.
      index: of this one, from 0; by default the cluster says.
      timeout: seconds without progress until a process prints the stacks of all threads and ends.

    Raises:
      UserError: no cluster is found, the others do not come, or one of them fails.
    """
    global _timeout
    _check(address, number, index, timeout)
    _timeout = timeout
    # We handle SIGTERM ourselves: the processes agree on a step to stop at, see `agreed`.
    jax.config.update("jax_enable_preemption_service", False)
    alive()
    try:
        jax.distributed.initialize(
            None if address == "auto" else address,
            number,
            index,
            initialization_timeout=timeout,
            heartbeat_timeout_seconds=max(10, timeout // 3),
            shutdown_timeout_seconds=timeout,
        )
    except (ValueError, RuntimeError) as error:
        faulthandler.cancel_dump_traceback_later()
        _timeout = None
        raise UserError(
            f"--distributed {address}: cannot join ({first_line(error)}); outside Slurm, Open MPI, "
            "Kubernetes and TPU pods, give --distributed HOST:PORT --processes N --process I"
        ) from None
    faulthandler.enable(_STDERR)  # JAX aborts if others are gone: print the stacks
    try:
        yield
    except BaseException as error:
        _leave(error)
    faulthandler.cancel_dump_traceback_later()
    jax.distributed.shutdown()


def leads() -> bool:
    """Whether this process writes: it is the first, or the only one."""
    return _timeout is None or jax.process_index() == 0


def alive() -> None:
    """Tell the watchdog that there is progress: the `timeout` of `joined` starts again."""
    if _timeout is not None:
        faulthandler.dump_traceback_later(_timeout, file=_STDERR, exit=True)


def agreed(pace: int, asked: int, save: bool) -> tuple[int, int, bool]:
    """What all processes do next: as process 0 says, and stop if any was asked to.

    Args:
      pace: steps until the next agreement; that of process 0 counts.
      asked: number of the signal that this process received, or 0; the highest counts.
      save: whether to save a checkpoint; process 0 decides.
    """
    alive()
    if jax.process_count() == 1:
        return pace, asked, save
    votes = np.asarray(multihost_utils.process_allgather(np.array([pace, asked, save], np.int32)))
    return int(votes[0, 0]), int(votes[:, 1].max()), bool(votes[0, 2])


def compare(seen: Mapping[str, Any]) -> None:
    """Check that processes do not differ.

    Args:
      seen: JSON values by name, which must be the same in all processes.

    Raises:
      UserError: one differs; the message names it.
    """
    if jax.process_count() == 1:
        return
    for name, value in seen.items():
        text = json.dumps(value, sort_keys=True, default=str)
        digest = np.frombuffer(hashlib.sha256(text.encode()).digest()[:16], np.int32)
        digests = np.asarray(multihost_utils.process_allgather(digest))
        differs = (digests != digests[0]).any(axis=1)
        if differs.any():
            other = int(np.argmax(differs))
            raise UserError(
                f"--distributed: process {other} has a different {name} from process 0; start all "
                "with the same command, versions, data and --workdir"
            )


def _check(address: str, number: int | None, index: int | None, timeout: int) -> None:
    host, _, port = address.rpartition(":")
    if address != "auto" and not (host and port.isdecimal()):
        raise UserError(f"--distributed {address}: give HOST:PORT of process 0, or nothing")
    if timeout < 1:
        raise UserError(f"--timeout: expected at least 1 second, got {timeout}")
    if number is not None and number < 1:
        raise UserError(f"--processes: expected at least 1, got {number}")
    if index is not None and (number is None or not 0 <= index < number):
        raise UserError(f"--process {index}: with --processes N, give 0 to N - 1")
    if address != "auto" and (number is None) != (index is None):
        raise UserError("--distributed: give both --processes N and --process I, or neither")


def _leave(error: BaseException) -> None:
    """End this process at once, with the status of the error: the others may be gone."""
    match error:
        case SystemExit(code=int(status)):
            if status >= 128:  # all processes stopped and saved together
                faulthandler.dump_traceback_later(_GOODBYE, file=_STDERR, exit=True)
                jax.distributed.shutdown()
                raise error
        case UserError():
            status = 2
            complain(f"process {jax.process_index()}: {error}")
        case jax.errors.JaxRuntimeError():
            status = 1
            complain(
                f"process {jax.process_index()}: lost the others ({first_line(error)}); start all "
                "again to resume"
            )
        case _:
            raise error
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
