"""What the doors cost before anything is computed: --help, a wrong option, an import; beside importing numpy.

    python -m benchmarks.doors [--quick] [--out benchmarks/results]

CPU seconds (user and system) of a whole process, side by side: before every timing of a door stands one of
`python -c "import numpy"`; medians over the repetitions. Writes OUT/doors.json.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.discrete import circumstances
from benchmarks.script import write_record

NUMPY = ("-c", "import numpy")
PROGRAM = ("-m", "dashtheory.command.program")
DOORS: dict[str, tuple[str, ...]] = {
    "import dashtheory": ("-c", "import dashtheory"),
    "import dashtheory.discrete": ("-c", "import dashtheory.discrete"),
    "dashtheory --help": (*PROGRAM, "--help"),
    "dashtheory run --help": (*PROGRAM, "run", "--help"),
    "dashtheory run --batch-size 0": (*PROGRAM, "run", "--batch-size", "0"),
    "dashtheory run --rules dahs": (*PROGRAM, "run", "--rules", "dahs"),
}
"""What is timed, by name: arguments of the interpreter."""


def cpu_seconds(arguments: Sequence[str]) -> float:
    """User and system time of one process of this interpreter."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(*, quick: bool) -> dict[str, Any]:
    """Time every door beside numpy; printed and returned."""
    repetitions = 2 if quick else 9
    found: dict[str, dict[str, float]] = {}
    for name, arguments in DOORS.items():
        pairs = [(cpu_seconds(NUMPY), cpu_seconds(arguments)) for _ in range(repetitions)]
        numpy_seconds, seconds = (statistics.median(times) for times in zip(*pairs, strict=True))
        found[name] = {
            "cpu_seconds": round(seconds, 3),
            "numpy_cpu_seconds": round(numpy_seconds, 3),
            "ratio_to_numpy": round(seconds / numpy_seconds, 2),
        }
        print(f"{name:<30} {seconds:.2f} s of CPU time, {seconds / numpy_seconds:.1f} times import numpy")
    return {"quick": quick, "repetitions": repetitions, **circumstances(), "doors": found}


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, and write OUT/doors.json."""
    write_record("doors", __doc__ or "", measure, arguments)


if __name__ == "__main__":
    main()
