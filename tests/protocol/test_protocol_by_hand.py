"""The protocol against a transcription, with targets at several places and a loss of its own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dashtheory.evaluate import cross_entropy
from dashtheory.measure.network import alignment, gradient_norm
from dashtheory.protocol import Measures, Task, TrainConfig, run_stages
from dashtheory.rules import RULES, Warm, dash_, shrink_and_perturb_
from dashtheory.seeds import torch_stream
from dashtheory.stream import Examples, Stream, cut
from tests.protocol.protocol_cases import bits, blobs, make_net, make_sgd

# ------------------------------------------------------------------------- against a transcription of the protocol


def at_three_places(num: int, seed: int) -> Examples:
    """Inputs (n, 3, 2) with a target at each of the three places."""
    flat = blobs(3 * num, seed)
    return Examples(flat.inputs.reshape(num, 3, 2), flat.targets.reshape(num, 3))


class PerPlace(nn.Module):
    """Logits (n, 3, 2) by a net with batch norm and dropout over all places."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.net = make_net(generator)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.net(inputs.flatten(0, 1)).unflatten(0, inputs.shape[:2])
        return logits


def own_loss(logits: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(logits, targets) + 0.1 * logits.square().mean()


PLACES = Stream(cut(at_three_places(33, 5), 3), at_three_places(17, 6))
PLACES_TASK = Task(make_model=PerPlace, make_optimizer=make_sgd, loss_fn=own_loss)


def stages_by_hand(rule: str, config: TrainConfig, seed: int) -> list[tuple[list[bytes], dict[str, float]]]:
    """The protocol as DESIGN.md says it, in one plain loop: weights and metrics after each stage."""
    found = []
    model, optimizer = nn.Module(), torch.optim.SGD([torch.zeros(1)])
    for stage in range(1, len(PLACES.chunks) + 1):
        metrics: dict[str, float] = {}
        chunks = [(chunk.inputs, chunk.targets) for chunk in PLACES.chunks[:stage]]
        if stage == 1 or rule == "cold":
            model = PerPlace(torch_stream(seed, "init", stage))
            optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        elif rule == "sp":
            shrink_and_perturb_(model, generator=torch_stream(seed, "perturbation", stage))
        elif rule == "dash":
            report = dash_(model, chunks, own_loss)
            metrics = {"mean_scale": report.mean_scale, "share_clamped": report.share_clamped}
        inputs, targets = (torch.cat(parts) for parts in zip(*chunks, strict=True))
        order = torch_stream(seed, "order", stage)
        model.train()
        steps = epochs = 0
        done = False
        with torch.random.fork_rng():
            torch.manual_seed(int(torch.randint(2**62, (), generator=torch_stream(seed, "layers", stage))))
            while not done and epochs < config.max_epochs:
                loss_sum, right = 0.0, 0
                permutation = torch.randperm(len(inputs), generator=order)
                for start in range(0, len(inputs), config.batch_size):
                    index = permutation[start : start + config.batch_size]
                    optimizer.zero_grad()
                    logits = model(inputs[index])
                    loss = own_loss(logits, targets[index])
                    loss.backward()
                    loss_sum += loss.item() * 3 * len(index)
                    right += int((logits.argmax(-1) == targets[index]).sum())
                    optimizer.step()
                    steps += 1
                epochs += 1
                metrics["train_loss"], metrics["train_accuracy"] = (
                    loss_sum / targets.numel(),
                    right / targets.numel(),
                )
                done = metrics["train_loss"] <= config.threshold
        model.eval()
        with torch.no_grad():
            logits = model(PLACES.test.inputs)
        model.train()
        metrics |= {"steps": steps, "epochs": epochs, "converged": float(done)}
        metrics["test_loss"] = own_loss(logits, PLACES.test.targets).item()
        metrics["test_accuracy"] = float((logits.argmax(-1) == PLACES.test.targets).double().mean())
        found.append((bits(model), metrics))
    return found


@pytest.mark.parametrize("rule", ["cold", "warm", "sp", "dash"])
@pytest.mark.parametrize("seed", [0, 4])
def test_the_protocol_is_its_transcription_to_the_bit(rule: str, seed: int) -> None:
    config = TrainConfig(batch_size=7, criterion="loss", threshold=0.45, max_epochs=6)
    expected = stages_by_hand(rule, config, seed)
    for result, (weights, metrics) in zip(
        run_stages(PLACES, RULES[rule](), PLACES_TASK, config, seed=seed), expected, strict=True
    ):
        assert bits(result.learner.model) == weights, f"stage {result.stage}"
        # Sums of float32 losses are taken in another order: 1e-6 is a few of their units.
        assert result.metrics() == pytest.approx(metrics, rel=1e-6), f"stage {result.stage}"
    statuses = {metrics["converged"] for seed in (0, 4) for _, metrics in stages_by_hand(rule, config, seed)}
    assert statuses == {0.0, 1.0}, "the case should show both ways to end"


# ----------------------------------------------------------------------------------------- what is measured beside


def test_measures_are_of_the_task_s_own_loss() -> None:
    measures, config = Measures(gradients=True, alignment=1), TrainConfig(batch_size=7, max_epochs=1)
    rule, init = Warm(), torch_stream(0, "init", 1)
    first = next(iter(run_stages(PLACES, rule, PLACES_TASK, config, seed=0, measures=measures)))
    model, chunk = PerPlace(init), PLACES.chunks[0]
    assert first.measured["gradient_norm_all"] == gradient_norm(model, chunk, loss_fn=own_loss)
    assert first.measured["gradient_norm_all"] != gradient_norm(model, chunk)
    for epoch, net in ((0, model), (1, first.learner.model)):  # one epoch: after it the stage has ended
        assert first.measured[f"alignment_epoch{epoch}"] == alignment(net, chunk, loss_fn=own_loss)
        assert first.measured[f"alignment_epoch{epoch}"] != alignment(net, chunk)
