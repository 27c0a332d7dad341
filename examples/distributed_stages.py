"""DASH under DistributedDataParallel: two processes with a share of every chunk end with the same bits."""

from __future__ import annotations

import tempfile

import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing.spawn import spawn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from dashtheory import dash_


def work(rank: int, folder: str) -> None:
    """What each process does."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.manual_seed(0)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3)))
    stream = torch.Generator().manual_seed(rank)
    share = [(torch.randn(50, 8, generator=stream), torch.randint(3, (50,), generator=stream)) for _ in range(2)]
    report = dash_(model, share, functional.cross_entropy)
    weights = torch.cat([value.detach().flatten() for value in model.parameters()])
    both = [torch.empty_like(weights) for _ in range(2)]
    dist.all_gather(both, weights)
    if rank == 0:
        print(f"mean factor {report.mean_scale:.2f}, same bits: {torch.equal(*both)}")
    dist.barrier()  # nobody leaves while another still talks to it
    dist.destroy_process_group()


def main() -> None:
    """Start two processes."""
    with tempfile.TemporaryDirectory() as folder:
        spawn(work, args=(folder,), nprocs=2)


if __name__ == "__main__":
    main()
