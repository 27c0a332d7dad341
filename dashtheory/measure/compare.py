"""Measure any model before and after any rule, with one call and no trace in the model."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from dashtheory._check import fail
from dashtheory._door import door
from dashtheory.batchnorm import has_statistics, reestimated
from dashtheory.copies import copied, refuse_bypass
from dashtheory.evaluate import LossFunction, cross_entropy, evaluate, evaluating
from dashtheory.measure.alignment import mean_cosines, sample_alignment
from dashtheory.measure.gap import canary_gap, canary_mask
from dashtheory.measure.network import gradient_norm, weight_norm
from dashtheory.measure.spectrum import weight_spectra, wide
from dashtheory.rules import RULES, Context, Learner, Rule, ShrinkReport, moments_of, parse_rule, targets
from dashtheory.rules.effective import to_look_at
from dashtheory.rules.pages import MOMENT_WORDS
from dashtheory.rules.passes import Parts, device_of
from dashtheory.rules.rule import seeded_layers
from dashtheory.scoring import ScoreChoice
from dashtheory.stream import Examples, join

Chunk = Examples | tuple[Tensor, Tensor] | DataLoader[Any] | Parts
AnyRule = str | Rule | Callable[[nn.Module], object]
Numbers = dict[tuple[str, str], float]


class ActsElsewhere(UserWarning):
    """A rule acts where `compare` does not look: while it trains, on the optimizer, or from the first stage on."""


COMPARISON_COLUMNS = ("measure", "layer", "before", "after", "change")
"""Columns of the table of `compare`."""


@door()
def compare(
    model: nn.Module,
    rule: AnyRule,
    data: Chunk | Sequence[Chunk],
    *,
    new: Chunk | None = None,
    canary: Tensor | None = None,
    loss_fn: LossFunction = cross_entropy,
    score: ScoreChoice = None,
    fresh: Callable[[], nn.Module] | None = None,
    generator: torch.Generator | None = None,
    alpha: float = 0.3,
    batch_size: int = 1000,
    start: nn.Module | None = None,
) -> pd.DataFrame:
    """What a rule does to a model: measures before and after it, taken on copies.

    The model, its modes, buffers and gradients, its optimizer and the random streams of torch, numpy and Python
    are the same to the bit afterwards; the rule acts on a copy. (Forward hooks of the model run on copies too.)

        compare(model, "dash", chunks)                              a rule by its name
        compare(model, "dash:lam=0.05:alpha=1", chunks)             with options
        compare(model, make_rule("sp", shrink=0.5), chunks)         a rule of `dashtheory.rules`
        compare(model, lambda copy: prune_(copy, 0.2), chunks)      anything that changes a model in place

    What is measured is one application of the rule between two stages: no step is taken. What a rule does in the
    loss, after steps, to the optimizer, in evaluation, or by another network from the first stage on is not seen;
    for a rule that does nothing else the table says "no change", and a warning says why.

    Measures; formulas, ranges and what would fool them are where each is named:

        old_loss, old_accuracy        on `data`; and, for a model with batch norm, both with `_reestimated`: on a
                                      copy with statistics taken anew, as those of before the rule fit no more
        new_loss, new_accuracy        on `new`, and `_reestimated`
        memorisation_gap              old minus new accuracy (re-estimated where there are statistics), as `new`
                                      has noise of its own
        canary_*, clean_*             loss and accuracy on canaries and others; canary_gap and canary_memorized
                                      (`dashtheory.measure.canary_gap`); statistics re-estimated if there are any
        weight_norm                   of all that rules shrink, and by layer
        gradient_norm                 of the mean loss over `data` (`dashtheory.protocol.measures`)
        alignment                     mean cosine of weights with descent, in all and by layer
        alignment_clean, _canary      the same with the descent of clean samples and of canaries
        spectral_norm, effective_rank, stable_rank, participation_ratio, srank         by layer
        mean_scale, share_clamped     of DASH and the rules made from it; before: NaN

    What would fool it: accuracy right after a uniform shrink of a network without biases says nothing (the sign
    is scale-invariant): read old_loss. Old accuracy with stale statistics says nothing either: read the
    re-estimated one. What counts in the end is accuracy after training on, which no measure here sees.

    Args:
        model: any module of logits (..., classes), on any device; unchanged.
        rule: a name of `dashtheory.rules.RULES`, with options as name:option=value, a `Rule`, or a callable that
            changes a model in place (its return value is ignored, except for a `ShrinkReport`).
        data: the chunks that the model was trained on, oldest first: pairs (inputs, targets), `Examples`, or a
            `DataLoader` each, which is one chunk, as for `dash_`; a single one may stand alone.
        new: the chunk that arrives now, which rules see too, as the newest; none by default.
        canary: bool, one per sample of `data` in order: True where its label is random (`random_labels`).
        loss_fn: mean loss of (logits, targets).
        score: what is right and what counts, as in `evaluate`.
        fresh: makes a new model, for rules that need one (cold, reset).
        generator: of the noise of rules that draw, and the seed of torch's stream while `fresh` draws; a new one
            with seed 0 by default. It is not advanced.
        alpha: of the alignment's G.
        batch_size: of the evaluations.
        start: the network that the run began with, for rules that go back there (sp_init, reset_full, ...);
            without it they remember `model` itself.

    Returns:
        a table with columns measure, layer ("" for the whole model), before, after, change = after - before.

    Raises:
        ValueError: if an argument does not fit, or the rule turns the copy into another kind of model.

    Warns:
        ActsElsewhere: of a rule that acts elsewhere than on weights between stages.
    """
    if not isinstance(model, nn.Module):
        fail("model", "must be a torch.nn.Module", type(model).__name__, "Pass the network itself.")
    device = device_of(model)
    with _streams_kept(device), torch.inference_mode(False):  # loaders draw, too
        old = [_on(device, part) for part in _chunks(data)]
        arriving = None if new is None else _on(device, join(_chunks(new)))
    if canary is not None:
        canary_mask(canary, join(old))
    rule = parse_rule(rule) if isinstance(rule, str) else rule
    if isinstance(rule, Rule):
        _tell_what_is_not_seen(rule)
    context = _context(model, old if arriving is None else [*old, arriving], loss_fn, fresh, generator)

    def measured(network: nn.Module) -> Numbers:
        found = _scores(network, old, arriving, loss_fn, score, batch_size)
        if canary is not None:
            found |= _canaries(network, old, arriving, canary, loss_fn, score, batch_size)
        found |= _weights(network, old, loss_fn, score, batch_size)
        found |= _alignment(network, old, canary, loss_fn, alpha)
        return found

    with _streams_kept(device), torch.inference_mode(False):
        replica = copied(model)
        with evaluating(replica), torch.enable_grad():
            refuse_bypass(model, replica(old[0].inputs[:2]))
        before = measured(replica)
        changed, report = _applied(rule, replica, context, start)
        after = measured(changed)
    return _table(before, after, report)


def _tell_what_is_not_seen(rule: Rule) -> None:
    elsewhere = [moment for moment in moments_of(rule) if moment != "between"]
    if not elsewhere:
        return
    name = rule.name or type(rule).__name__
    seen = "only what it does to weights between stages" if "between" in moments_of(rule) else "no change"
    where = ", ".join(MOMENT_WORDS[moment] for moment in elsewhere)
    warnings.warn(
        f"{name} acts {where}, where compare does not look: the table shows {seen}. Train with "
        "dashtheory.run_stages, and compare what it ends with.",
        ActsElsewhere,
        stacklevel=4,
    )


def _scores(
    network: nn.Module,
    old: list[Examples],
    new: Examples | None,
    loss_fn: LossFunction,
    score: ScoreChoice,
    batch_size: int,
) -> Numbers:
    """Loss and accuracy on old data and the arriving chunk, plain and with statistics taken anew."""
    found: Numbers = {}
    parts = {"old": join(old), **({} if new is None else {"new": new})}
    suffix = ""
    for suffix, each in _versions(network, old, new, batch_size).items():
        for name, part in parts.items():
            scores = evaluate(each, part, loss_fn=loss_fn, score=score, batch_size=batch_size)
            found |= {(f"{name}_loss{suffix}", ""): scores.loss, (f"{name}_accuracy{suffix}", ""): scores.accuracy}
    if new is not None:  # of the last version: with statistics taken anew, if there are any
        gap = found[f"old_accuracy{suffix}", ""] - found[f"new_accuracy{suffix}", ""]
        found["memorisation_gap", ""] = gap
    return found


def _canaries(
    network: nn.Module,
    old: list[Examples],
    new: Examples | None,
    canary: Tensor,
    loss_fn: LossFunction,
    score: ScoreChoice,
    batch_size: int,
) -> Numbers:
    each = list(_versions(network, old, new, batch_size).values())[-1]
    found = canary_gap(each, join(old), canary, loss_fn=loss_fn, score=score, batch_size=batch_size)
    numbers = {
        "clean_loss": found.clean.loss,
        "canary_loss": found.canary.loss,
        "clean_accuracy": found.clean.accuracy,
        "canary_accuracy": found.canary.accuracy,
        "canary_gap": found.gap,
        "canary_memorized": found.memorized_share,
    }
    return {(name, ""): value for name, value in numbers.items()}


def _weights(
    network: nn.Module, old: list[Examples], loss_fn: LossFunction, score: ScoreChoice, batch_size: int
) -> Numbers:
    """Norms and spectra."""
    found: Numbers = {("weight_norm", ""): weight_norm(network)}
    for target in targets(to_look_at(network)):
        found["weight_norm", target.name] = float(wide(target.parameter.detach()).norm())
    found["gradient_norm", ""] = gradient_norm(
        network, join(old), loss_fn=loss_fn, score=score, batch_size=batch_size
    )
    for layer, spectrum in weight_spectra(network).items():
        found |= {(name, layer): value for name, value in spectrum.summary().items()}
    return found


def _alignment(
    network: nn.Module, old: list[Examples], canary: Tensor | None, loss_fn: LossFunction, alpha: float
) -> Numbers:
    means = mean_cosines(network, old, loss_fn=loss_fn, alpha=alpha)
    found: Numbers = {("alignment", layer): value for layer, value in means.items()}
    if canary is not None:
        table = sample_alignment(network, old, canary, loss_fn=loss_fn, alpha=alpha)
        for kind in ("clean", "canary"):
            found |= {
                (f"alignment_{kind}", layer): v for layer, v in zip(table["layer"], table[kind], strict=True)
            }
    return found


def _versions(
    network: nn.Module, old: list[Examples], new: Examples | None, batch_size: int
) -> dict[str, nn.Module]:
    """The network as it is, and with statistics taken anew over all data if it has any, by suffix of the names."""
    if not has_statistics(network):
        return {"": network}
    inputs = join(old if new is None else [*old, new]).inputs
    return {"": network, "_reestimated": reestimated(network, inputs, batch_size=batch_size)}


def _applied(
    rule: AnyRule, replica: nn.Module, context: Context, start: nn.Module | None
) -> tuple[nn.Module, ShrinkReport | None]:
    """The network after the rule, and the rule's report if it gives one."""
    shapes = {name: value.shape for name, value in replica.named_parameters()}
    if isinstance(rule, Rule):
        learner = Learner(replica, _optimizer(replica))
        first = replica if start is None else copied(start).to(next(replica.parameters()).device)
        state = rule.start(Learner(first, _optimizer(first)))
        after, report = rule.apply(learner, _with_state(context, state))
        changed = after.model
    elif callable(rule):
        returned = rule(replica)
        if isinstance(returned, nn.Module) and returned is not replica:
            fail(
                "rule",
                "must change the model that it is given",
                "a function that returns another",
                "Change it in place.",
            )
        changed, report = replica, returned if isinstance(returned, ShrinkReport) else None
    else:
        fail("rule", "must be a name, a Rule or a function of a model", repr(rule), f"Names: {', '.join(RULES)}.")
    if {name: value.shape for name, value in changed.named_parameters()} != shapes:
        fail("rule", "must keep the architecture", "other parameters after it", "Compare models of one kind.")
    return changed, report


