"""TensorBoard's events are read back as TensorBoard reads them."""

import io
import struct

from PIL import Image
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c

from jaxdl.trackers.tensor_board import TensorBoard


def read(path):
    """The events of a file, every checksum checked."""
    data, events = path.read_bytes(), []
    while data:
        (size,), (check,) = struct.unpack("<Q", data[:8]), struct.unpack("<I", data[8:12])
        event, (last,) = data[12 : 12 + size], struct.unpack("<I", data[12 + size : 16 + size])
        assert check == masked_crc32c(data[:8]) and last == masked_crc32c(event)
        events.append(Event.FromString(event))
        data = data[16 + size :]
    return events


def begun(folder, step):
    tracker = TensorBoard()
    assert tracker.start({}, None, folder, step) == ""
    return tracker


def test_what_is_logged_is_read_back(tmp_path):
    begun(tmp_path, 3).metrics(4, {"loss": 0.5, "test/accuracy": 0.25})
    begun(tmp_path, 3)  # a second start in the same second
    names = sorted(tmp_path.iterdir(), key=lambda path: path.stat().st_size)
    assert len(names) == 2 and all(n.name.startswith("events.out.tfevents.") for n in names)
    version, start, logged = read(names[1])
    assert version.file_version == "brain.Event:2"
    assert start.step == 4 and start.session_log.status == SessionLog.START
    assert logged.step == 4 and logged.wall_time > 1e9
    values = {value.tag: value.simple_value for value in logged.summary.value}
    assert values == {"loss": 0.5, "test/accuracy": 0.25}


def test_a_figure_is_an_image(tmp_path):
    file = io.BytesIO()
    Image.new("RGBA", (7, 5)).save(file, "PNG")
    begun(tmp_path, 0).figure(3, "learning_curves", file.getvalue())
    *_, logged = read(next(tmp_path.iterdir()))
    (value,) = logged.summary.value
    assert (logged.step, value.tag) == (3, "figures/learning_curves")
    assert (value.image.width, value.image.height) == (7, 5)
    assert value.image.encoded_image_string == file.getvalue()
