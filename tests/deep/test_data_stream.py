"""Streams made from pictures."""

import itertools
import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dashtheory.deep.data import ImageData, ImageSet, ImageStream, make_stream
from dashtheory.deep.data import stream as stream_module


def numbered(counts: list[int], *, tests: int = 20, size: int = 2) -> ImageData:
    """Picture i of the training set carries i in its first two pixels; so does test picture i, plus 128 * 256."""
    labels = np.repeat(np.arange(len(counts)), counts)

    def images(numbers: np.ndarray) -> torch.Tensor:
        pixels = np.zeros((len(numbers), 2, size, size), np.uint8)
        pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = numbers // 256, numbers % 256
        pixels[:, 1, 1, 1] = numbers % 7 + 1
        return torch.from_numpy(pixels)

    train = ImageSet(images(np.arange(len(labels))), torch.from_numpy(labels))
    test_labels = torch.arange(tests) % len(counts)
    test = ImageSet(images(128 * 256 + np.arange(tests)), test_labels)
    return ImageData(train, test, tuple(f"class {i}" for i in range(len(counts))), "numbers", {"source": "here"})


def raw(made: ImageStream, inputs: torch.Tensor) -> torch.Tensor:
    """Grey levels before the normalisation."""
    mean, std = (torch.tensor(values, dtype=torch.float64)[:, None, None] for values in (made.mean, made.std))
    return inputs.double() * std + mean


def numbers(made: ImageStream, inputs: torch.Tensor) -> list[int]:
    levels = raw(made, inputs)[:, 0, 0].round().long()
    return (levels[:, 0] * 256 + levels[:, 1]).tolist()


def chunk_numbers(made: ImageStream) -> list[list[int]]:
    return [numbers(made, chunk.inputs) for chunk in made.stream.chunks]


def make(data: ImageData, seed: int = 0, **options: Any) -> ImageStream:
    known: dict[str, Any] = {"num_chunks": 3, "chunk_size": 10, "generator": np.random.default_rng(seed)}
    return make_stream(data, **(known | options))


def equal(first: ImageStream, second: ImageStream) -> bool:
    def tensors(made: ImageStream) -> list[torch.Tensor]:
        parts = (*made.stream.chunks, made.stream.test)
        return [*made.noisy, *itertools.chain.from_iterable((part.inputs, part.targets) for part in parts)]

    return all(torch.equal(a, b) for a, b in zip(tensors(first), tensors(second), strict=True))


CLASSES = st.lists(st.integers(30, 60), min_size=2, max_size=5)


@given(
    counts=CLASSES,
    num_chunks=st.integers(1, 4),
    chunk_size=st.integers(2, 15),
    balanced=st.booleans(),
    noise=st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]),
    seed=st.integers(0, 99),
)
def test_a_stream_is_a_random_subset_in_chunks_with_wrong_labels_where_it_says(
    counts: list[int], num_chunks: int, chunk_size: int, balanced: bool, noise: float, seed: int
) -> None:
    data = numbered(counts)
    options: dict[str, Any] = {
        "num_chunks": num_chunks,
        "chunk_size": chunk_size,
        "balanced": balanced,
        "label_noise": noise,
    }
    made = make(data, seed, **options)
    assert equal(made, make(data, seed, **options))
    chunks = chunk_numbers(made)
    assert [len(chunk) for chunk in chunks] == [chunk_size] * num_chunks
    drawn = [number for chunk in chunks for number in chunk]
    assert len(set(drawn)) == len(drawn)
    assert set(drawn) <= set(range(sum(counts)))
    assert numbers(made, made.stream.test.inputs) == [128 * 256 + i for i in range(20)]
    assert torch.equal(made.stream.test.targets, data.test.labels)
    right = [data.train.labels[torch.tensor(chunk)] for chunk in chunks]
    for chunk, noisy, label in zip(made.stream.chunks, made.noisy, right, strict=True):
        assert (chunk.inputs.dtype, chunk.targets.dtype, noisy.dtype) == (torch.float32, torch.int64, torch.bool)
        assert torch.equal(chunk.targets != label, noisy)
        assert int(noisy.sum()) == int(np.floor(noise * chunk_size + 0.5))
        assert int(chunk.targets.min()) >= 0
        assert int(chunk.targets.max()) < len(counts)
        if balanced:
            assert np.ptp(label.bincount(minlength=len(counts)).numpy()) <= 1
    if balanced:
        assert np.ptp(torch.cat(right).bincount(minlength=len(counts)).numpy()) <= 1
    assert made.classes == data.classes


