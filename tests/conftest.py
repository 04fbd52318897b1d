"""Checks every annotation of jaxdl, shapes included, while the tests run."""

import compileall
import os
import tempfile
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import jaxtyping
import pytest
from beartype_checked import quick_jaxtyped

_HOOK = jaxtyping.install_import_hook("jaxdl", "beartype_checked.checked")
jaxtyping.jaxtyped = quick_jaxtyped  # by this name the hook decorates with it

# Many tests compile what others did, some in subprocesses: a third of the time is saved. Each
# session starts from nothing, so no program compiled earlier helps.
_COMPILED = tempfile.TemporaryDirectory()
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", _COMPILED.name)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

# Half the time of a compilation: a step of a CNN takes 0.16 s for 0.34 s.
_FAST_COMPILATION = [
    "--xla_backend_optimization_level=0",
    "--xla_cpu_parallel_codegen_split_count=1",
]
if version("jaxlib").startswith(("0.10.", "0.11.")):  # JAX 0.12 refuses it as unknown
    _FAST_COMPILATION.append("--xla_cpu_use_fusion_emitters=false")


def pytest_configure(config):
    """Compile fast rather than well, except for the trainings of the slow suite."""
    if config.option.markexpr == "not slow":
        os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *_FAST_COMPILATION])
    # As pip does, so that none of the many processes of the tests does even where Python writes no
    # bytecode: it takes each a second.
    if "PYTEST_XDIST_WORKER" not in os.environ:
        compileall.compile_dir(ROOT / "jaxdl", quiet=2)


ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True, scope="module")
def forget_programs():
    """Drop compiled programs after each test file; a worker would accumulate 4 GB of them."""
    import jax  # not above: it reads the environment that is set there

    yield
    jax.clear_caches()


@pytest.fixture
def tfds_dir():
    """Where prepared data sets are; tests on real data are skipped without."""
    folder = os.environ.get("TFDS_DATA_DIR")
    if not folder:
        pytest.skip("real data: set TFDS_DATA_DIR to a folder of prepared TFDS data sets")
    return Path(folder)


@pytest.fixture
def refuses():
    """`with refuses('this', 'and that'):` expects a UserError of one line that says both."""
    from jaxdl.errors import UserError

    @contextmanager
    def expect(*fragments):
        with pytest.raises(UserError) as caught:
            yield
        message = str(caught.value)
        assert "\n" not in message
        assert [f for f in fragments if str(f) not in message] == [], message

    return expect


@pytest.fixture
def call(capsys):
    """Runs a command of jaxdl in this process: (exit status, stdout, stderr)."""
    from jaxdl.cli.main import main

    def call(*words):
        status = 0
        capsys.readouterr()
        try:
            main(list(map(str, words)))
        except SystemExit as stop:
            status = stop.code
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


@pytest.fixture(scope="session")
def root():
    """The checkout."""
    return ROOT
