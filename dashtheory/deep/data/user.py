"""A stream from the user's own tensors or torch `Dataset`."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dashtheory._check import fail, integer, numpy_generator
from dashtheory.stream import Examples, Stream, cut
from dashtheory.user_code import user_files, where_raised


def stream_of_tensors(
    x: Tensor,
    y: Tensor,
    test_x: Tensor,
    test_y: Tensor,
    num_chunks: int,
    *,
    generator: np.random.Generator | None = None,
) -> Stream:
    """Cut the user's training examples into equal chunks, beside the user's test set.

    Args:
        x: training inputs (n, ...), floating-point, or int64 for codes of symbols; normalised by the user.
        y: their classes 0, 1, 2, ..., (n,), of any integer type.
        test_x: the same for the test set; no class that `y` lacks.
        test_y: the same for the test set; no class that `y` lacks.
        num_chunks: J, must divide n.
        generator: if given, the training examples are shuffled first. Without it they stay in order: only right if
            the order says nothing about the classes.

    Returns:
        a `Stream` whose targets are int64. The user's tensors are not changed; without shuffling the chunks are
        views of them.

    Raises:
        ValueError: for other types or shapes, NaN or infinity, or labels outside the classes.
    """
    integer("num_chunks", num_chunks, minimum=1, fix="It counts chunks.")
    train, test = _examples("x", x, "y", y), _examples("test_x", test_x, "test_y", test_y)
    if (x.dtype, x.shape[1:]) != (test_x.dtype, test_x.shape[1:]):
        rule = f"must be like x, {x.dtype} of shape (n, {', '.join(map(str, x.shape[1:]))})"
        fail("test_x", rule, f"{test_x.dtype} {tuple(test_x.shape)}", "Prepare both in the same way.")
    highest = int(train.targets.max())
    if int(test.targets.max()) > highest:
        rule = f"must hold classes of y, 0 to {highest}"
        fail("test_y", rule, str(int(test.targets.max())), "Number the classes of both in the same way.")
    if generator is not None:
        order = numpy_generator("generator", generator).permutation(len(train))
        train = train.take(torch.from_numpy(order))
    return Stream(chunks=cut(train, num_chunks), test=test)


def stream_of_dataset(
    train: Dataset[Any],
    test: Dataset[Any],
    num_chunks: int,
    *,
    generator: np.random.Generator | None = None,
) -> Stream:
    """Read two torch data sets, item by item, and cut the first into chunks.

    Args:
        train: map-style data sets with a length; item i is (input, class), the input a tensor or array of one
            shape, the class an integer. Each item is read once, so that a random augmentation is drawn once.
        test: map-style data sets with a length; item i is (input, class), the input a tensor or array of one
            shape, the class an integer. Each item is read once, so that a random augmentation is drawn once.
        num_chunks: as in `stream_of_tensors`.
        generator: as in `stream_of_tensors`.

    Raises:
        ValueError: that names the item, or as `stream_of_tensors`.
    """
    x, y = _items("train", train)
    test_x, test_y = _items("test", test)
    return stream_of_tensors(x, y, test_x, test_y, num_chunks, generator=generator)


def _examples(inputs_name: str, inputs: Tensor, targets_name: str, targets: Tensor) -> Examples:
    for name, value in ((inputs_name, inputs), (targets_name, targets)):
        if not isinstance(value, Tensor):
            fail(name, "must be a tensor", type(value).__name__, f"Say torch.as_tensor({name}).")
    if not (inputs.is_floating_point() or inputs.dtype == torch.int64):
        fail(
            inputs_name,
            "must be floating-point or int64",
            str(inputs.dtype),
            f"Say {inputs_name}.float(), and normalise.",
        )
    if targets.dtype.is_floating_point or targets.dtype.is_complex or targets.dtype == torch.bool:
        fail(targets_name, "must be integers", str(targets.dtype), "Number the classes 0, 1, 2, ...")
    if targets.shape != inputs.shape[:1] or not targets.numel():
        got = f"{tuple(targets.shape)} for inputs {tuple(inputs.shape)}"
        fail(targets_name, "must be one class per input, and at least one", got, "Give shape (n,).")
    if inputs.is_floating_point() and not bool(torch.isfinite(inputs).all()):
        where = int((~torch.isfinite(inputs)).nonzero()[0, 0])
        fail(inputs_name, "must be finite", f"NaN or infinity in example {where}", "Mend or drop it.")
    if int(targets.min()) < 0:
        fail(targets_name, "must be >= 0", str(int(targets.min())), "Number the classes 0, 1, 2, ...")
    return Examples(inputs, targets.to(torch.int64))


def _items(name: str, dataset: Dataset[Any]) -> tuple[Tensor, Tensor]:
    """All (inputs, classes) of a data set."""
    if not isinstance(dataset, Sized) or not len(dataset):
        fail(name, "must have a length, and at least one item", repr(dataset), "Give a map-style data set.")
    if not hasattr(type(dataset), "__getitem__"):
        of = " Give its dataset: loader.dataset." if hasattr(dataset, "dataset") else ""
        fail(name, "must have items by number", type(dataset).__name__, f"Give a map-style data set.{of}")
    inputs: list[Tensor] = []
    labels: list[int] = []
    for place in range(len(dataset)):
        one, label = _item(f"{name}[{place}]", _read(dataset, name, place))
        if inputs and (one.dtype, one.shape) != (inputs[0].dtype, inputs[0].shape):
            rule = f"must be like {name}[0], {inputs[0].dtype} {tuple(inputs[0].shape)}"
            fail(f"{name}[{place}]", rule, f"{one.dtype} {tuple(one.shape)}", "Resize or convert it.")
        inputs.append(one)
        labels.append(label)
    return torch.stack(inputs), torch.tensor(labels)


def _read(dataset: Dataset[Any], name: str, place: int) -> Any:
    try:
        return dataset[place]
    except MemoryError:
        raise
    except Exception as error:  # whatever the user's data set raises
        got = f"'{where_raised(error, user_files())}'"
        fail(f"{name}[{place}]", "must be an item that can be read", got, "Mend or leave out that item.")


def _item(name: str, item: Any) -> tuple[Tensor, int]:  # whatever the user's data set gives
    """(input, class) of one item."""
    if not isinstance(item, tuple | list) or len(item) != 2:
        fail(name, "must be a pair (input, class)", type(item).__name__, "Wrap the data set.")
    one, label = item
    if not isinstance(one, Tensor | np.ndarray):
        fail(name, "must have a tensor or array as input", type(one).__name__, "Give the data set a transform.")
    if isinstance(label, Tensor | np.ndarray) and label.ndim == 0:
        label = label.item()
    return torch.as_tensor(one), integer(
        f"the class of {name}", label, minimum=0, fix="Number the classes from 0."
    )
