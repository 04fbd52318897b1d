"""Sweeps: a grid of configs with several seeds each.

It holds the grid, the runner of a sweep's folder, the table of its results, and populations: runs
that differ in seed and learning rates alone and train in one compiled program. It may use all rooms
below, and training itself: it only decides what to train and where. To sweep differently (random
values, say), give `Sweep` other points; the runner needs nothing else.
"""
