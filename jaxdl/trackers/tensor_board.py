"""TensorBoard, of which the run directory is a log directory."""

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
from jaxdl.trackers.base import Tracker


class TensorBoard(Tracker):
    """Writes TensorBoard's event files to the run directory, at once and without a thread.

    All methods raise `UserError` if a file cannot be written.
    """

    rewinds = True

    def start(self, config: Mapping[str, Any], id: str | None, folder: Path, step: int) -> str:
        """Begin a new file, of a unique name; TensorBoard drops later steps in earlier files."""
        from tensorboardX.proto.event_pb2 import SessionLog

        suffix = f"{int(time.time())}.{socket.gethostname()}.{secrets.token_hex(4)}"
        self._path = folder / f"events.out.tfevents.{suffix}"
        begins = _record(step=step + 1, session_log=SessionLog(status=SessionLog.START))
        self._write(_record(file_version="brain.Event:2") + begins)
        return ""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Append the numbers of a step."""
        from tensorboardX.proto.summary_pb2 import Summary

        pairs = [
            Summary.Value(tag=printable(name), simple_value=value) for name, value in values.items()
        ]
        self._write(_record(step=step, summary=Summary(value=pairs)))

    def figure(self, step: int, name: str, png: bytes) -> None:
        """Append a figure of a step."""
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
