"""One call measures a model before and after a rule, and leaves no trace in it."""

from __future__ import annotations

import copy
import math
import random
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from dashtheory.batchnorm import reestimated
from dashtheory.evaluate import evaluate
from dashtheory.measure import ActsElsewhere, canary_gap, compare, mean_cosines, sample_alignment, weight_spectra
from dashtheory.measure.network import gradient_norm, weight_norm
from dashtheory.rules import RULES, Context, InPlace, Rule, dash_, make_rule, shrink_and_perturb_
from dashtheory.stream import Examples, join
from tests.measure.model_cases import CHUNKS, examples, net, traces

NEW = examples(10, 9)
MASK = torch.arange(28) % 4 == 0


def perceptron(seed: int = 0) -> nn.Module:
    """No batch norm, no bias: shrinking it uniformly changes no prediction."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8, bias=False), nn.ReLU(), nn.Linear(8, 3, bias=False))


def value(table: pd.DataFrame, measure: str, column: str = "after", layer: str = "") -> float:
    rows = table[(table["measure"] == measure) & (table["layer"] == layer)]
    assert len(rows) == 1, measure
    return float(rows[column].iloc[0])


def everything(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[Tensor]:
    momenta = [entry["momentum_buffer"].clone() for entry in optimizer.state.values()]
    arrays = np.random.get_state(legacy=False)["state"]["key"]  # noqa: NPY002
    plain = random.getstate()[1]
    return [*traces(model), *momenta, torch.from_numpy(np.array(arrays).astype(np.int64)), torch.tensor(plain)]


@pytest.mark.parametrize("rule", [name for name in RULES if RULES[name].rebuild is Rule.rebuild])
@pytest.mark.parametrize("train_mode", [True, False])
def test_the_users_model_optimizer_and_streams_are_the_same_to_the_bit(rule: str, train_mode: bool) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(2):
        functional.cross_entropy(model(CHUNKS[0].inputs), CHUNKS[0].targets).backward()
        optimizer.step()
    model.train(train_mode)
    generator = torch.Generator().manual_seed(3)
    first = net()
    before, stream = everything(model, optimizer), generator.get_state()
    with expected_warning(rule):
        table = compare(model, rule, CHUNKS, new=NEW, canary=MASK, fresh=net, generator=generator, start=first)
    after = everything(model, optimizer)
    assert len(before) == len(after)
    assert all(map(torch.equal, before, after))
    assert torch.equal(stream, generator.get_state())
    assert list(table.columns) == ["measure", "layer", "before", "after", "change"]
    assert not table.duplicated(["measure", "layer"]).any()
    moved = table[table["measure"] == "weight_norm"]["change"].abs().max()
    assert (moved > 0) == ("between" in RULES[rule].acts and rule != "bn")
    expected = table["after"] - table["before"]
    assert ((table["change"] == expected) | expected.isna()).all()
    with expected_warning(rule):
        again = compare(model, rule, CHUNKS, new=NEW, canary=MASK, fresh=net, generator=generator, start=first)
    pd.testing.assert_frame_equal(table, again)


def expected_warning(rule: str) -> Any:
    """What `compare` says of a rule that acts elsewhere; nothing of others, nor of warm, which is nothing."""
    if set(RULES[rule].acts) <= {"between"}:
        return nullcontext()
    return pytest.warns(
        ActsElsewhere, match=rf"^{rule} acts [^\n]* compare does not look: the table shows [^\n]*$"
    )


@dataclass(frozen=True, kw_only=True)
class Decayed(InPlace):
    """Halves all weights between stages, and adds to the loss, of which it does not tell."""

    @torch.no_grad()
    def change_(self, model: nn.Module, context: Context) -> None:
        """Half of it."""
        for parameter in model.parameters():
            parameter.mul_(0.5)

    def penalty(self, model: nn.Module, state: object) -> Any:
        """Nothing."""
        return lambda: torch.zeros(())


def test_what_is_not_seen_is_told_with_the_place_of_the_call() -> None:
    with pytest.warns(
        ActsElsewhere, match=r"^Decayed acts in the loss, .* the table shows only what it does"
    ) as told:
        table = compare(perceptron(), Decayed(), CHUNKS)
    assert told[0].filename == __file__
    assert value(table, "weight_norm") == pytest.approx(0.5 * value(table, "weight_norm", "before"))
    with pytest.warns(ActsElsewhere, match=r"^l2_init acts in the loss, after steps .* the table shows no change"):
        table = compare(perceptron(), "l2_init", CHUNKS)
    assert (table["change"].dropna() == 0).all()


def test_a_rule_of_the_user_may_draw_from_any_global_stream() -> None:
    model = perceptron()

    def rule(network: nn.Module) -> None:
        for parameter in network.parameters():
            parameter.data += torch.randn(()) * float(np.random.rand()) * random.random()  # noqa: NPY002

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = everything(model, optimizer)
    table = compare(model, rule, CHUNKS)
    assert all(map(torch.equal, before, everything(model, optimizer)))
    assert value(table, "weight_norm", "change") != 0
    with pytest.raises(RuntimeError, match="boom"):
        compare(model, fails, CHUNKS)
    assert all(map(torch.equal, before, everything(model, optimizer)))


def fails(network: nn.Module) -> None:
    """Draws, changes the model, and fails."""
    np.random.rand()  # noqa: NPY002
    torch.randn(1)
    for parameter in network.parameters():
        parameter.data.zero_()
    raise RuntimeError("boom")


def test_every_number_is_that_of_its_own_measure() -> None:
    model = net()
    after = copy.deepcopy(model)
    batches = [(chunk.inputs, chunk.targets) for chunk in (*CHUNKS, NEW)]
    report = dash_(after, batches, functional.cross_entropy, alpha=0.5, lam=0.05)
    table = compare(model, make_rule("dash", alpha=0.5, lam=0.05), CHUNKS, new=NEW, canary=MASK)
    old, inputs = join(CHUNKS), join((*CHUNKS, NEW)).inputs
    for column, network in (("before", model), ("after", after)):
        anew = reestimated(network, inputs)
        for suffix, each in (("", network), ("_reestimated", anew)):
            for name, part in (("old", old), ("new", NEW)):
                scores = evaluate(each, part)
                assert value(table, f"{name}_loss{suffix}", column) == scores.loss
                assert value(table, f"{name}_accuracy{suffix}", column) == scores.accuracy
        gap = evaluate(anew, old).accuracy - evaluate(anew, NEW).accuracy
        assert value(table, "memorisation_gap", column) == gap
        canaries = canary_gap(anew, old, MASK)
        assert value(table, "canary_memorized", column) == canaries.memorized_share
        assert value(table, "canary_gap", column) == canaries.gap
        assert value(table, "canary_loss", column) == canaries.canary.loss
        assert value(table, "clean_accuracy", column) == canaries.clean.accuracy
        assert value(table, "weight_norm", column) == weight_norm(network)
        one = float(network.get_parameter("0.weight").detach().double().norm())
        assert value(table, "weight_norm", column, "0.weight") == one
        assert value(table, "gradient_norm", column) == gradient_norm(network, old)
        for layer, mean in mean_cosines(network, CHUNKS).items():
            assert value(table, "alignment", column, layer) == mean
        samples = sample_alignment(network, CHUNKS, MASK).set_index("layer")
        for layer in samples.index:
            assert value(table, "alignment_clean", column, layer) == samples["clean"][layer]
            assert value(table, "alignment_canary", column, layer) == samples["canary"][layer]
        for layer, spectrum in weight_spectra(network).items():
            for name, number in spectrum.summary().items():
                assert value(table, name, column, layer) == number
    assert value(table, "mean_scale") == report.mean_scale
    assert math.isnan(value(table, "mean_scale", "before"))
    assert value(table, "share_clamped", layer="7.weight") == report["7.weight"].share_clamped


def test_a_uniform_shrink_is_seen_by_the_loss_and_not_by_accuracy_or_ranks() -> None:
    model = perceptron()
    table = compare(
        model,
        lambda network: shrink_and_perturb_(network, shrink=0.3, perturb=0, generator=torch.Generator()),
        CHUNKS,
        canary=MASK,
    )
    for measure in ("old_accuracy", "canary_gap", "canary_memorized"):
        assert value(table, measure, "change") == 0
    assert value(table, "old_loss", "change") != 0
    assert math.isclose(value(table, "weight_norm") / value(table, "weight_norm", "before"), 0.3, rel_tol=1e-6)
    for measure in ("effective_rank", "stable_rank", "participation_ratio", "srank"):
        assert math.isclose(value(table, measure, "change", "1.weight"), 0, abs_tol=1e-5)
    assert not table["measure"].str.contains("reestimated|new_|mean_scale|memorisation").any()


def test_rules_are_named_written_with_options_built_or_functions() -> None:
    model = net()
    batches = [(chunk.inputs, chunk.targets) for chunk in CHUNKS]
    forms: list[Any] = [
        "dash:alpha=0.5:lam=0.05",
        make_rule("dash", alpha=0.5, lam=0.05),
        lambda network: dash_(network, batches, functional.cross_entropy, alpha=0.5, lam=0.05),
    ]
    tables = [compare(model, form, CHUNKS) for form in forms]
    for table in tables[1:]:
        pd.testing.assert_frame_equal(tables[0], table)
    assert value(tables[0], "mean_scale") > 0
    noise = compare(model, "sp", CHUNKS, generator=torch.Generator().manual_seed(1))
    other = compare(model, "sp", CHUNKS, generator=torch.Generator().manual_seed(2))
    assert value(noise, "weight_norm") != value(other, "weight_norm")
    granular = compare(model, "dash:granularity=filter:newest_only=yes", CHUNKS)
    pd.testing.assert_frame_equal(
        granular, compare(model, make_rule("dash", granularity="filter", newest_only=True), CHUNKS)
    )


def test_fresh_models_are_drawn_from_the_generator() -> None:
    def fresh() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 8, bias=False), nn.ReLU(), nn.Linear(8, 3, bias=False))

    model = perceptron()
    norms = []
    for seed, noise in ((1, 0), (1, 1), (2, 0)):
        torch.manual_seed(noise)  # the user's own stream has no part in it
        table = compare(model, "cold", CHUNKS, fresh=fresh, generator=torch.Generator().manual_seed(seed))
        norms.append(value(table, "weight_norm"))
    assert norms[0] == norms[1] != norms[2]


def test_data_comes_in_chunks_pairs_or_one() -> None:
    model, whole = perceptron(), join(CHUNKS)
    pairs = [(chunk.inputs, chunk.targets) for chunk in CHUNKS]
    pd.testing.assert_frame_equal(compare(model, "dash", CHUNKS), compare(model, "dash", pairs))
    one = compare(model, "warm", whole)
    pd.testing.assert_frame_equal(one, compare(model, "warm", (whole.inputs, whole.targets)))
    pd.testing.assert_frame_equal(one, compare(model, "warm", [whole]))
    two = compare(model, "warm", pairs[:2])
    assert value(two, "old_loss") == evaluate(model, join(CHUNKS[:2])).loss


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "net"}, "model must be a torch.nn.Module, got str"),
        ({"rule": "dahs"}, "rule must be one of cold, warm"),
        ({"rule": "dash:lam=2"}, r"lam must be a number in \[0, 1\], got 2"),
        ({"rule": "dash:lambda=1"}, "options of rule dash must be among"),
        ({"rule": 3}, "rule must be a name, a Rule or a function of a model, got 3"),
        ({"rule": "cold"}, "fresh must be given for a rule that makes a new model"),
        ({"rule": lambda network: perceptron(1)}, "rule must change the model that it is given"),
        ({"rule": lambda network: network.append(nn.Linear(3, 3))}, "rule must keep the architecture"),
        ({"rule": "cold", "fresh": net}, "rule must keep the architecture"),
        ({"data": []}, "data must hold at least one chunk, got none"),
        (
            {"data": [torch.ones(3, 1, 4, 4)]},
            "data must hold pairs of tensors, Examples or DataLoaders, got Tensor",
        ),
        ({"canary": MASK[:5]}, r"canary must be a bool tensor \(28,\)"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"model": perceptron(), "rule": "dash", "data": CHUNKS}
    with pytest.raises(ValueError, match=f"^{message}"):
        compare(**(given | change))


def test_dash_keeps_features_and_forgets_canaries_in_the_loss() -> None:
    """A small network trained to the end on two blobs and 6 canaries; shrinking loosens the canaries more."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(60) % 2
    inputs = torch.randn(60, 40, generator=generator) + 1.0 * (2.0 * targets[:, None] - 1)
    targets = targets.clone()
    canary = torch.arange(60) < 6
    targets[canary] = 1 - targets[canary]  # labels that contradict the features
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 32), nn.ReLU(), nn.Linear(32, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(150):
        optimizer.zero_grad()
        functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    table = compare(model, "dash", Examples(inputs, targets), canary=canary)
    assert value(table, "canary_memorized", "before") == 1
    assert value(table, "old_loss", "change") > 0
    assert value(table, "canary_loss", "change") > 2 * value(table, "clean_loss", "change")


def loader(part: Examples, *, shuffle: bool = False) -> DataLoader[Any]:
    return DataLoader(TensorDataset(part.inputs, part.targets), batch_size=3, shuffle=shuffle)


def test_a_loader_is_one_chunk_as_for_the_rules() -> None:
    model = perceptron()
    for data, same in ((CHUNKS, [loader(part) for part in CHUNKS]), (CHUNKS[:1], loader(CHUNKS[0]))):
        new: Any = loader(NEW)
        pd.testing.assert_frame_equal(compare(model, "dash", data, new=NEW), compare(model, "dash", same, new=new))
    torch.manual_seed(4)
    before = torch.get_rng_state()
    compare(model, "dash", loader(CHUNKS[0], shuffle=True))
    assert torch.equal(before, torch.get_rng_state())


def test_a_data_set_is_not_taken_for_chunks_of_one_example_each() -> None:
    windows = TensorDataset(torch.randn(6, 4, 16), torch.arange(24).reshape(6, 4) % 3)
    for data in (windows, [windows]):
        with pytest.raises(ValueError, match=r"got TensorDataset\. Say DataLoader\(dataset, "):
            compare(nn.Linear(16, 3), "dash", data)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="data must hold at least one chunk"):
        compare(nn.Linear(16, 3), "dash", [])
    with pytest.raises(ValueError, match="data must hold examples in every chunk, got an empty DataLoader"):
        compare(nn.Linear(4, 3), "dash", DataLoader(TensorDataset(torch.ones(0, 4), torch.ones(0).long())))
    with pytest.raises(ValueError, match=r"got dict\. Give \(inputs, targets\)"):
        compare(nn.Linear(16, 3), "dash", [{"x": torch.ones(3)}])  # type: ignore[list-item]


def test_it_works_inside_of_inference_mode() -> None:
    model = perceptron()
    wanted = compare(model, "dash", CHUNKS, new=NEW, canary=MASK)
    with torch.inference_mode():
        made = [Examples(part.inputs.clone(), part.targets.clone()) for part in CHUNKS]
        found = compare(model, "dash", made, new=NEW, canary=MASK)
    pd.testing.assert_frame_equal(found, wanted)
