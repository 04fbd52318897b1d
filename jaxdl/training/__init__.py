"""Training: from a config to a trained state.

`build` makes an `Experiment` of the `settings`; `loop` steps it to the end, by the pure `step`
and its `combinators`, and a `recorder` keeps its books; `check` says beforehand what can be known.
`describe` says what a config can hold, and `first_config` writes one for a user's data.
It knows every room below it, and nothing here is specific to a model, a task or a source. To add a
way of stepping, write a function of a step in `combinators` and call it in `Experiment.step`.
"""
