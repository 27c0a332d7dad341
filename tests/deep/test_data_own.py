"""Streams made from the user's own tensors and data sets."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

from dashtheory.deep.data import stream_of_dataset, stream_of_tensors
from dashtheory.stream import Stream


def tensors(count: int = 12) -> dict[str, Any]:
    x = torch.arange(count * 2, dtype=torch.float32).reshape(count, 2)
    return {"x": x, "y": torch.arange(count) % 3, "test_x": x[:4] + 100, "test_y": torch.arange(4) % 3}


def test_tensors_are_cut_in_order_or_shuffled() -> None:
    data = tensors()
    stream = stream_of_tensors(**data, num_chunks=3)
    assert torch.equal(torch.cat([chunk.inputs for chunk in stream.chunks]), data["x"])
    assert torch.equal(torch.cat([chunk.targets for chunk in stream.chunks]), data["y"])
    assert [len(chunk) for chunk in stream.chunks] == [4, 4, 4]
    assert torch.equal(stream.test.inputs, data["test_x"])
    assert torch.equal(stream.test.targets, data["test_y"])
    shuffled, again, other = (
        stream_of_tensors(**data, num_chunks=3, generator=np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    x = [torch.cat([chunk.inputs for chunk in one.chunks]) for one in (shuffled, again, other)]
    assert torch.equal(x[0], x[1])
    assert not torch.equal(x[0], x[2])
    assert sorted(x[0].tolist()) == data["x"].tolist()
    for inputs, target in zip(x[0], torch.cat([chunk.targets for chunk in shuffled.chunks]), strict=True):
        assert int(target) == int(inputs[0]) // 2 % 3
    assert torch.equal(shuffled.test.inputs, data["test_x"])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_labels_of_any_integer_type_become_int64(dtype: torch.dtype) -> None:
    data = tensors()
    data |= {"y": data["y"].to(dtype)}
    assert stream_of_tensors(**data, num_chunks=1).chunks[0].targets.dtype == torch.int64
    assert data["y"].dtype == dtype
    codes: dict[str, Any] = {"x": torch.zeros(4, 2, dtype=torch.int64), "y": torch.zeros(4, dtype=dtype)}
    assert stream_of_tensors(**codes, test_x=codes["x"], test_y=codes["y"], num_chunks=2).chunks


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_chunks": 5}, "num_chunks must be >= 1 and divide the 12 examples, got 5"),
        ({"num_chunks": 0}, "num_chunks must be an integer >= 1, got 0"),
        ({"x": [1, 2]}, "x must be a tensor, got list"),
        ({"test_y": np.zeros(4)}, "test_y must be a tensor, got ndarray"),
        ({"x": torch.zeros(12, 2, dtype=torch.uint8)}, "x must be floating-point or int64, got torch.uint8"),
        ({"y": torch.zeros(12)}, "y must be integers, got torch.float32"),
        ({"y": torch.zeros(12, dtype=torch.bool)}, "y must be integers, got torch.bool"),
        (
            {"y": torch.zeros(11, dtype=torch.int64)},
            r"y must be one class per input, .*got \(11,\) for inputs \(12,",
        ),
        ({"y": torch.zeros(12, 1, dtype=torch.int64)}, r"y must be one class per input, .*got \(12, 1\)"),
        (
            {"x": torch.zeros(0, 2), "y": torch.zeros(0, dtype=torch.int64)},
            "y must be one class per input, and at",
        ),
        (
            {"x": torch.eye(12)},
            r"test_x must be like x, torch.float32 of shape \(n, 12\), got torch.float32 \(4, 2\)",
        ),
        ({"test_x": torch.zeros(4, 2).double()}, r"test_x must be like x, .*got torch.float64 \(4, 2\)"),
        ({"test_y": torch.tensor([0, 1, 2, 3])}, "test_y must hold classes of y, 0 to 2, got 3"),
        ({"y": -torch.ones(12, dtype=torch.int64)}, "y must be >= 0, got -1"),
        ({"test_y": -torch.ones(4, dtype=torch.int64)}, "test_y must be >= 0, got -1"),
        ({"generator": 0}, "generator must be a numpy Generator, got 0"),
    ],
)
def test_other_tensors_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stream_of_tensors(**({"num_chunks": 3, **tensors()} | changes))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_examples_that_are_not_finite_are_named(bad: float) -> None:
    data = tensors()
    data["x"][7, 1] = bad
    with pytest.raises(ValueError, match="x must be finite, got NaN or infinity in example 7"):
        stream_of_tensors(**data, num_chunks=3)


class Items(Dataset[object]):
    """A data set of the given items that counts how often each is read."""

    def __init__(self, items: list[object]) -> None:
        self.items = items
        self.reads = [0] * len(items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> object:
        self.reads[index] += 1
        return self.items[index]


def test_a_torch_data_set_gives_the_stream_of_its_tensors() -> None:
    data = tensors()
    expected = stream_of_tensors(**data, num_chunks=3, generator=np.random.default_rng(0))
    train, test = TensorDataset(data["x"], data["y"]), TensorDataset(data["test_x"], data["test_y"])
    found = stream_of_dataset(train, test, 3, generator=np.random.default_rng(0))

    def parts(stream: Stream) -> list[torch.Tensor]:
        return [t for part in (*stream.chunks, stream.test) for t in (part.inputs, part.targets)]

    assert all(torch.equal(a, b) for a, b in zip(parts(found), parts(expected), strict=True))


def test_items_may_be_arrays_with_plain_labels_and_are_read_once() -> None:
    random = np.random.default_rng(0)
    arrays = [random.normal(size=(1, 2, 2)) for _ in range(4)]
    train = Items(
        [(arrays[0], 0), [arrays[1], np.int64(1)], (arrays[2], torch.tensor(1)), (arrays[3], np.array(0))]
    )
    stream = stream_of_dataset(train, Items([(arrays[0], 1)]), 2)
    assert torch.equal(torch.cat([chunk.inputs for chunk in stream.chunks]), torch.from_numpy(np.stack(arrays)))
    assert torch.cat([chunk.targets for chunk in stream.chunks]).tolist() == [0, 1, 1, 0]
    assert train.reads == [1] * 4


class Endless(Dataset[object]):
    """A data set without a length."""

    def __getitem__(self, index: int) -> object:
        return torch.zeros(2), 0


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (Endless(), "train must have a length, and at least one item"),
        (Items([]), "train must have a length, and at least one item"),
        (Items([(torch.zeros(2), 0), torch.zeros(2)]), r"train\[1\] must be a pair \(input, class\), got Tensor"),
        (Items([(torch.zeros(2), 0, 1)]), r"train\[0\] must be a pair \(input, class\), got tuple"),
        (Items([("picture", 0)]), r"train\[0\] must have a tensor or array as input, got str"),
        (
            Items([(torch.zeros(2), 0), (torch.zeros(3), 0)]),
            r"train\[1\] must be like train\[0\], .*\(2,\), got .*\(3,",
        ),
        (
            Items([(torch.zeros(2), 0), (torch.zeros(2).double(), 0)]),
            r"train\[1\] must be like .*got torch.float64",
        ),
        (Items([(torch.zeros(2), 0.5)]), r"the class of train\[0\] must be an integer >= 0, got 0.5"),
        (Items([(torch.zeros(2), -1)]), r"the class of train\[0\] must be an integer >= 0, got -1"),
        (Items([(torch.zeros(2), torch.zeros(2))]), r"the class of train\[0\] must be an integer"),
    ],
)
def test_items_of_another_form_are_named(train: Dataset[object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stream_of_dataset(train, Items([(torch.zeros(2), 0)]), 1)
