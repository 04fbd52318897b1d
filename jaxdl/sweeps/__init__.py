"""Sweeps: a grid of configs with several seeds each, or a search for a good setting.

Of grids it holds the grid, the runner of a sweep's folder and the table of its results; of
searches, what is drawn, successive halving and the trials of Optuna. Populations serve both: runs
that differ in seed and in numbers inside the program train in one. It may use all rooms below, and
training itself: it only decides what to train and where. To sweep a grid differently, give `Sweep`
other points; the runner needs nothing else.
"""
