"""Parallel: one program on many devices, in one process or several.

It has the mesh of devices, the rules that shard a state over it (`config.placement`), the processes
that train together, and `jax.pmap` as an alternative to `jit`. It sees states and batches as
pytrees, and knows neither models nor training. To add a rule of placement, extend
`sharding.py`; whatever compiles for many devices goes through `mesh.Devices`.
"""
