"""Inference: a trained run in use, from its directory alone; its data is not needed.

It holds the run restored (`RestoredRun`), predictions for images, generated text, and export to
files that need no jaxdl. It may use all rooms below; of a task it asks only whether it
`PredictsImages` or `GeneratesText`. To use a run in another way, add a file that starts from a
`RestoredRun`.
"""
