"""What needs a CUDA device: the paper's runner there, beside the CPU. Run by `make test-gpu`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dashtheory.command.paper import main as run_main
from dashtheory.deep.task import make_source, make_task
from dashtheory.paper import preset
from dashtheory.protocol import Epoch, FastEngine, Work, describe_device, run_stages
from dashtheory.record import load_results
from dashtheory.rules import parse_rule
from dashtheory.seeds import torch_stream

pytestmark = pytest.mark.gpu
SMALL = ["--num-chunks", "2", "--chunk-size", "140", "--max-epochs", "5", "--histograms", "1"]


def test_a_preset_runs_on_cuda_and_says_so(tmp_path: Path) -> None:
    out = tmp_path / "results"
    status = run_main(["digits-mlp", *SMALL, "--rules", "cold,warm,dash", "--device", "cuda", "--out", str(out)])
    assert status == 0
    (path,) = (out / "cuda").glob("*.csv")
    results = load_results(path)
    assert [facts["complete"] for facts in results.runs.values()] == [True] * 3
    for facts in json.loads(path.with_suffix(".json").read_text())["runs"].values():
        assert facts["machine"]["device"] == describe_device("cuda") != "cpu"


# Penalties inside of recorded steps, hooks between them, and one for which no step is recorded (si).
HOOKED = ("spectral", "distill", "hare_tortoise:momentum=0.9:epochs=2", "swr", "si", "inject")


@pytest.mark.parametrize("rule", ["cold", "warm", "dash", *HOOKED])
def test_cuda_trains_as_the_cpu_does_up_to_rounding(rule: str) -> None:
    config = preset(
        "digits-mlp", num_chunks=2, chunk_size=140, criterion="epochs", max_epochs=5, precision="float32"
    )
    source = make_source(config, 0)

    def losses(device: str) -> list[float]:
        task = make_task(config, source, device=device)
        stages = run_stages(source.stream, parse_rule(rule), task, config.training, seed=0)
        return [stage.training.last_epoch.loss for stage in stages]

    assert losses("cuda") == pytest.approx(losses("cpu"), rel=1e-2)  # 20 steps amplify float32 rounding


@pytest.mark.parametrize("optimizer", ["sgd", "sam", "adam"])
def test_a_step_never_waits_for_the_device(optimizer: str) -> None:
    config = preset("digits-mlp", num_chunks=1, chunk_size=210, optimizer=optimizer, flip=True)
    source = make_source(config, 0)
    task = make_task(config, source, device="cuda")
    augmentation = task.augmentation
    assert augmentation is not None
    work = Work(
        learner=task.fresh(torch_stream(0, "init", 1)),
        examples=source.stream.chunks[0].to("cuda"),
        batch_size=70,
        loss_fn=task.loss_fn,
        augmentation=augmentation,
    )
    engine = FastEngine(work)
    draws = augmentation.draw(210, torch_stream(0, "augmentation", 1))
    engine.load(Epoch(order=torch.randperm(210, generator=torch_stream(0, "order", 1)), draws=draws))
    engine.step(70)  # the optimizer makes its state
    try:
        torch.cuda.set_sync_debug_mode("error")
        engine.step(70)
        engine.step(70)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert int(engine.place) == 210