@given(counts=CLASSES, balanced=st.booleans(), noise=st.sampled_from([0.0, 0.3]), seed=st.integers(0, 99))
def test_earlier_chunks_and_the_test_set_do_not_depend_on_what_else_is_drawn(
    counts: list[int], balanced: bool, noise: float, seed: int
) -> None:
    data = numbered(counts)
    one = make(data, seed, num_chunks=2, chunk_size=7, balanced=balanced, label_noise=noise, num_test=9)
    more = make(data, seed, num_chunks=4, chunk_size=7, balanced=balanced, label_noise=noise, num_test=9)
    assert chunk_numbers(more)[:2] == chunk_numbers(one)
    for early, late, noisy, same in zip(
        one.stream.chunks, more.stream.chunks, one.noisy, more.noisy, strict=False
    ):
        assert torch.equal(early.targets, late.targets)
        assert torch.equal(noisy, same)
    larger = ImageData(numbered([60] * len(counts)).train, data.test, data.classes, "larger", {})
    elsewhere = make(larger, seed, num_chunks=1, chunk_size=7, balanced=balanced, num_test=9)
    for other in (more, elsewhere):
        assert numbers(one, one.stream.test.inputs) == numbers(other, other.stream.test.inputs)
    whole = make(data, seed, num_chunks=2, chunk_size=7, balanced=balanced, label_noise=noise)
    assert chunk_numbers(whole) == chunk_numbers(one)
    noisier = make(data, seed, num_chunks=2, chunk_size=7, balanced=balanced, label_noise=0.6, num_test=9)
    assert chunk_numbers(noisier) == chunk_numbers(one)
    for less, greater, chunk, noisier_chunk in zip(
        one.noisy, noisier.noisy, one.stream.chunks, noisier.stream.chunks, strict=True
    ):
        assert bool((greater | ~less).all())  # what was wrong stays wrong
        assert torch.equal(chunk.targets[less], noisier_chunk.targets[less])


@pytest.mark.parametrize("balanced", [False, True])
def test_seeds_draw_other_pictures_orders_and_noise(balanced: bool) -> None:
    data = numbered([50, 50])
    options: dict[str, Any] = {"balanced": balanced, "label_noise": 0.5, "num_test": 10}
    first, other = make(data, 0, **options), make(data, 1, **options)
    assert chunk_numbers(first) != chunk_numbers(other)
    assert not torch.equal(first.noisy[0], other.noisy[0])
    assert numbers(first, first.stream.test.inputs) != numbers(other, other.stream.test.inputs)
    assert not torch.equal(first.noisy[0], first.noisy[1])
    labels = data.train.labels[torch.tensor(chunk_numbers(first)[0])]
    assert labels.tolist() != sorted(labels.tolist())
    # one generator, two calls: two streams
    generator = np.random.default_rng(0)
    assert not equal(make(data, generator=generator), make(data, generator=generator))


def test_a_test_subset_is_drawn_from_the_test_set() -> None:
    data = numbered([40, 40, 40], tests=30)
    found = numbers(made := make(data, num_test=12), made.stream.test.inputs)
    assert len(set(found)) == 12
    assert set(found) <= {128 * 256 + i for i in range(30)}
    assert torch.equal(made.stream.test.targets, data.test.labels[torch.tensor(found) - 128 * 256])
    balanced = make(data, num_test=12, balanced=True)
    assert balanced.stream.test.targets.bincount().tolist() == [4, 4, 4]
    assert len(make(data, num_test=30).stream.test) == 30


def test_wrong_labels_are_uniform_over_the_other_classes() -> None:
    data = numbered([5000] * 4)
    made = make(data, num_chunks=1, chunk_size=20_000, label_noise=0.75)
    right = data.train.labels[torch.tensor(chunk_numbers(made)[0])]
    wrong = made.stream.chunks[0].targets
    assert int(made.noisy[0].sum()) == 15_000
    for label in range(4):
        counts = wrong[made.noisy[0] & (right == label)].bincount(minlength=4)
        assert counts[label] == 0
        expected = int(counts.sum()) / 3
        others = counts[torch.arange(4) != label].double()
        assert float(((others - expected) ** 2 / expected).sum()) < 18.4  # chi2, 2 degrees: p = 1e-4
    # which labels are wrong does not depend on the class: 3750 expected each, sd 26.5
    wrong_per_class = right[made.noisy[0]].bincount()
    assert bool(((wrong_per_class - 3750).abs() < 4 * 31).all())


