"""Work past one process: Dask's workers, on this machine or on a cluster, and Zarr stores that all of them write.

`cluster` has workers at hand (``--workers``, ``--scheduler``); `sending` sends cubes on disk as the names of their
files; `tasks` does a function of many items at the workers and gives results in order, whoever was first; `pieces`
writes a cube that is computed by tiles, each tile kept once it is there, so that a command that was killed goes on.
`arrays` shows cubes as `dask.array`. Dask is imported when one of these is asked for work, never before (extra
``scale``).
"""
