"""Independent runs: on all cores of this machine, on its GPUs, or on other people's machines.

`run_jobs` is the one door. Without an executor it starts processes here; with one (of `concurrent.futures`,
submitit, Dask) every job leaves what it ends with in a file, from which the caller takes it
(`dashtheory.parallel.ended`), so that neither side needs the other to be alive.
"""

from dashtheory.parallel.held import interrupts_held
from dashtheory.parallel.job import Done, Job, Lasting, Report, usable_cores
from dashtheory.parallel.pool import run_jobs

__all__ = ["Done", "Job", "Lasting", "Report", "interrupts_held", "run_jobs", "usable_cores"]
