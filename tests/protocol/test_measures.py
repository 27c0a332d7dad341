"""Measures: right against naive transcriptions, and without any trace in what they measure."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dashtheory.batchnorm import has_statistics, reestimated
from dashtheory.evaluate import cross_entropy, evaluate
from dashtheory.measure.network import alignment, gradient_norm, retention, weight_norm
from dashtheory.protocol import Measures, measure_after_epoch, measure_at_end, measure_at_start
from dashtheory.stream import Examples, join


def net(seed: int = 0) -> nn.Module:
    """A convolution, batch norm, dropout and a linear layer, in training mode after a few batches."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(12, 2)
    )
    for _ in range(3):
        model(torch.randn(8, 1, 4, 4))
    return model


def examples(number: int, seed: int) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(number, 1, 4, 4, generator=generator)
    return Examples(inputs, torch.randint(2, (number,), generator=generator))


CHUNKS = (examples(12, 1), examples(9, 2), examples(7, 3))
TEST = examples(20, 4)
ALL = Measures(retention=2, gradients=True, alignment=2, effective_step=True)


def traces(model: nn.Module) -> list[Tensor]:
    """Everything that a measure could have touched."""
    states = [value.clone() for value in model.state_dict().values()]
    grads = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    return [*states, *grads, torch.get_rng_state(), torch.tensor([part.training for part in model.modules()])]


@pytest.mark.parametrize("train_mode", [True, False])
def test_measures_leave_no_trace(train_mode: bool) -> None:
    model = net()
    cross_entropy(model(CHUNKS[0].inputs), CHUNKS[0].targets).backward()
    model.train(train_mode)
    before = traces(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    measure_at_start(ALL, model, CHUNKS, optimizer=optimizer)
    measure_after_epoch(ALL, model, CHUNKS, 1)
    measure_at_end(ALL, model, CHUNKS, TEST, optimizer=optimizer)
    assert all(map(torch.equal, before, traces(model)))
    assert optimizer.state_dict() == torch.optim.SGD(model.parameters(), lr=0.1).state_dict()


def test_effective_steps_are_those_of_the_optimizer_s_layers_before_a_norm() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    expected = 0.1 / float(model.get_parameter("0.weight").detach().double().square().sum())
    start = measure_at_start(ALL, model, CHUNKS, optimizer=optimizer)["effective_step_at_start"]
    end = measure_at_end(ALL, model, CHUNKS, TEST, optimizer=optimizer)["effective_step"]
    assert math.isclose(start, expected, rel_tol=1e-12)
    assert start == end
    assert "effective_step" not in measure_at_end(Measures(), model, CHUNKS, TEST, optimizer=optimizer)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))  # no norm: no number
    steps = torch.optim.SGD(plain.parameters(), lr=0.1)
    assert "effective_step" not in measure_at_end(ALL, plain, CHUNKS, TEST, optimizer=steps)


def test_which_numbers_are_taken() -> None:
    model = net()
    start = {"old_accuracy_epoch0", "old_accuracy_reestimated_epoch0", "alignment_epoch0", "weight_norm_at_start"}
    gradients = {"gradient_norm_old", "gradient_norm_new", "gradient_norm_all"}
    assert set(measure_at_start(ALL, model, CHUNKS)) == start | gradients
    assert set(measure_at_start(ALL, model, CHUNKS[:1])) == {
        "alignment_epoch0", "weight_norm_at_start", "gradient_norm_new", "gradient_norm_all",
    }  # fmt: skip
    followed = {"old_accuracy_epoch2", "old_accuracy_reestimated_epoch2", "alignment_epoch2"}
    assert set(measure_after_epoch(ALL, model, CHUNKS, 2)) == followed
    assert measure_after_epoch(ALL, model, CHUNKS, 3) == {}
    assert set(measure_at_end(ALL, model, CHUNKS, TEST)) == {"weight_norm", "test_accuracy_reestimated"}
    nothing = Measures(reestimate=False, retention=-1, weights=False)
    assert measure_at_start(nothing, model, CHUNKS) == measure_at_end(nothing, model, CHUNKS, TEST) == {}
    plain = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    assert not has_statistics(plain)
    assert set(measure_at_end(Measures(), plain, CHUNKS, TEST)) == {"weight_norm"}
    assert set(measure_at_start(Measures(), plain, CHUNKS)) == {"old_accuracy_epoch0", "weight_norm_at_start"}
    untracked = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16, track_running_stats=False), nn.Linear(16, 2))
    assert not has_statistics(untracked)
    assert set(measure_at_end(Measures(), untracked, CHUNKS, TEST)) == {"weight_norm"}


def own_loss(logits: Tensor, labels: Tensor) -> Tensor:
    return cross_entropy(logits, labels) + logits.square().mean()


