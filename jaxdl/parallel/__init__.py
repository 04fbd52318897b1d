"""Parallel: one program on many devices, in one process or several.

It holds the mesh of devices, the rules by which a state is sharded over it (`config.placement`),
the processes that train together, and `jax.pmap` as an alternative to `jit`. It knows states and
batches as pytrees, but neither models nor training. To add a rule of placement, extend
`sharding.py`; whatever compiles for many devices goes through `mesh.Devices`.
"""
