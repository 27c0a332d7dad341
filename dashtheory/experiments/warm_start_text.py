"""Warm-starting on real text: a character transformer on a stream of chunks, under any rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch

from dashtheory._check import fail, real
from dashtheory._spec import is_own
from dashtheory.deep.data.text import python_topics, text_stream
from dashtheory.deep.models.transformer import CharTransformer, TransformerConfig
from dashtheory.evaluate import Scores
from dashtheory.parallel import Report
from dashtheory.protocol import Checkpoints, Task, TrainConfig, run_resumable
from dashtheory.record import make_table, stage_rows
from dashtheory.rules import RULES, Rule, make_rule, parse_spec, rule_options
from dashtheory.seeds import numpy_stream
from dashtheory.user_code import fingerprints


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """The setting of the figure: 4 chunks of 8,192 characters, trained to a loss of 1 nat with Adam.

    Raises: ValueError if a value is out of range.
    """

    rules: tuple[str, ...] = field(
        default=("cold", "warm", "sp", "dash"), metadata={"help": "rules between stages"}
    )
    alpha: float = field(default=0.3, metadata={"help": "DASH: weight of each newer chunk, in (0, 1]"})
    lam: float = field(default=0.3, metadata={"help": "DASH: smallest factor kept, in [0, 1]"})
    shrink: float = field(default=0.3, metadata={"help": "S&P: factor kept, in [0, 1]"})
    perturb: float = field(default=0.01, metadata={"help": "S&P: standard deviation of the noise added"})
    num_chunks: int = field(default=4, metadata={"help": "J, chunks and stages"})
    chunk_windows: int = field(default=128, metadata={"help": "windows per chunk (a multiple of 4)"})
    test_windows: int = field(default=400, metadata={"help": "windows held out (a multiple of 4)"})
    context: int = field(default=64, metadata={"help": "characters per window"})
    num_layers: int = field(default=2, metadata={"help": "transformer blocks"})
    width: int = field(default=48, metadata={"help": "numbers per position"})
    num_heads: int = field(default=4, metadata={"help": "attention heads; must divide the width"})
    embedding_std: float = field(default=0.02, metadata={"help": "initial standard deviation of embeddings"})
    linear_std: float = field(
        default=0.0, metadata={"help": "initial sd of linear weights, biases 0; 0: as PyTorch starts them"}
    )
    learning_rate: float = field(default=2e-3, metadata={"help": "of Adam"})
    batch_size: int = field(default=16, metadata={"help": "windows per step"})
    threshold: float = field(default=1.0, metadata={"help": "a stage ends at this mean training loss, in nats"})
    max_epochs: int = field(default=100, metadata={"help": "epochs after which a stage ends unconverged"})

    def __post_init__(self) -> None:
        if not self.rules or len(set(self.rules)) < len(self.rules):
            fail("rules", "must name at least one, each once", str(self.rules), f"Choose from {', '.join(RULES)}.")
        real("learning_rate", self.learning_rate, low=0, open_low=True, fix="It is a step size.")
        for rule in (*RULES, *self.rules):  # options of rules that are not run are recorded, so they are checked
            self.rule(rule)
        self.model()
        self.training()

    def rule(self, text: str) -> Rule:
        """The rule as written, with this configuration's options for it, but for those that are written."""
        spec = parse_spec(text, training=())
        usual = () if is_own(text) else rule_options(spec.name)
        return make_rule(spec.name, **{**{option: getattr(self, option) for option in usual}, **spec.options})

    def model(self) -> TransformerConfig:
        """Sizes of the network."""
        return _pick(TransformerConfig, self)

    def training(self) -> TrainConfig:
        """How a stage is trained."""
        return TrainConfig(
            batch_size=self.batch_size, criterion="loss", threshold=self.threshold, max_epochs=self.max_epochs
        )


def run_text(
    config: TextConfig, rule: str, seed: int, experiment: str, report: Report, folder: Path | None = None
) -> pd.DataFrame:
    """Run one rule on one seed's stream.

    Args:
        config: the setting. rule: as in `TextConfig.rules`. seed: root seed; the stream "data" shuffles the text.
        experiment: name for the table. report: told of progress after every epoch.
        folder: of checkpoints, from which a killed run goes on.
    Returns: tidy table with the metrics of `dashtheory.protocol.StageResult.metrics`, by stage.
    """
    corpus = python_topics()
    stream = text_stream(
        corpus,
        context=config.context,
        chunk_windows=config.chunk_windows,
        num_chunks=config.num_chunks,
        test_windows=config.test_windows,
        generator=numpy_stream(seed, "data"),
    )
    task = Task(
        make_model=lambda generator: CharTransformer(config.model(), len(corpus.symbols), generator),
        make_optimizer=lambda parameters: torch.optim.Adam(parameters, lr=config.learning_rate, fused=True),
    )

    def on_epoch(stage: int, epoch: int, scores: Scores) -> None:
        # Later stages are longer in proportion to their data; within one, epochs tell how far it is.
        part = min(epoch / 30, 0.95)
        share = (stage * (stage - 1) + 2 * stage * part) / (config.num_chunks * (config.num_chunks + 1))
        report(share, f"stage {stage}/{config.num_chunks}, epoch {epoch}, training loss {scores.loss:.2f}")

    finished = run_resumable(
        stream,
        config.rule(rule),
        task,
        config.training(),
        seed=seed,
        checkpoints=None
        if folder is None
        else Checkpoints(folder, {"config": config, "rule": rule, "seed": seed, **fingerprints([rule])}),
        on_epoch=on_epoch,
        on_problem=lambda problem: report(0.0, problem),
    )
    return make_table(
        row
        for stage, metrics in enumerate(finished, 1)
        for row in stage_rows(
            level="deep",
            experiment=experiment,
            rule=rule,
            seed=seed,
            stage=stage,
            metrics=metrics,
        )
    )


def text_facts(rules: Sequence[str] = ()) -> dict[str, object]:
    """What to record about the text: its source, length, symbols and hash.

    Args: rules: those run; code of your own has its fingerprint recorded.
    """
    corpus, own = python_topics(), fingerprints(rules)
    return {
        "source": "pydoc_data.topics of CPython",
        "characters": len(corpus.codes),
        "symbols": len(corpus.symbols),
        "sha256": corpus.sha256,
        **({"user_code": own} if own else {}),
    }


def _pick(kind: type[TransformerConfig], config: object) -> TransformerConfig:
    return kind(**{item.name: getattr(config, item.name) for item in dataclasses.fields(kind)})
