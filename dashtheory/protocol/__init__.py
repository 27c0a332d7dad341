"""The warm-start protocol: a stream of chunks, training to a criterion, a rule between stages, measures."""

from dashtheory.protocol.run import StageResult, Task, run_stages
from dashtheory.protocol.stream import Examples, Stream, cut, join
from dashtheory.protocol.train import (
    Scores,
    TrainConfig,
    Training,
    cross_entropy,
    evaluate,
    evaluating,
    num_right,
    train,
)

__all__ = [
    "Examples",
    "Scores",
    "StageResult",
    "Stream",
    "Task",
    "TrainConfig",
    "Training",
    "cross_entropy",
    "cut",
    "evaluate",
    "evaluating",
    "join",
    "num_right",
    "run_stages",
    "train",
]
