"""What arrives at which stage."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from dashtheory.deep.config import RunConfig
from dashtheory.deep.presets import describe_setting
from dashtheory.deep.run import run_rule
from dashtheory.deep.source import Source
from dashtheory.deep.task import make_source
from dashtheory.protocol.origin import stream_hash
from dashtheory.protocol.tuning import hold_out
from dashtheory.stream import Examples, Stream, join

BASE: dict[str, Any] = {"data": "digits", "model": "mlp", "num_chunks": 4, "chunk_size": 50, "num_test": 60}


def source(**values: Any) -> Source:
    return make_source(RunConfig.of(**{**BASE, **values}), 3)


def same(ours: Examples, theirs: Examples) -> bool:
    return torch.equal(ours.inputs, theirs.inputs) and torch.equal(ours.targets, theirs.targets)


def test_chunks_of_a_stage_are_joined_in_order() -> None:
    plain, found = source(label_noise=0.2), source(label_noise=0.2, arrivals=(1, 3))
    assert [len(chunk) for chunk in found.stream.chunks] == [50, 150]
    assert same(join(found.stream.chunks), join(plain.stream.chunks))
    assert torch.equal(torch.cat(found.noisy), torch.cat(plain.noisy))
    assert same(found.stream.test, plain.stream.test)


def test_what_is_held_out_is_a_fifth_of_every_chunk_and_no_test_picture() -> None:
    plain, found = source(label_noise=0.2), source(label_noise=0.2, held_out=True)
    for before, after in zip(plain.stream.chunks, found.stream.chunks, strict=True):
        assert same(after, before.take(torch.arange(40)))
    held = torch.cat([chunk.inputs[40:] for chunk in plain.stream.chunks])
    assert torch.equal(found.stream.test.inputs, held)
    assert [mask.tolist() for mask in found.noisy] == [mask[:40].tolist() for mask in plain.noisy]


@pytest.mark.parametrize("held_out", [False, True])
def test_labels_put_right_are_wrong_in_the_first_stage_alone(held_out: bool) -> None:
    noisy = source(label_noise=0.5, arrivals=(1, 3), held_out=held_out)
    right = source(arrivals=(1, 3), held_out=held_out)
    found = source(label_noise=0.5, arrivals=(1, 3), mended=True, held_out=held_out)
    first, second = found.stream.chunks
    assert found.stream.seen == "new"
    assert same(first, noisy.stream.chunks[0])
    assert same(second, join(right.stream.chunks))
    assert same(found.stream.test, right.stream.test)
    assert torch.equal(found.noisy[0], noisy.noisy[0])
    assert not found.noisy[1].any()
    assert len(found.noisy[1]) == len(second)


def test_without_wrong_labels_there_is_nothing_to_put_right() -> None:
    config = RunConfig.of(**BASE, label_noise=0.5, arrivals=(1, 3), mended=True)
    assert make_source(config, 3, label_noise=0).stream.seen == "all"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"arrivals": (1, 2)}, r"^arrivals must add up to the chunks of the stream, got 1,2 of 4 chunks"),
        ({"arrivals": (4, 0)}, "^arrivals must be an integer >= 1, got 0"),
        ({"data": "python:mine.py:stream", "arrivals": (4,)}, "^arrivals must add up .* of your own stream"),
        ({"mended": True}, "^mended must go with wrong labels"),
        ({"mended": True, "label_noise": 0.1, "num_chunks": 1}, "^mended must go with wrong labels"),
        ({"mended": True, "label_noise": 0.1, "arrivals": (4,)}, "^mended must go with wrong labels"),
        ({"chunk_size": 1, "held_out": True, "batch_size": 1}, "^held_out must leave an example"),
        ({"arrivals": (1, 3), "batch_size": 7}, "^batch_size must leave no last batch of one"),
        ({"held_out": True, "batch_size": 39}, "^batch_size must leave no last batch of one"),
    ],
)
def test_what_does_not_fit_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RunConfig.of(**{**BASE, **values})


def test_a_stream_knows_what_its_stages_see() -> None:
    parts = tuple(
        Examples(torch.full((2, 1), float(part)), torch.zeros(2, dtype=torch.int64)) for part in range(3)
    )
    everything, newest = Stream(parts, parts[0]), Stream(parts, parts[0], seen="new")
    assert everything.at(2, parts) == parts[:2]
    assert newest.at(2, parts) == parts[1:2]
    assert newest.at(3, ()) == ()
    assert newest.to("cpu").seen == "new"
    assert stream_hash(everything) != stream_hash(newest)
    assert len(hold_out(everything)[0]) == 3
    assert len(hold_out(newest)[0]) == 1
    with pytest.raises(ValueError, match=r"^seen must be one of"):
        replace(everything, seen="some")


def test_a_run_trains_on_what_its_stages_see() -> None:
    values = {"arrivals": (1, 3), "batch_size": 10, "max_epochs": 1, "criterion": "epochs", "canaries": True}
    config = RunConfig.of(**BASE, label_noise=0.5, mended=True, **values)
    table = run_rule(config, "warm", 0, "x", lambda share, text: None)
    steps = table[table["metric"] == "steps"].sort_values("stage")["value"]
    assert steps.tolist() == [5, 20]
    assert set(table[table["metric"] == "canary_accuracy"]["stage"]) == {1}
    assert "stages with 50, 200 pictures" in describe_setting(config)
