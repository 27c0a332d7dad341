"""The image models in use: layouts, precisions, files, rules, training, and the protocol."""

from __future__ import annotations

import copy
import io

import torch
from torch import nn
from torch.nn import functional

from dashtheory.deep.models import build_model
from dashtheory.protocol import Task, TrainConfig, run_stages
from dashtheory.protocol.optimizers import make_optimizer
from dashtheory.rules import Dash, dash_, targets
from dashtheory.stream import Examples, Stream
from tests.deep.model_cases import EVERY, images, seeded, small


@EVERY
def test_channels_last_computes_the_same(name: str) -> None:
    network, inputs = small(name), images(name)
    other = copy.deepcopy(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    last = inputs.to(memory_format=torch.channels_last)
    torch.testing.assert_close(other(last), network(inputs), rtol=1e-3, atol=1e-4)
    network.double()(inputs.double()).logsumexp(1).sum().backward()
    other.double()(last.double()).logsumexp(1).sum().backward()
    for one, two in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-6, atol=1e-8, check_stride=False)


@EVERY
def test_autocast_to_bfloat16_gives_near_logits_and_float32_gradients(name: str) -> None:
    network, inputs = small(name), images(name, batch=8)
    exact = network(inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(inputs)
        functional.cross_entropy(logits, torch.arange(8) % 5).backward()
    assert logits.dtype == torch.bfloat16
    assert (logits - exact).norm() < 0.1 * exact.norm()
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all()


@EVERY
def test_weights_save_and_load_without_pickled_code(name: str) -> None:
    network, other, inputs = small(name), small(name, seed=1), images(name)
    network(inputs)  # moves the running statistics
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(network.eval()(inputs), other.eval()(inputs))


@EVERY
def test_rules_shrink_every_convolution_and_linear_layer(name: str) -> None:
    network, inputs = small(name), images(name)
    shrunk = {target.name for target in targets(network)}
    norms = {
        f"{prefix}.{local}"
        for prefix, module in network.named_modules()
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))
        for local in ("weight", "bias")
    }
    assert shrunk | norms == {key for key, _ in network.named_parameters()}
    before = copy.deepcopy(network.state_dict())
    dash_(network, [(inputs, torch.arange(4))], functional.cross_entropy, alpha=0.3, lam=0.3)
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key]) == (key not in shrunk or not before[key].any()), key


@EVERY
def test_networks_learn_random_labels(name: str) -> None:
    network, inputs, labels = small(name), images(name, batch=10), torch.arange(10) % 5
    optimizer = make_optimizer("sgd", network.parameters(), learning_rate=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        loss = functional.cross_entropy(network(inputs), labels)
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.1


def test_the_protocol_trains_them_reproducibly() -> None:
    def weights() -> list[bytes]:
        data = [
            Examples(torch.randn(20, 1, 4, 5, generator=seeded(index)), torch.arange(20) % 3) for index in range(3)
        ]
        task = Task(
            make_model=lambda generator: build_model("narrow_resnet", (1, 4, 5), 3, generator, width=2),
            make_optimizer=lambda parameters: make_optimizer("sgd", parameters, learning_rate=0.01),
        )
        results = run_stages(
            Stream(chunks=tuple(data[:2]), test=data[2]),
            Dash(alpha=0.3, lam=0.3),
            task,
            TrainConfig(batch_size=8, max_epochs=2),
            seed=0,
        )
        *_, last = results
        assert last.stage == 2
        return [value.numpy().tobytes() for value in last.learner.model.state_dict().values()]

    assert weights() == weights()
