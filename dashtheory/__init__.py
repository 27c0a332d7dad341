"""Why warm-started networks generalise worse, and how Direction-Aware SHrinking (DASH) repairs it.

One experiment at three levels of realism, and what the levels share:

    discrete    samples as sets of features: exact and fast             (level 1)
    theory      level 1 in closed form, without sampling
    twolayer    two-layer networks whose noise can be read off exactly  (level 2)
    deep        networks and real data                                  (level 3)
    rl          agents that learn by reinforcement, many at once

    protocol    stream of chunks -> train to a criterion -> rule -> measure
    rules       what happens between stages: DASH, S&P, their controls
    adapters    rules in the training loops of Lightning, transformers, skorch and Avalanche
    measure     what is learned and what memorised, before and after a rule
    record      one tidy table with provenance for every level, and one store of results that grows
    plot        one visual language

    experiments one module per figure    paper    the paper's experiments on pictures
    explore     figures with sliders     command  the program `dashtheory`

A dozen names stand here for a first try: dash_, shrink_and_perturb_, shrink_grid, make_rule, Examples, Stream,
Task, TrainConfig, run_stages, compare, decompose, simulate, population. All is imported on first use, so that
`import dashtheory` stays light (no torch, no numba).

Paper: Shin, Oh, Cho, Yun, "DASH: Warm-Starting Neural Network Training in Stationary Settings
without Loss of Plasticity", NeurIPS 2024, arXiv:2410.23495.
"""

from dashtheory._needs import attach
from dashtheory._version import __version__ as __version__

__getattr__, __dir__, __all__ = attach(__name__, __file__)
