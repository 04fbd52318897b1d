"""Sweeps: a grid of configs with several seeds each, or a search for a good setting.

For grids it has the grid, the runner that trains a sweep in its folder, and the table of results;
for searches, the draws, successive halving and Optuna's trials. Both use populations: runs that
differ only in seed and in numbers inside the program train together. This package may import all
rooms below, and training itself, since it only decides what to train and where. To sweep another
kind of grid, give `Sweep` other points; the runner needs nothing else.
"""