def test_each_number_is_of_its_own_examples_and_loss() -> None:
    model = net(6)
    old, new, everything = join(CHUNKS[:2]), CHUNKS[2], join(CHUNKS)
    again = reestimated(model, everything.inputs)
    assert measure_at_start(ALL, model, CHUNKS, own_loss) == {
        "old_accuracy_epoch0": evaluate(model, old).accuracy,
        "old_accuracy_reestimated_epoch0": evaluate(again, old).accuracy,
        "alignment_epoch0": alignment(model, everything, loss_fn=own_loss),
        "weight_norm_at_start": weight_norm(model),
        "gradient_norm_old": gradient_norm(model, old, loss_fn=own_loss),
        "gradient_norm_new": gradient_norm(model, new, loss_fn=own_loss),
        "gradient_norm_all": gradient_norm(model, everything, loss_fn=own_loss),
    }
    assert measure_at_end(ALL, model, CHUNKS, TEST, own_loss) == {
        "weight_norm": weight_norm(model),
        "test_accuracy_reestimated": evaluate(again, TEST).accuracy,
    }
    followed = measure_after_epoch(ALL, model, CHUNKS, 2, own_loss)
    assert followed["alignment_epoch2"] == alignment(model, everything, loss_fn=own_loss)
    # The case tells all these apart: other examples, statistics or losses give other numbers.
    others = [
        [evaluate(model, part).accuracy for part in (old, join(CHUNKS[1:]), everything, TEST)],
        [evaluate(reestimated(model, part.inputs), old).accuracy for part in (everything, old)],
        [evaluate(which, TEST).accuracy for which in (again, model, reestimated(model, new.inputs))],
        [gradient_norm(model, part, loss_fn=loss) for part in (old, new, everything) for loss in LOSSES],
        [alignment(model, part, loss_fn=loss) for part in (everything, new) for loss in LOSSES],
    ]
    assert all(len(set(values)) == len(values) for values in others)


LOSSES = (own_loss, cross_entropy)


class Drawing(nn.Linear):
    """Draws from torch's global stream in evaluation mode too."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) + torch.rand(())


def test_a_model_that_draws_while_it_is_measured_leaves_the_stream_alone() -> None:
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), Drawing(16, 2))
    state = torch.get_rng_state()
    reestimated(model, CHUNKS[0].inputs)
    assert torch.equal(torch.get_rng_state(), state)
    alignment(model, CHUNKS[0])
    assert torch.equal(torch.get_rng_state(), state)
    gradient_norm(model, CHUNKS[0])
    assert torch.equal(torch.get_rng_state(), state)


def test_one_input_alone_has_statistics_where_it_has_a_variance() -> None:
    model, one = net(), CHUNKS[0].inputs[:1]
    hidden = model.get_submodule("0")(one).detach()
    mean = reestimated(model, one).get_buffer("1.running_mean")
    assert torch.allclose(mean, hidden.mean(dim=(0, 2, 3)), atol=1e-6)  # float32 means of four numbers


def test_gradients_that_a_model_has_do_not_count() -> None:
    model = net()
    norm = gradient_norm(model, CHUNKS[0])
    cross_entropy(model(CHUNKS[1].inputs), CHUNKS[1].targets).backward()
    before = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    assert gradient_norm(model, CHUNKS[0]) > 0
    model.load_state_dict(net().state_dict())
    assert gradient_norm(model, CHUNKS[0]) == norm
    after = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(map(torch.equal, before, after))


def test_accuracy_right_after_scaling_is_told_apart_from_what_is_remembered() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    data = examples(60, 5)
    data = Examples(data.inputs, (data.inputs.flatten(1)[:, 0] > 0).long())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(60):
        loss = functional.cross_entropy(model(data.inputs), data.targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        for parameter in model.get_submodule("1").parameters():
            parameter.mul_(0.1)
    found = retention(model, data, data.inputs)
    assert found["old_accuracy_reestimated"] > 0.95
    assert found["old_accuracy"] == evaluate(model, data).accuracy
    assert found["old_accuracy"] < found["old_accuracy_reestimated"]


def test_norms_are_those_of_one_long_vector() -> None:
    model, data = net(), CHUNKS[0]
    again = copy.deepcopy(model).eval()
    cross_entropy(again(data.inputs), data.targets).backward()
    flat = torch.cat([p.grad.flatten() for p in again.parameters() if p.grad is not None])
    for batch_size in (5, 1000):
        assert math.isclose(gradient_norm(model, data, batch_size=batch_size), float(flat.norm()), rel_tol=1e-5)
    shrinkable = torch.cat([p.flatten() for name, p in model.named_parameters() if name[0] in "05"])
    assert math.isclose(weight_norm(model), float(shrinkable.detach().norm()), rel_tol=1e-6)


def test_alignment_is_the_mean_cosine_by_entries() -> None:
    model, data = net(), CHUNKS[1]
    again = copy.deepcopy(model).eval()
    cross_entropy(again(data.inputs), data.targets).backward()
    total, entries = 0.0, 0
    for name, parameter in again.named_parameters():
        if name[0] not in "05":
            continue
        assert parameter.grad is not None
        parts = {"0.weight": (3, 9), "5.weight": (2, 12)}.get(name, (1, -1))
        groups = parameter.reshape(parts)
        descent = -parameter.grad.reshape(groups.shape)
        cosines = functional.cosine_similarity(groups, descent, dim=1)
        total += float(cosines.detach().mean()) * parameter.numel()
        entries += parameter.numel()
    assert math.isclose(alignment(model, data), total / entries, rel_tol=1e-4)


@pytest.mark.parametrize("name", ["retention", "alignment"])
def test_bad_spans_are_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be an integer >= -1, got -2"):
        Measures(**{name: -2})  # type: ignore[arg-type]
