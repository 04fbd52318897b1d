"""`to_onnx.py`, in the environment of its own that its head describes."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def python(root, tmp_path_factory):
    """The Python of an environment with jax2onnx and jaxdl."""
    place = tmp_path_factory.mktemp("onnx")
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    for words in (["jax2onnx"], ["-e", str(root)]):
        installed = subprocess.run([place / "bin" / "pip", "install", "-q", *words],
                                   capture_output=True, text=True)  # fmt: skip
        if installed.returncode:
            pytest.skip(f"pip install {words[-1]}: {installed.stderr.strip()[-200:]}")
    return place / "bin" / "python"


@pytest.mark.parametrize("config", ["digits_mlp", "digits_cnn"])
def test_onnx_runtime_gives_the_outputs_of_jax(config, root, tmp_path, call, python):
    call("train", "--config", config, "--config.training.steps=3", "--config.training.epochs=None",
         "--workdir", tmp_path / "run")  # fmt: skip

    def convert(workdir, name):
        script = root / "experiments" / "to_onnx.py"
        words = [python, script, "--workdir", workdir, "--output", tmp_path / name, "--batch", "5"]
        return subprocess.run(words, capture_output=True, text=True)

    done = convert(tmp_path / "run", "digits.onnx")
    assert done.returncode == 0, done.stderr
    assert "digits.onnx: image -> outputs, 5 examples a call" in done.stdout
    assert "ONNX Runtime's outputs are JAX's, but for" in done.stdout  # 1e-4 at most
    assert (tmp_path / "digits.onnx").stat().st_size > 10_000
    for workdir, name, told in (
        (tmp_path / "run", "digits.onnx", "exists; choose another"),
        (tmp_path / "run", "digits.txt", "name a file that ends in .onnx"),
        (tmp_path / "none", "none.onnx", "holds no run"),
    ):
        done = convert(workdir, name)
        assert done.returncode == 2 and told in done.stderr and done.stderr.count("\n") == 1
