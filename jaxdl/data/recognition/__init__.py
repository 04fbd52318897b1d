"""What a user's own files are, so that `jaxdl init` can write a config for them.

A file here for each kind of data; `recognize` tries them in turn. Each looks at names and a few
contents, reads the data by its source, which refuses what is wrong, and says what it decided.
"""

from jaxdl.data.recognition.recognize import recognize
from jaxdl.data.recognition.recognized import Recognized
from jaxdl.data.recognition.table import Kind

__all__ = ["Kind", "Recognized", "recognize"]
