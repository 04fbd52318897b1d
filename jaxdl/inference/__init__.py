"""Inference: a trained run in use, from its directory alone; its data is not needed.

`jaxdl.load` gives a `LoadedRun`, which Python and the command line share. It holds the run restored
(`RestoredRun`) and hands what it is asked to a part that does that alone: `inputs` makes of raw
columns, files and texts the columns that the run was trained on, `Predictor` answers, `Evaluator`
measures, `TextGenerator` writes, and `export` makes files that need no jaxdl.

It may use all rooms below; of a task it asks only whether it `GivesAnswers` or `GeneratesText`. To
use a run in another way, add a file that starts from a `RestoredRun`.
"""
