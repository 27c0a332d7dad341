"""Why warm-started networks generalise worse, and how Direction-Aware SHrinking (DASH) repairs it.

One experiment at three levels of realism, and what the levels share:

    discrete    samples as sets of features: exact and fast             (level 1)
    twolayer    two-layer networks whose noise can be read off exactly  (level 2)
    deep        networks and real data                                  (level 3)
    protocol    stream of chunks -> train to a criterion -> rule -> measure
    shrink      the rules between stages: DASH, S&P
    measure     what is learned and what memorised, before and after a rule
    record      one tidy table with provenance for every level
    plot        one visual language
    theory      level 1 in closed form, without sampling
    errors      kinds of errors that a caller may tell apart
    explore     figures with sliders, for notebooks and for `make app`

Submodules are imported on first use, so `import dashtheory` stays light (no torch, no numba).
Paper: Shin, Oh, Cho, Yun, "DASH: Warm-Starting Neural Network Training in Stationary Settings
without Loss of Plasticity", NeurIPS 2024, arXiv:2410.23495.
"""

from importlib import import_module
from types import ModuleType

from dashtheory._version import __version__

_SUBMODULES = (
    *("deep", "discrete", "errors", "explore", "measure", "plot"),
    *("protocol", "record", "shrink", "theory", "twolayer"),
)
__all__ = ["__version__", *_SUBMODULES]


def __getattr__(name: str) -> ModuleType:
    if name in _SUBMODULES:
        return import_module(f"dashtheory.{name}")
    raise AttributeError(f"module 'dashtheory' has no attribute {name!r}")
