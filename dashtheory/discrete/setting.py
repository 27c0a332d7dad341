"""The numbers that every experiment of level 1 has."""

from __future__ import annotations

from dataclasses import dataclass, field

from numpy import float64
from numpy.typing import NDArray

from dashtheory._check import fail, integer, real
from dashtheory._memory import must_fit_together
from dashtheory.discrete.sample import paper_probabilities
from dashtheory.seeds import numpy_stream


@dataclass(frozen=True, kw_only=True)
class DiscreteSetting:
    """The paper's synthetic setting (Section 3 of arXiv:2410.23495) is the default.

    Raises:
        ValueError: if a value is out of range, or the classes do not share samples equally.
    """

    num_classes: int = field(default=2, metadata={"help": "C, classes"})
    num_features: int = field(default=50, metadata={"help": "K, features per class"})
    chunk_size: int = field(default=1000, metadata={"help": "N, samples per chunk, all classes together"})
    num_stages: int = field(default=50, metadata={"help": "J, chunks and stages"})
    gamma: float = field(default=50, metadata={"help": "active samples that must show a feature to learn it"})
    tau: int = field(default=3, metadata={"help": "learned features that give a sample a zero gradient"})
    max_probability: float = field(
        default=0.2, metadata={"help": "feature probabilities are uniform on [0, this], sorted downwards"}
    )

    def __post_init__(self) -> None:
        for name in ("num_classes", "num_features", "chunk_size", "num_stages", "tau"):
            integer(name, getattr(self, name), minimum=1, fix="It counts things.")
        fix = "Give the count at which a feature is learned."
        real("gamma", self.gamma, low=0, open_low=True, infinite=True, fix=fix)
        real("max_probability", self.max_probability, low=0, high=1, fix="It is a probability.")
        self.per_class("chunk_size")
        self._check_memory()

    def _check_memory(self) -> None:
        """Draws of a chunk (8 bytes a feature), all chunks (a bit), what is learned after each stage."""
        features, size, stages = self.num_features, self.chunk_size, self.num_stages
        learned = stages * self.num_classes
        must_fit_together(
            {
                "num_features": (features, 50, 8 * size + stages * size / 8 + learned, 1),
                "chunk_size": (size, 1000, 8 * features + stages * features / 8, 1),
                "num_stages": (stages, 50, size * features / 8 + self.num_classes * features, 1),
                "num_classes": (self.num_classes, 2, 8 * features, 1),
            }
        )

    def per_class(self, name: str) -> int:
        """The field `name` divided by the number of classes, which must divide it."""
        value: int = getattr(self, name)
        if value % self.num_classes:
            rule = f"must be a multiple of the {self.num_classes} classes"
            fail(name, rule, str(value), "Every class brings as many samples.")
        return value // self.num_classes

    def draw_probabilities(self, seed: int) -> NDArray[float64]:
        """Feature probabilities (C, K) of a seed, from its stream "probabilities"."""
        return paper_probabilities(
            numpy_stream(seed, "probabilities"),
            num_classes=self.num_classes,
            num_features=self.num_features,
            max_probability=self.max_probability,
        )