def _context(
    model: nn.Module,
    chunks: list[Examples],
    loss_fn: LossFunction,
    fresh: Callable[[], nn.Module] | None,
    generator: torch.Generator | None,
) -> Context:
    """What the rule may use."""
    stream = torch.Generator().manual_seed(0)
    if generator is not None:
        stream = torch.Generator(generator.device)
        stream.set_state(generator.get_state())

    def renewed() -> Learner:
        if fresh is None:
            _no_fresh()
        with seeded_layers(model, stream):
            made = copied(fresh()).to(chunks[0].inputs.device)
        return Learner(made, _optimizer(made))

    return Context(
        chunks=lambda: [(chunk.inputs, chunk.targets) for chunk in chunks],
        loss_fn=loss_fn,
        fresh=renewed,
        generator=stream,
        renew=_optimizer,
    )


def _with_state(context: Context, state: object) -> Context:
    return Context(**{**vars(context), "state": state})


def _no_fresh() -> NoReturn:
    fail("fresh", "must be given for a rule that makes a new model", "none", "Pass fresh=lambda: MyModel().")


def _optimizer(model: nn.Module) -> torch.optim.Optimizer:
    """One that takes no step: rules want one, and nothing is trained here."""
    return torch.optim.SGD(model.parameters(), lr=0.1)


