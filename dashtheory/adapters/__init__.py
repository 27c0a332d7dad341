"""Rules at the start of a stage in other people's training loops: Lightning, transformers, skorch, Avalanche.

A `StageRule` says which rule, on which data, and what happens to the optimizer. Each framework has a class of its
own that applies it once a stage, at the hook where weights, optimizer and data are in place:

    LightningRule      `Callback`, on_train_start
    TransformersRule   `TrainerCallback`, on_train_begin
    SkorchRule         `Callback`, on_train_begin
    AvalancheRule      `SupervisedPlugin`, before_training_exp

Names are imported on first use, and with them the framework.
"""

from dashtheory._needs import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
