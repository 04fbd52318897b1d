"""The tables of jaxdl/data/README.md are those of the code."""

import inspect
import re
from pathlib import Path

import pytest

import jaxdl.data
from jaxdl.data import SOURCES, Clips, Crop, Tokens

README = (Path(jaxdl.data.__file__).parent / "README.md").read_text()
SECTIONS = {"`tokenize`": Tokens, "`clips`": Clips, "`crop`": Crop} | {
    f"`{name}`": source for name, source in SOURCES.items()
}


@pytest.mark.parametrize("name", SECTIONS)
def test_every_setting_is_listed_with_its_default(name):
    section = re.search(rf"^### {name}.*?\n(.*?)(?=^##|\Z)", README, re.MULTILINE | re.DOTALL)
    listed = re.findall(r"^\| `(\w+)` \| [^|]+ \| `?(.+?)`? \| ", section[1], re.MULTILINE)
    settings = {
        parameter.name: "required" if parameter.default is parameter.empty else parameter.default
        for parameter in inspect.signature(SECTIONS[name]).parameters.values()
    }
    assert [setting for setting, _ in listed] == list(settings)
    for setting, default in listed:
        value = default if default == "required" else eval(default)
        assert value == settings[setting], setting