def _chunks(data: Chunk | Sequence[Chunk]) -> list[Examples]:
    """Chunks from whatever form they are given in."""
    if isinstance(data, Examples | DataLoader | Parts) or _is_pair(data):
        data = [data]  # type: ignore[list-item]
    found = [_examples(chunk) for chunk in _no_dataset(data)]
    if not found:
        fail("data", "must hold at least one chunk", "none", "Give what the model was trained on.")
    return found


def _examples(chunk: object) -> Examples:
    """A chunk as one pair of tensors."""
    if isinstance(chunk, Examples):
        return chunk
    if isinstance(chunk, DataLoader | Parts):
        parts = [_examples(batch) for batch in chunk]
        if not parts:
            fail("data", "must hold examples in every chunk", f"an empty {type(chunk).__name__}", "Leave it out.")
        return join(parts)
    if not _is_pair(chunk):
        got, fix = type(_no_dataset(chunk)).__name__, "Give (inputs, targets), or a DataLoader of such batches."
        fail("data", "must hold pairs of tensors, Examples or DataLoaders", got, fix)
    return Examples(*chunk)  # type: ignore[misc]


def _is_pair(value: object) -> bool:
    is_two = isinstance(value, tuple | list) and len(value) == 2
    return is_two and all(isinstance(part, Tensor) for part in value)  # type: ignore[attr-defined]


