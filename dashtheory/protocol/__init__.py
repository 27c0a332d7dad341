"""The warm-start protocol: a stream of chunks, training to a criterion, a rule between stages, measures."""

from dashtheory.protocol.checkpoint import Checkpoint, Checkpoints
from dashtheory.protocol.engine import (
    Augmentation,
    Engine,
    Epoch,
    MakeEngine,
    PlainEngine,
    Schedule,
    Sums,
    Work,
    set_rates,
    take_step,
)
from dashtheory.protocol.measures import Measures
from dashtheory.protocol.resume import run_resumable
from dashtheory.protocol.run import StageResult, Task, between_stages, global_stream, run_stages
from dashtheory.protocol.statistics import frozen_running_statistics
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
    "Augmentation",
    "Checkpoint",
    "Checkpoints",
    "Engine",
    "Epoch",
    "Examples",
    "MakeEngine",
    "Measures",
    "PlainEngine",
    "Schedule",
    "Scores",
    "StageResult",
    "Stream",
    "Sums",
    "Task",
    "TrainConfig",
    "Training",
    "Work",
    "between_stages",
    "cross_entropy",
    "cut",
    "evaluate",
    "evaluating",
    "frozen_running_statistics",
    "global_stream",
    "join",
    "num_right",
    "run_resumable",
    "run_stages",
    "set_rates",
    "take_step",
    "train",
]
