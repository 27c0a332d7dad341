"""The warm-start protocol: a stream of chunks, training to a criterion, a rule between stages, measures."""

from dashtheory.protocol.checkpoint import Checkpoint, Checkpoints
from dashtheory.protocol.device import (
    PRECISIONS,
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
    Schedule,
    Work,
    set_rates,
    take_step,
)
from dashtheory.protocol.fast_engine import FastEngine, make_fast_engine
from dashtheory.protocol.measures import Measures, PictureMeasures
from dashtheory.protocol.stages import (
    StageResult,
    Task,
    context_of_stage,
    global_stream,
    run_resumable,
    run_stages,
)
from dashtheory.protocol.train import TrainConfig, Training, train

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
    "PictureMeasures",
    "PlainEngine",
    "Schedule",
    "StageResult",
    "Task",
    "TrainConfig",
    "Training",
    "Work",
    "context_of_stage",
    "describe_device",
    "exact_or_fast",
    "find_device",
    "fitting_batch",
    "global_stream",
    "make_fast_engine",
    "memory_ran_out",
    "run_resumable",
    "run_stages",
    "set_rates",
    "take_step",
    "train",
]
