"""A table that a run is asked about is read as its own was."""

import numpy as np

from jaxdl.data.table import Feature
from jaxdl.inference.inputs import as_table, read_csv
from jaxdl.inference.restored import RestoredRun


def test_gaps_are_filled_by_the_runs_own_numbers(tmp_path, refuses):
    (tmp_path / "t.csv").write_text("a,b\n1,NA\n,3\n")
    run = object.__new__(RestoredRun)
    run.config = {"data": {"source": "csv", "impute": "mean"}}
    run.columns = {"features": {"dtype": "float32", "shape": (2,)}}
    run.tokenize, run.vocabularies, run.classes = {}, {}, ()
    run.features = (Feature("a", fill=7.0), Feature("b", 1.0, 2.0, fill=5.0))
    _, columns = read_csv(run, str(tmp_path / "t.csv"), ["features"])
    made = as_table(run, columns, ["features"]).columns["features"]
    np.testing.assert_array_equal(made, [[1, 2], [7, 1]])
    run.features = (Feature("a"), Feature("b"))
    with refuses("line 3, column 'a': an empty cell"):
        read_csv(run, str(tmp_path / "t.csv"), ["features"])
