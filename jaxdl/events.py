"""TensorBoard's event files, in the TFRecord format; written immediately, without a thread."""

from __future__ import annotations

import secrets
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxdl.errors import printable
from jaxdl.files import append_bytes


class Events:
    """A new event file.

    Args:
      folder: of the run; the file gets a unique name in it.
      step: TensorBoard drops values of this step and later ones in older files.

    Raises:
      UserError: it cannot be written; `log` raises this too.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboardX.proto.event_pb2 import SessionLog

        suffix = f"{int(time.time())}.{socket.gethostname()}.{secrets.token_hex(4)}"
        self._path = folder / f"events.out.tfevents.{suffix}"
        version = _record(file_version="brain.Event:2")
        self._write(version + _record(step=step, session_log=SessionLog(status=SessionLog.START)))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Append the values of a step."""
        from tensorboardX.proto.summary_pb2 import Summary

        pairs = [
            Summary.Value(tag=printable(name), simple_value=value) for name, value in values.items()
        ]
        self._write(_record(step=step, summary=Summary(value=pairs)))

    def log_figure(self, step: int, name: str, png: bytes) -> None:
        """Append a figure of a step, a PNG file."""
        from tensorboardX.proto.summary_pb2 import Summary

        width, height = struct.unpack(">II", png[16:24])  # of PNG's first chunk
        image = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=png)
        figure = Summary.Value(tag=f"figures/{printable(name)}", image=image)
        self._write(_record(step=step, summary=Summary(value=[figure])))

    def _write(self, records: bytes) -> None:
        append_bytes(self._path, records)


def _record(**fields: Any) -> bytes:
    """An event as a TFRecord: length, its checksum, the event, and its checksum."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    event = Event(wall_time=time.time(), **fields).SerializeToString()
    length = struct.pack("<Q", len(event))
    checks = (struct.pack("<I", masked_crc32c(part)) for part in (length, event))
    return length + next(checks) + event + next(checks)
