"""Level 2: two-layer networks on signal + noise, stacked, whose memorised noise can be read off exactly."""

from dashtheory.twolayer._dash import StackReport
from dashtheory.twolayer._steps import Hyperparameters
from dashtheory.twolayer.apply_rules import StackContext, apply_rules
from dashtheory.twolayer.config import (
    CNN_A,
    CUB,
    MLP_HE,
    MLP_SMALL,
    REGIMES,
    RELU,
    ROOT,
    MLPConfig,
    PatchConfig,
    TwoLayerConfig,
)
from dashtheory.twolayer.data import PatchData, SignalNoise, concatenate_data, sample_signal_noise, stack_data
from dashtheory.twolayer.modules import PatchNetwork, TwoLayerMLP
from dashtheory.twolayer.ridge import PENALTIES, RIDGE, RidgeCeiling, ridge_ceiling
from dashtheory.twolayer.rules import (
    STACK_RULES,
    DashChannels,
    Ideal,
    Oracle,
    Soft,
    TwoLayerRule,
    make_stack_rule,
    parse_stack_rule,
)
from dashtheory.twolayer.stack import Params, Samples, Stack, loss_of, make_stack, of_replica
from dashtheory.twolayer.stages import (
    Moment,
    Observer,
    Replica,
    StageState,
    TwoLayerRun,
    draw_chunk,
    draw_test,
    run,
    run_two_layer,
)
from dashtheory.twolayer.state import StackState
from dashtheory.twolayer.train import Affine, OptimizerState, StackTraining, train_stack

__all__ = [
    "CNN_A",
    "CUB",
    "MLP_HE",
    "MLP_SMALL",
    "PENALTIES",
    "REGIMES",
    "RELU",
    "RIDGE",
    "ROOT",
    "STACK_RULES",
    "Affine",
    "DashChannels",
    "Hyperparameters",
    "Ideal",
    "MLPConfig",
    "Moment",
    "Observer",
    "OptimizerState",
    "Oracle",
    "Params",
    "PatchConfig",
    "PatchData",
    "PatchNetwork",
    "Replica",
    "RidgeCeiling",
    "Samples",
    "SignalNoise",
    "Soft",
    "Stack",
    "StackContext",
    "StackReport",
    "StackState",
    "StackTraining",
    "StageState",
    "TwoLayerConfig",
    "TwoLayerMLP",
    "TwoLayerRule",
    "TwoLayerRun",
    "apply_rules",
    "concatenate_data",
    "draw_chunk",
    "draw_test",
    "loss_of",
    "make_stack",
    "make_stack_rule",
    "of_replica",
    "parse_stack_rule",
    "ridge_ceiling",
    "run",
    "run_two_layer",
    "sample_signal_noise",
    "stack_data",
    "train_stack",
]
