"""The warm-start protocol: a stream of chunks, training to a criterion, a rule between stages, measures."""

from dashtheory.protocol.checkpoint import Checkpoint, Checkpoints
from dashtheory.protocol.device import (
    describe_device,
    exact_or_fast,
    find_device,
    fitting_batch,
    memory_ran_out,
)
from dashtheory.protocol.engine import (
    Augmentation,
    Engine,
    Epoch,
    MakeEngine,
    PlainEngine,
    Work,
    set_rates,
    take_step,
)
from dashtheory.protocol.fast_engine import FastEngine, make_fast_engine
from dashtheory.protocol.measures import measure_after_epoch, measure_at_end, measure_at_start
from dashtheory.protocol.settings import PRECISIONS, Measures, Schedule, TrainConfig
from dashtheory.protocol.stages import (
    StageResult,
    Task,
    between_stages,
    global_stream,
    run_resumable,
    run_stages,
    train_stage,
)
from dashtheory.protocol.train import Training, train

__all__ = [
    "PRECISIONS",
    "Augmentation",
    "Checkpoint",
    "Checkpoints",
    "Engine",
    "Epoch",
    "FastEngine",
    "MakeEngine",
    "Measures",
    "PlainEngine",
    "Schedule",
    "StageResult",
    "Task",
    "TrainConfig",
    "Training",
    "Work",
    "between_stages",
    "describe_device",
    "exact_or_fast",
    "find_device",
    "fitting_batch",
    "global_stream",
    "make_fast_engine",
    "measure_after_epoch",
    "measure_at_end",
    "measure_at_start",
    "memory_ran_out",
    "run_resumable",
    "run_stages",
    "set_rates",
    "take_step",
    "train",
    "train_stage",
]
