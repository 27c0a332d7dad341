"""Devices by name, settings that are put back, and the batch that fits in memory."""

from __future__ import annotations

import pytest
import torch

from dashtheory.protocol import describe_device, exact_or_fast, find_device, fitting_batch, memory_ran_out


def test_devices_are_found_or_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("auto") == "cpu"
    with pytest.raises(ValueError, match=r"device must be there, got 'cuda', but .*Say device='cpu'"):
        find_device("cuda")
    with pytest.raises(ValueError, match="device must be one of auto, cpu, cuda"):
        find_device("tpu")
    with pytest.raises(ValueError, match="device must be auto, cpu, cuda or cuda:N"):
        find_device("cpu:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert find_device("auto") == "cuda"
    assert find_device("cuda:1") == "cuda:1"
    with pytest.raises(ValueError, match="device must be one of 2, got 'cuda:2'"):
        find_device("cuda:2")


def test_settings_of_cuda_are_put_back() -> None:
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.allow_tf32, products.allow_tf32
    with exact_or_fast("float32"):
        assert (cudnn.benchmark, cudnn.allow_tf32, products.allow_tf32) == (True, False, False)
    with exact_or_fast("tf32"):
        assert (cudnn.allow_tf32, products.allow_tf32) == (True, True)
    assert (cudnn.benchmark, cudnn.allow_tf32, products.allow_tf32) == before


@pytest.mark.parametrize(("limit", "fits"), [(100, 64), (64, 64), (63, 32), (1, 1), (0, 0)])
def test_the_batch_that_fits_is_found_by_halving(limit: int, fits: int) -> None:
    def step(size: int) -> None:
        if size > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")

    assert fitting_batch(step, 128) == fits


def test_other_errors_are_not_taken_for_memory() -> None:
    def step(size: int) -> None:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        fitting_batch(step, 128)
    assert memory_ran_out(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"))
    assert memory_ran_out(MemoryError())
    assert not memory_ran_out(ValueError("out of memory"))


@pytest.mark.parametrize("name", ["cpu:", "cpu:0", "cuda:", "auto:", "auto:1"])
def test_a_number_belongs_to_cuda_and_must_be_there(name: str) -> None:
    with pytest.raises(ValueError, match="device must be auto, cpu, cuda or cuda:N, got"):
        find_device(name)


def test_a_cpu_is_called_so() -> None:
    assert find_device("cpu") == describe_device("cpu") == "cpu"


def test_a_smallest_batch_ends_the_search() -> None:
    tried: list[int] = []

    def step(size: int) -> None:
        tried.append(size)
        raise MemoryError

    assert fitting_batch(step, 20, least=2) == 0
    assert tried == [10, 5, 2]
    tried.clear()
    assert fitting_batch(step, 20) == 0
    assert tried == [10, 5, 2, 1]


def test_settings_of_cuda_are_put_back_after_an_error_too() -> None:
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.allow_tf32
    seen = []

    def fails() -> None:
        with exact_or_fast("bfloat16"):
            seen.append((cudnn.benchmark, cudnn.allow_tf32))
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert seen == [(True, True)]
    assert (cudnn.benchmark, cudnn.allow_tf32) == before
    with pytest.raises(ValueError, match="precision must be one of"), exact_or_fast("half"):
        pass


def test_an_error_that_memory_led_to_counts_as_memory() -> None:
    def recording() -> None:
        try:
            raise torch.OutOfMemoryError("CUDA out of memory")
        except torch.OutOfMemoryError:
            raise RuntimeError("operation failed due to a previous error during capture")  # noqa: B904

    with pytest.raises(RuntimeError) as caught:
        recording()
    assert memory_ran_out(caught.value)
    assert memory_ran_out(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"))
    assert not memory_ran_out(RuntimeError("operation failed"))
