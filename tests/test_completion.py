"""The scripts of `jaxdl completion`, in the shells that are there."""

import shutil
import subprocess

import pytest

from jaxdl.cli.completion import SHELLS

WORDS = {  # what is completed -> what must be among the completions
    "jaxdl desc": "describe",
    "jaxdl describe resn": "resnet",
    "jaxdl train --config digits_c": "digits_cnn",
    "jaxdl train --config my_c": "my_config.py",
    "jaxdl train --config.training.batch": "--config.training.batch_size",
    "jaxdl sweep --config.data.tokenize.mi": "--config.data.tokenize.min_count",
    "jaxdl evaluate --workdir my_f": "my_folder",
    "jaxdl verify my_f": "my_folder",
}
ASK = {
    "bash": """source ./script; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        _shtab_jaxdl; printf '%s\\n' "${{COMPREPLY[@]}}" """,
    "fish": "source ./script; complete -C '{words}'",
}


@pytest.fixture
def script(call, tmp_path):
    def write(shell):
        status, out, _ = call("completion", shell)
        assert status == 0
        (tmp_path / "script").write_text(out)
        (tmp_path / "my_config.py").touch()
        (tmp_path / "my_folder").mkdir()
        return tmp_path

    return write


@pytest.mark.parametrize("shell", ASK)
def test_commands_options_configs_and_keys_are_completed(script, shell):
    if not shutil.which(shell):
        pytest.skip(f"needs {shell}")
    folder = script(shell)
    for words, told in WORDS.items():
        ask = [shell, "-c", ASK[shell].format(words=words)]
        asked = subprocess.run(ask, cwd=folder, capture_output=True, text=True)
        given = [line.split("\t")[0].rstrip("/") for line in asked.stdout.splitlines()]
        assert told in given, f"{words}: {asked}"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_can_read_its_script(script, shell):
    if not shutil.which(shell):
        pytest.skip(f"needs {shell}")
    read = subprocess.run([shell, "-n", "script"], cwd=script(shell), capture_output=True)
    assert read.returncode == 0, read.stderr


def test_another_shell_is_one_line(call):
    status, _, err = call("completion", "csh")
    assert status == 2 and "'bash', 'zsh', 'fish'" in err and len(err.splitlines()) == 1
