"""The README's code, run as it stands."""

import re
import subprocess
import sys

import pytest

from jaxdl import config as cfg


@pytest.fixture(scope="module")
def readme():
    return (cfg.Path(__file__).parent.parent / "README.md").read_text()


def blocks(readme):
    return re.findall(r"```python\n(.*?)```", readme, re.DOTALL)


def test_the_script_trains(readme, tmp_path):
    (tmp_path / "script.py").write_text(blocks(readme)[0])
    command = [sys.executable, "script.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    accuracy = float(re.search(r"'accuracy': ([\d.]+)", done.stdout)[1])
    assert accuracy > 0.9


def test_the_config_with_a_model_of_ones_own_trains(readme, tmp_path):
    for block in blocks(readme)[1:]:
        (tmp_path / re.match(r"# (\w+\.py)", block)[1]).write_text(block)
    command = [sys.executable, "-m", "jaxdl", "train", "--config", "rings.py", "--workdir", "run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "test/accuracy" in done.stdout


def test_every_config_and_file_it_names_is_there(readme, root):
    for name in re.findall(r"configs/(\w+)\.py", readme):
        assert name in cfg.shipped()
    for path in re.findall(r"\]\(((?!http)[^)]+)\)", readme):
        assert (root / path).exists()
    for name in cfg.shipped():
        assert f"`{name}`" in readme, f"{name} is missing from the table of configs"