def test_unbalanced_chunks_are_uniform_over_the_pictures() -> None:
    data = numbered([10, 10])
    hits = np.zeros(20)
    for seed in range(400):
        for number in chunk_numbers(make(data, seed, num_chunks=1, chunk_size=5))[0]:
            hits[number] += 1
    assert abs(hits - 100).max() < 4.5 * np.sqrt(400 * 0.25 * 0.75)


def test_balance_takes_turns_at_the_places_left_over() -> None:
    data = numbered([20, 20, 20])
    made = make(data, num_chunks=3, chunk_size=4, balanced=True)
    counts = [
        data.train.labels[torch.tensor(chunk)].bincount(minlength=3).tolist() for chunk in chunk_numbers(made)
    ]
    assert sorted(counts) == [[1, 1, 2], [1, 2, 1], [2, 1, 1]]
    tiny = make(data, num_chunks=3, chunk_size=1, balanced=True)
    assert sorted(int(data.train.labels[chunk[0]]) for chunk in chunk_numbers(tiny)) == [0, 1, 2]
    firsts = {
        int(data.train.labels[chunk_numbers(make(data, s, num_chunks=2, chunk_size=1, balanced=True))[0][0]])
        for s in range(20)
    }
    assert firsts == {0, 1, 2}


def random_data(shape: tuple[int, ...], num_train: int = 60) -> ImageData:
    random = np.random.default_rng(0)
    train, test = (torch.from_numpy(random.integers(0, 256, (n, *shape), np.uint8)) for n in (num_train, 20))
    labels = torch.arange(num_train) % 3
    return ImageData(ImageSet(train, labels), ImageSet(test, labels[:20]), ("a", "b", "c"), "random", {})


def test_channels_are_normalised_by_mean_and_std_of_the_chosen_pictures() -> None:
    data = random_data((3, 4, 6))
    made = make(data, num_chunks=2, chunk_size=15)
    inputs = torch.cat([chunk.inputs for chunk in made.stream.chunks]).double()
    assert inputs.mean(dim=(0, 2, 3)).abs().max() < 1e-6
    assert (inputs.var(dim=(0, 2, 3), correction=0) - 1).abs().max() < 1e-5
    levels = torch.cat([raw(made, chunk.inputs) for chunk in made.stream.chunks])
    assert (levels - levels.round()).abs().max() < 1e-4
    assert torch.allclose(levels.mean(dim=(0, 2, 3)), torch.tensor(made.mean, dtype=torch.float64), atol=1e-4)
    rows = {bytes(image.ravel()) for image in data.train.images.numpy()}
    assert all(bytes(image.round().to(torch.uint8).numpy().ravel()) in rows for image in levels)
    assert torch.allclose(raw(made, made.stream.test.inputs), data.test.images.double(), atol=1e-4)
    assert made.facts["mean"] == list(made.mean)
    assert made.facts["std"] == list(made.std)
    assert made.facts["size"] == [4, 6]
    assert made.facts["num_noisy_per_chunk"] == 0
    assert made.facts["data"] == {"name": "random"}
    assert make(data, label_noise=0.5, chunk_size=5).facts["num_noisy_per_chunk"] == 3  # 2.5 goes up
    json.dumps(dict(made.facts))


