"""Two processes share a model: after a rule they have the same bits, those of DASH over all data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.multiprocessing.spawn import spawn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

from dashtheory.adapters.core import StageRule
from dashtheory.errors import Diverged
from dashtheory.rules import (
    apply_factors_,
    check_after_step,
    dash_,
    dash_factors,
    same_on_all_ranks_,
    shrink_and_perturb_,
    shrink_grid,
    unwrapped,
)
from tests.ranks import may_abort_at_the_end

LOSS = functional.cross_entropy
CHUNKS = [
    (torch.randn(50, 8, generator=torch.Generator().manual_seed(seed)), torch.arange(50) % 3) for seed in (0, 1)
]


def network() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))


def share(rank: int) -> list[tuple[Tensor, Tensor]]:
    """Of every chunk, 20 examples and 30."""
    part = slice(0, 20) if rank == 0 else slice(20, 50)
    return [(inputs[part], labels[part]) for inputs, labels in CHUNKS]


def flat(model: nn.Module) -> Tensor:
    return torch.cat([value.detach().flatten() for value in model.parameters()])


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    found: dict[str, object] = {}
    model = network()
    wrapped = DistributedDataParallel(model)
    dash_(wrapped, share(rank), LOSS, lam=0.05)
    found["wrapped"] = flat(model)
    again = DistributedDataParallel(network())
    shrink_grid(again, share(rank), LOSS, [0.3], [0.05]).apply_(again, 0.3, 0.05)
    found["grid"] = flat(again)
    plain = network()
    dash_(plain, share(rank), LOSS, lam=0.05, group=dist.group.WORLD)
    found["group"] = flat(plain)
    alone = network()
    dash_(alone, share(rank), LOSS, lam=0.05)
    found["alone"] = flat(alone)
    same_on_all_ranks_(alone, dist.group.WORLD)
    found["sent"] = flat(alone)
    for rule in ("sp", "dash:lam=0.05"):
        held = DistributedDataParallel(network())
        optimizer = torch.optim.SGD(held.parameters(), lr=0.1)
        loader = DataLoader(TensorDataset(*CHUNKS[0]), batch_size=7, shuffle=True)
        StageRule(rule=rule, loss_fn=LOSS).apply(held, [optimizer], stage=2, loader=loader)
        found[f"adapter {rule}"] = flat(held)
    broken = share(rank)
    if rank == 1:
        broken[1] = (broken[1][0] * torch.nan, broken[1][1])
    before = flat(model)
    try:
        dash_(wrapped, broken, LOSS)
    except Diverged as error:
        found["error"] = str(error)
    found["untouched"] = torch.equal(before, flat(model))
    sharded = network()
    fully_shard(sharded, mesh=init_device_mesh("cpu", (2,)))
    try:
        dash_(sharded, share(rank), LOSS)
    except ValueError as error:
        found["sharded"] = str(error)
    torch.save(found, f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    folder: Path = tmp_path_factory.mktemp("ranks")
    with may_abort_at_the_end():
        spawn(work, args=(str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("way", ["wrapped", "group", "grid"])
def test_all_processes_end_with_the_bits_of_dash_over_all_data(found: list[dict[str, Tensor]], way: str) -> None:
    whole = network()
    dash_(whole, CHUNKS, LOSS, lam=0.05)
    assert torch.equal(found[0][way], found[1][way])
    torch.testing.assert_close(found[0][way], flat(whole), rtol=1e-5, atol=1e-6)


def test_adapters_leave_the_same_bits_and_share_the_data_of_the_loop(found: list[dict[str, Tensor]]) -> None:
    for rule in ("sp", "dash:lam=0.05"):
        assert torch.equal(found[0][f"adapter {rule}"], found[1][f"adapter {rule}"])
    whole = network()
    dash_(whole, CHUNKS[:1], LOSS, lam=0.05)
    torch.testing.assert_close(found[0]["adapter dash:lam=0.05"], flat(whole), rtol=1e-5, atol=1e-6)


def test_processes_that_shrink_alone_differ_until_the_first_sends_its_weights(
    found: list[dict[str, Tensor]],
) -> None:
    assert not torch.equal(found[0]["alone"], found[1]["alone"])
    assert torch.equal(found[0]["sent"], found[0]["alone"])
    assert torch.equal(found[1]["sent"], found[0]["alone"])


def test_an_error_in_one_process_ends_the_pass_in_all(found: list[dict[str, str]]) -> None:
    assert found[1]["error"].startswith("batches must give finite gradients")
    assert found[0]["error"].startswith(
        "batches must be fit in every process, got an error in 1 others at batch 1"
    )
    assert found[0]["untouched"]
    assert found[1]["untouched"]


def test_shards_are_refused_by_name(found: list[dict[str, str]]) -> None:
    words = "model must have whole weights in this process, got DTensor 0.weight. Act on the whole model before"
    assert found[0]["sharded"].startswith(words)


def zero_3() -> nn.Module:
    model = network()
    next(model.parameters()).ds_id = 0  # type: ignore[attr-defined]
    return model


def flattened() -> nn.Module:
    kind = type("FullyShardedDataParallel", (nn.Sequential,), {"__module__": "torch.distributed.fsdp.x"})
    return kind(nn.Linear(8, 3))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("make", "words"), [(zero_3, "ZeRO-3 parameter 0.weight"), (flattened, "FullyShardedDataParallel at")]
)
def test_other_shards_are_refused_by_name(make: object, words: str) -> None:
    with pytest.raises(ValueError, match=f"^model must have whole weights in this process, got {words}"):
        dash_(make(), CHUNKS, LOSS)  # type: ignore[operator]


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda model: torch.compile(model, backend="eager")])
def test_the_model_inside_of_a_wrapper_is_changed(wrap: object) -> None:
    plain, inside = network(), network()
    wrapped = wrap(inside)  # type: ignore[operator]
    assert unwrapped(wrapped) is inside
    assert [layer.name for layer in dash_factors(wrapped, CHUNKS, LOSS)] == [
        f"{i}.{n}" for i in (0, 2) for n in ("weight", "bias")
    ]
    dash_(plain, CHUNKS, LOSS)
    report = dash_(wrapped, CHUNKS, LOSS)
    assert torch.equal(flat(plain), flat(inside))
    assert check_after_step(report, wrapped).share == pytest.approx(1)


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda model: torch.compile(model, backend="eager")])
def test_all_that_changes_weights_looks_inside_of_wrappers(wrap: Callable[[nn.Module], nn.Module]) -> None:
    plain, wrapped, made = network(), wrap(network()), wrap(network())
    report = dash_(plain, CHUNKS, LOSS, alpha=0.3, lam=0.05)
    apply_factors_(wrapped, dash_factors(wrapped, CHUNKS, LOSS, alpha=0.3, lam=0.05))
    found = shrink_grid(made, CHUNKS, LOSS, [0.3], [0.05]).apply_(made, 0.3, 0.05)
    assert torch.equal(flat(plain), flat(wrapped))
    assert torch.equal(flat(plain), flat(made))
    assert [layer.name for layer in found] == [layer.name for layer in report]
    for one in (plain, wrapped):
        shrink_and_perturb_(one, fresh=made if one is plain else unwrapped(made))
    assert torch.equal(flat(plain), flat(wrapped))
