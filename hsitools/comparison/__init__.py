"""Comparing methods on cases: one engine for fusion, denoising, and whatever else maps an observation to a result.

A room plugs in a `task.Task` (how a case is loaded, what a method may see of it, how a method is applied, how its
result is judged) and a `plan.Plan` (which cases, which methods). The engine does the rest, in this order:

1. *plan*: `plan` has sources with the hash of their bytes, `Cell` (case × method) and its key; `plugins` imports a
   Python file that registers methods or indices, and names each method by the hash of its code.
2. *isolated cell*: `two_sides` leads a cell through two processes. The judge's side loads the case and writes what a
   method may see into a folder of its own; the method's side, which got that folder and the method's name, works; only
   then does the judge's side load the truth anew, and judges. `worker` is the warm process that forks a child for
   each call, `scratch` the folder (what a kill left goes when the next benchmark starts), `cost` time and memory.
3. *record*: plain data: fields of the case, ``method``, ``status``, ``values`` by index, costs, ``key``, ``content``.
   One file each, ``cells/KEY.json``. `benchmark.Benchmark.run` does the cells whose record is missing or of other
   *content* (case, code and weights of the method, code of indices, version): that is all that resuming means.
4. *executor*: a function that takes jobs (plain data) and yields records. `two_sides.local` runs them here,
   `two_sides.submitted` on any client with futures, `two_sides.by_workers` on Dask's; another one is passed to
   `Benchmark.run`.
5. *rank, table, page*: `ranking` ranks by index, on a class of bands where there are classes; `table` has CSV, Markdown
   and numbers as text; `page` what the HTML reports share.

Nothing here knows a room; what a job names as ``module:OBJECT`` is imported in the worker.
"""
