"""Training: from a config to a trained state.

`build` turns the `settings` into an `Experiment`; `loop` trains it to the end, with the pure `step`
and its `combinators`, and a `recorder` logs, evaluates and saves; `check` looks at an experiment
before training. `describe` explains what a config can hold, and `first_config` writes one for a
user's data. All rooms below may be used. Nothing here is specific to a model, a task or a source,
but what is suggested or doubted before training: in `first_config`, `twin` and `warn`. To add a way
of stepping, write a function of a step in `combinators` and call it in `Experiment.step`.
"""