def test_mean_and_std_are_those_of_numpy_over_several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    data = random_data((2, 3, 3))
    whole = make(data, num_chunks=4, chunk_size=15)
    images = data.train.images.numpy().astype(np.float64)
    assert np.allclose(whole.mean, images.mean(axis=(0, 2, 3)), rtol=1e-12)
    assert np.allclose(whole.std, images.std(axis=(0, 2, 3)), rtol=1e-12)
    monkeypatch.setattr(stream_module, "_BLOCK", 7)
    blocks = make(data, num_chunks=4, chunk_size=15)
    assert np.allclose(blocks.mean, whole.mean, rtol=1e-14)
    assert all(
        torch.allclose(a.inputs, b.inputs) for a, b in zip(blocks.stream.chunks, whole.stream.chunks, strict=True)
    )


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 12])
def test_shrinking_takes_the_mean_of_the_pixels_covered(size: int) -> None:
    data = random_data((3, 12, 12))
    made = make(data, size=size)
    images = data.test.images.numpy().astype(np.float64)
    width = 12 // size
    expected = images.reshape(20, 3, size, width, size, width).mean(axis=(3, 5))
    assert np.allclose(raw(made, made.stream.test.inputs).numpy(), expected, atol=1e-4)
    assert made.facts["size"] == [size, size]


def test_shrinking_to_a_size_that_does_not_divide_averages_the_pixels_touched() -> None:
    data = random_data((1, 7, 10))
    made = make(data, size=4)
    images = data.test.images.numpy().astype(np.float64)[:, 0]
    expected = np.empty((20, 4, 4))
    for i in range(4):
        for j in range(4):
            rows = slice(i * 7 // 4, -(-(i + 1) * 7 // 4))
            columns = slice(j * 10 // 4, -(-(j + 1) * 10 // 4))
            expected[:, i, j] = images[:, rows, columns].mean(axis=(1, 2))
    assert np.allclose(raw(made, made.stream.test.inputs).numpy()[:, 0], expected, atol=1e-4)


def test_the_data_are_not_changed() -> None:
    data = random_data((3, 4, 4))
    before = [part.clone() for part in (data.train.images, data.train.labels, data.test.images, data.test.labels)]
    made = make(data, label_noise=0.5)
    made.stream.test.inputs.zero_()
    after = (data.train.images, data.train.labels, data.test.images, data.test.labels)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_chunks": 0}, "num_chunks must be an integer >= 1, got 0"),
        ({"num_chunks": 2.0}, r"num_chunks must be an integer >= 1, got 2\.0"),
        ({"chunk_size": 0}, "chunk_size must be an integer >= 1, got 0"),
        ({"chunk_size": 21}, "chunk_size must leave the 60 examples enough, got 3 x 21"),
        ({"num_test": 0}, "num_test must be an integer >= 1, got 0"),
        ({"num_test": 21}, "num_test must leave the 20 examples enough, got 1 x 21"),
        ({"size": 0}, "size must be an integer >= 1, got 0"),
        ({"size": 5}, "size must be at most that of the pictures, 4 x 6, got 5"),
        ({"label_noise": -0.1}, r"label_noise must be a number in \[0, 1\], got -0.1"),
        ({"label_noise": 1.1}, r"label_noise must be a number in \[0, 1\], got 1.1"),
        ({"generator": 0}, "generator must be a numpy Generator, got 0"),
        (
            {"balanced": True, "chunk_size": 20, "num_chunks": 4},
            "chunk_size must leave every class enough, 20 of ",
        ),
        (
            {"balanced": True, "num_test": 21},
            "num_test must leave every class enough, 6 of class 2, got 7 needed",
        ),
    ],
)
def test_impossible_streams_name_argument_and_value(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(random_data((3, 4, 6)), **options)


def test_the_places_left_over_go_to_classes_that_have_enough() -> None:
    data = random_data((3, 4, 6))  # test classes of 7, 7 and 6
    for seed in range(9):
        assert make(data, seed, balanced=True, num_test=20).stream.test.targets.bincount().tolist() == [7, 7, 6]


def test_one_class_has_no_wrong_label_and_a_constant_channel_no_scale() -> None:
    data = random_data((2, 4, 4))
    one = ImageData(
        ImageSet(data.train.images, torch.zeros(60, dtype=torch.int64)),
        ImageSet(data.test.images, torch.zeros(20, dtype=torch.int64)),
        ("only",),
        "one",
        {},
    )
    assert all(int(chunk.targets.sum()) == 0 for chunk in make(one).stream.chunks)
    with pytest.raises(ValueError, match=r"label_noise must be 0 if there is one class, got 0.1"):
        make(one, label_noise=0.1)
    data.train.images[:, 1] = 7
    with pytest.raises(ValueError, match="data must vary in every channel, got one grey level in channel 1"):
        make(data)
