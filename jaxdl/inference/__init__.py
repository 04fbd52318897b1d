"""Inference: using a trained run from its directory alone; its data is not needed.

`jaxdl.load` returns a `LoadedRun`, which Python and the command line share. It holds the
`RestoredRun`, and each of its parts does one thing: `inputs` turns raw columns, files and texts
into the columns that the run was trained on, `Predictor` predicts, `Evaluator` evaluates,
`TextGenerator` generates text, and `export` writes files that do not need jaxdl.

It may use all rooms below, and asks of a task only whether it `GivesAnswers`, `GivesLogits` or
`GeneratesText`. To use a run in another way, add a file that starts from a `RestoredRun`.
"""