def _no_dataset(data: Any) -> Any:
    """Whatever it is, unless it is a data set, each example of which would be a chunk."""
    if isinstance(data, Dataset):
        fix = "Say DataLoader(dataset, batch_size=1000): that is one chunk."
        fail("data", "must hold pairs of tensors, Examples or DataLoaders", type(data).__name__, fix)
    return data


def _on(device: torch.device, part: Examples) -> Examples:
    """Examples on a device, that autograd may use."""
    there = part.to(device)
    inputs, targets = (one.clone() if one.is_inference() else one for one in (there.inputs, there.targets))
    return Examples(inputs, targets)


def _table(before: Numbers, after: Numbers, report: ShrinkReport | None) -> pd.DataFrame:
    rows = [(name, layer, value, after[name, layer]) for (name, layer), value in before.items()]
    if report is not None:
        for name in ("mean_scale", "share_clamped"):
            rows.append((name, "", math.nan, getattr(report, name)))
            rows += [(name, layer.name, math.nan, getattr(layer, name)) for layer in report if layer.num_entries]
    table = pd.DataFrame(rows, columns=list(COMPARISON_COLUMNS[:-1]))
    return table.assign(change=table["after"] - table["before"])


@contextmanager
def _streams_kept(device: torch.device) -> Iterator[None]:
    """Put the global random streams of torch, numpy and Python back afterwards."""
    plain, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002 - a user's rule may draw from it
    try:
        with torch.random.fork_rng(devices=[device.index] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(plain)
        np.random.set_state(arrays)  # noqa: NPY002
