"""The notebooks run, and stand in the repository as they ran: small, and of no machine."""

import re

import pytest

nbformat = pytest.importorskip("nbformat", reason="notebooks: pip install -e '.[notebook]'")
NOTEBOOKS = ("folder_of_images", "library_tour")


def read(root, name):
    return nbformat.read(root / "experiments" / "notebooks" / f"{name}.ipynb", as_version=4)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_shown_as_it_ran(root, name):
    code = [cell for cell in read(root, name).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 3
    file = root / "experiments" / "notebooks" / f"{name}.ipynb"
    assert file.stat().st_size < 250_000
    assert not re.search(r"[\"' ](/home|/root|/tmp|/Users|/work)\b", file.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_anywhere(root, name, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(root))
    place = {"metadata": {"path": str(tmp_path)}}
    notebook = read(root, name)
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=place).execute()
    assert (tmp_path / "runs").is_dir()
