"""Storage as it is: an S3 server (moto), a web server, and a stand-in for the Hugging Face hub.

pip install -e '.[remote]' 'moto[server]'        what these tests need
"""

import contextlib
import hashlib
import http.server
import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save

from jaxdl.checkpointing.weight_names import to_torch
from jaxdl.data import load
from jaxdl.remote import local_path
from jaxdl.training.build import build_experiment

pytestmark = pytest.mark.slow
fsspec = pytest.importorskip("fsspec")

RESNET = {
    "data": {"source": "digits", "transforms": ({"name": "scale", "by": 1 / 16},)},
    "model": {"name": "resnet", "depth": 18},
    "task": {"name": "classification", "classes": 10},
    "optimizer": {"name": "adam", "learning_rate": 1e-2},
    "training": {"batch_size": 50, "steps": 1, "evaluate": ()},
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def s3():
    """A file system of an S3 server of its own, which AWS_ENDPOINT_URL names."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fsspec.config.conf.clear()
        system = fsspec.filesystem("s3", skip_instance_cache=True)
        system.mkdir("bucket")
        yield system
    server.stop()


def png(seed):
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), np.uint8)
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def test_a_folder_of_a_bucket(s3, caplog):
    for i in range(8):
        s3.pipe(f"bucket/photos/cat/{i}.png", png(i))
        s3.pipe(f"bucket/photos/dog/{i}.png", png(8 + i))
    s3.touch("bucket/photos/dog/")  # as consoles mark a folder
    first = load("images", path="s3://bucket/photos", size=6, test_fraction=0)["train"]
    assert len(first) == 16 and first.classes == ("cat", "dog")
    assert "downloading 16 of 16 files" in caplog.text
    s3.pipe("bucket/photos/cat/0.png", png(99))
    s3.rm("bucket/photos/dog/7.png")
    second = load("images", path="s3://bucket/photos", size=6, test_fraction=0)["train"]
    assert len(second) == 15 and "downloading 1 of 15 files" in caplog.text
    assert not np.array_equal(first.columns["image"][0], second.columns["image"][0])
    np.testing.assert_array_equal(first.columns["image"][1:15], second.columns["image"][1:])


def test_what_a_bucket_lacks_is_told(s3, refuses):
    for address in ("s3://bucket/none", "s3://no-such-bucket/a"):
        with refuses(address, "no such file, folder or bucket; correct the address"):
            local_path(address)


def attempt(address, **environment):
    """What another process says of an address: the environment is read where it begins."""
    program = "import sys; from jaxdl.remote import weights_path; weights_path(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", program, address], capture_output=True, text=True,
                          env={**os.environ, **environment}, timeout=100)  # fmt: skip
    return done.returncode, done.stderr.strip().rpartition("\n")[2]


def test_missing_credentials_and_a_dead_server_are_told(s3, tmp_path):
    nowhere = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED":
               "true", "HOME": str(tmp_path)}  # fmt: skip
    status, said = attempt("s3://bucket/photos", **nowhere)
    assert status and "may not be read (" in said and "give credentials: aws configure" in said
    status, said = attempt("s3://bucket/photos", AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert status and "cannot be reached (Could not connect to the endpoint URL" in said


def test_a_run_keeps_the_address_and_goes_on_from_the_copy(s3, call, tmp_path):
    rows = "".join(f"{i % 7},{3 * (i % 7)}\n" for i in range(60))
    s3.pipe("bucket/houses.csv", f"size,price\n{rows}".encode())
    config, workdir = tmp_path / "houses.py", tmp_path / "run"
    status, _, err = call("init", "s3://bucket/houses.csv", "--output", config)
    assert (status, err) == (0, "")
    status, _, err = call("train", "--config", config, "--config.training.epochs=1", "--workdir",
                          workdir)  # fmt: skip
    assert status == 0, err
    assert json.loads((workdir / "config.json").read_text())["data"]["path"] == (
        "s3://bucket/houses.csv")  # fmt: skip
    status, out, err = call("evaluate", "--workdir", workdir)
    assert status == 0 and "test/loss" in out, err
    s3.pipe("bucket/houses.csv", f"size,price\n{rows}9,9\n".encode())
    (workdir / "result.json").unlink()
    status, _, err = call("train", "--workdir", workdir)
    assert status == 2 and "restore its config and data, or choose another --workdir" in err


# ---- The web, and the hub


@contextlib.contextmanager
def served(answer):
    """A web server; `answer(path)` gives (status, headers, content)."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status, headers, content = answer(self.path)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


def test_a_file_of_the_web(refuses):
    pytest.importorskip("aiohttp")
    files = {"/a/houses.csv?download=1": (b"size,price\n1,2\n", '"1"')}

    def answer(path):
        content, tag = files.get(path, (b"", ""))
        return (200 if tag else 404), {"ETag": tag}, content

    with served(answer) as host:
        place = local_path(f"{host}/a/houses.csv?download=1")
        assert place.endswith("/houses.csv")
        assert Path(place).read_text() == "size,price\n1,2\n"
        files["/a/houses.csv?download=1"] = (b"size,price\n1,3\n", '"2"')
        assert local_path(f"{host}/a/houses.csv?download=1") == place
        assert Path(place).read_text() == "size,price\n1,3\n"
        with refuses("/none.csv: no such file, folder or bucket; correct the address"):
            local_path(f"{host}/none.csv")


def hub(content, sha256):
    """The hub's answers for one model, timm/resnet18.a1_in1k, as its clients ask."""
    about = {"type": "file", "oid": "1" * 40, "size": len(content), "path": "model.safetensors",
             "lfs": {"oid": sha256, "size": len(content), "pointerSize": 134}}  # fmt: skip
    info = {"id": "timm/resnet18.a1_in1k", "sha": "2" * 40, "siblings": [], "tags": []}

    def answer(path):
        path = path.partition("?")[0]
        model = "/api/models/timm/resnet18.a1_in1k"
        if path.startswith(f"{model}/tree/"):
            return 200, {"Content-Type": "application/json"}, json.dumps([about]).encode()
        if path in (model, f"{model}/revision/main"):
            return 200, {"Content-Type": "application/json"}, json.dumps(info).encode()
        if path == "/timm/resnet18.a1_in1k/resolve/main/model.safetensors":
            headers = {"ETag": f'"{sha256}"', "X-Repo-Commit": "2" * 40}
            return 200, headers, content
        return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"

    return answer


def test_a_model_of_the_hub_starts_a_run(tmp_path):
    pytest.importorskip("huggingface_hub")
    state = build_experiment(RESNET).abstract_state
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), (state.params, state.model_state))
    arrays = {name: np.ascontiguousarray(array) for name, array in to_torch(*zeros).items()}
    counted = [name.replace("running_mean", "num_batches_tracked") for name in arrays]
    content = save(dict.fromkeys({*counted} - {*arrays}, np.ones(1, np.int64)) | arrays)  # timm's
    program = (
        "from jaxdl.training.build import build_experiment\n"
        f"experiment = build_experiment({RESNET} | {{'init_from': 'hf://timm/resnet18.a1_in1k'}})\n"
        "state = experiment.abstract_state\n"
        "print(experiment.init_from.fill(state.params, state.model_state))"
    )
    with served(hub(content, hashlib.sha256(content).hexdigest())) as host:
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                              env={**os.environ, "HF_ENDPOINT": host})  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert f"{len(arrays)} loaded, 0 fresh, 0 unused" in done.stdout
    with served(hub(content[:-1] + b"?", hashlib.sha256(content).hexdigest())) as host:
        status, said = attempt("hf://timm/resnet18.a1_in1k", HF_ENDPOINT=host,
                               XDG_CACHE_HOME=str(tmp_path / "other"))  # fmt: skip
        assert status and "model.safetensors is not what its published SHA-256 says" in said
        status, said = attempt("hf://timm/none", HF_ENDPOINT=host)
        assert status and "hf://timm/none/model.safetensors: no such file" in said
