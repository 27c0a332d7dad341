"""Tuning: the candidate that does best on held-out training data."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dashtheory.protocol import Task, TrainConfig
from dashtheory.protocol.tuning import hold_out, tune
from dashtheory.seeds import torch_stream
from dashtheory.stream import Examples, Stream, cut


class Fixed(nn.Module):
    """A classifier whose training does nothing: its logits are the inputs, times a number."""

    def __init__(self, sign: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.sign = sign

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.sign * inputs + 0 * self.weight


def labelled(count: int, num_chunks: int) -> Stream:
    """One-hot inputs, so that sign 1 is always right and sign -1 never."""
    labels = torch.arange(count) % 3
    examples = Examples(nn.functional.one_hot(labels, 3).float(), labels)
    return Stream(cut(examples, num_chunks), Examples(examples.inputs, (labels + 1) % 3))


def test_the_last_fifth_of_every_chunk_is_held_out() -> None:
    stream = Stream(
        cut(Examples(torch.arange(20.0)[:, None], torch.arange(20)), 2),
        Examples(torch.zeros(1, 1), torch.zeros(1)),
    )
    train_part, held_out = hold_out(stream)
    assert train_part.targets.tolist() == [*range(8), *range(10, 18)]
    assert held_out.targets.tolist() == [8, 9, 18, 19]
    for size in (2, 3, 5):  # one at least
        kept, held = hold_out(labelled(2 * size, 2))
        assert (len(kept), len(held)) == (2 * (size - 1), 2)
    with pytest.raises(ValueError, match="chunks must have two examples or more"):
        hold_out(labelled(3, 3))


def test_tuning_is_its_transcription_to_the_bit() -> None:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(60, 3, generator=generator)
    stream = Stream(cut(Examples(inputs, (inputs[:, 0] > 0).long()), 2), Examples(inputs, torch.zeros(60).long()))

    def network(generator: torch.Generator) -> nn.Module:
        made = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.uniform_(-0.5, 0.5, generator=generator)
        return made

    def own_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(logits, labels) + 0.1 * logits.square().mean()

    models: list[nn.Module] = []

    def task(candidate: float) -> Task:
        def make(generator: torch.Generator) -> nn.Module:
            models.append(network(generator))
            return models[-1]

        return Task(
            make_model=make,
            make_optimizer=lambda parameters: torch.optim.SGD(parameters, lr=candidate),
            loss_fn=own_loss,
        )

    def by_hand(rate: float) -> tuple[nn.Module, float, float]:
        model = network(torch_stream(5, "tuning init"))
        optimizer, order = torch.optim.SGD(model.parameters(), lr=rate), torch_stream(5, "tuning order")
        x, y = (torch.cat([part[:24], part[30:54]]) for part in (inputs, (inputs[:, 0] > 0).long()))
        with torch.random.fork_rng():
            torch.manual_seed(int(torch.randint(2**62, (), generator=torch_stream(5, "tuning layers"))))
            for _ in range(3):
                for batch in torch.randperm(48, generator=order).split(7):
                    optimizer.zero_grad()
                    own_loss(model(x[batch]), y[batch]).backward()
                    optimizer.step()
        model.eval()
        held = torch.cat([inputs[24:30], inputs[54:]])
        right = (model(held).argmax(1) == (held[:, 0] > 0)).double().mean()
        return model, float(right), float((model(x).argmax(1) == y).double().mean())

    told: list[tuple[float, float]] = []
    config = TrainConfig(batch_size=7, criterion="loss", threshold=0.0, max_epochs=3)
    rates = (0.01, 0.1, 0.01)
    tune(stream, task, config, rates, seed=5, on_candidate=lambda *one: told.append(one))
    for rate, model, (candidate, score) in zip(rates, models, told, strict=True):
        mine, right, on_trained = by_hand(rate)
        assert all(map(torch.equal, mine.parameters(), model.parameters()))
        assert (candidate, score) == (rate, right)
        assert right != on_trained


def test_errors_that_are_not_of_training_are_not_taken_for_divergence() -> None:
    def task(candidate: float) -> Task:
        return Task(
            make_model=lambda generator: nn.Linear(3, 3),
            make_optimizer=lambda parameters: torch.optim.SGD(parameters, lr=candidate),
            loss_fn=lambda logits, labels: (_ for _ in ()).throw(ValueError("mistaken loss")),
        )

    with pytest.raises(ValueError, match="mistaken loss"):
        tune(labelled(30, 2), task, TrainConfig(batch_size=4, max_epochs=1), (0.1, 0.2), seed=0)


def test_tuning_takes_the_best_on_held_out_data_and_the_first_of_equals() -> None:
    told: list[tuple[float, float]] = []

    def task(candidate: float) -> Task:
        return Task(
            make_model=lambda generator: Fixed(1.0 if candidate >= 2 else -1.0),
            make_optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        )

    config = TrainConfig(batch_size=4, max_epochs=1)
    # The stream's test labels are wrong for every sign: only the training chunks can say that 2 and 3 are best.
    best = tune(labelled(30, 2), task, config, (1.0, 2.0, 3.0), seed=0, on_candidate=lambda *one: told.append(one))
    assert best == 2.0
    assert told == [(1.0, 0.0), (2.0, 1.0), (3.0, 1.0)]
    with pytest.raises(ValueError, match="candidates must hold at least one value"):
        tune(labelled(30, 2), task, config, (), seed=0)


def test_a_candidate_that_diverges_counts_as_never_right() -> None:
    def task(candidate: float) -> Task:
        return Task(
            make_model=lambda generator: nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 3)),
            make_optimizer=lambda parameters: torch.optim.SGD(parameters, lr=candidate),
        )

    config = TrainConfig(batch_size=4, max_epochs=8)
    assert tune(labelled(30, 2), task, config, (1e30, 0.1), seed=0) == 0.1
    with pytest.raises(ValueError, match="candidates must hold one that trains"):
        tune(labelled(30, 2), task, config, (1e30,), seed=0)
    last_step = TrainConfig(batch_size=100, max_epochs=1)  # it explodes in the only step, after its loss was read
    with pytest.raises(ValueError, match="candidates must hold one that trains"):
        tune(labelled(30, 2), task, last_step, (1e30,), seed=0)
