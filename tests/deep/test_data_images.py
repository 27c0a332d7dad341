"""Pictures, the held-out split, the embedded digits, and data sets by name."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import dashtheory.deep.data as public
from dashtheory.deep.data import ImageData, ImageSet, cifar10_available, digits, find_data, stratified_split
from dashtheory.deep.data import find as find_module


def pictures(labels: list[int], shape: tuple[int, ...] = (1, 2, 2)) -> ImageSet:
    """Picture i is filled with the grey level i."""
    images = torch.arange(len(labels), dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(-1, *shape).clone()
    return ImageSet(images, torch.tensor(labels, dtype=torch.int64))


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(2, 1, 2, 2), torch.zeros(2, dtype=torch.int64), r"images must be uint8 .* got torch.float32"),
        (torch.zeros(2, 2, 2, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), r"images .*\(2, 2, 2\)"),
        (torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64), r"labels .*\(2,\), got"),
        (torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.zeros(2, dtype=torch.int32), r"labels .*torch.int32"),
        (torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.zeros(2, 1, dtype=torch.int64), r"labels .*\(2, 1\)"),
        (torch.zeros(2, 1, 0, 2, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), "at least one pixel"),
        (torch.zeros(0, 1, 2, 2, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64), "at least one pixel"),
        (torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, -1]), "labels must be >= 0, got -1"),
    ],
)
def test_pictures_of_another_form_are_refused(images: torch.Tensor, labels: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageSet(images, labels)


def test_a_data_set_needs_one_shape_and_a_name_for_every_label() -> None:
    good = pictures([0, 1])
    assert ImageData(good, good, ("a", "b"), "toy", {}).classes == ("a", "b")
    with pytest.raises(
        ValueError, match=r"test must hold pictures like those of train, \(1, 2, 2\), got \(1, 2, 3\)"
    ):
        ImageData(good, pictures([0], (1, 2, 3)), ("a", "b"), "toy", {})
    with pytest.raises(ValueError, match="classes must be distinct"):
        ImageData(good, good, ("a", "a"), "toy", {})
    with pytest.raises(ValueError, match="train must have labels below the number of classes, 1, got 1"):
        ImageData(good, pictures([0]), ("a",), "toy", {})
    with pytest.raises(ValueError, match="test must have labels below the number of classes, 2, got 2"):
        ImageData(good, pictures([2]), ("a", "b"), "toy", {})


def test_taking_pictures_keeps_them_with_their_labels() -> None:
    taken = pictures([3, 1, 2]).take(torch.tensor([2, 0]))
    assert taken.images[:, 0, 0, 0].tolist() == [2, 0]
    assert taken.labels.tolist() == [2, 3]
    assert len(taken) == 2


@given(
    counts=st.lists(st.integers(2, 30), min_size=1, max_size=5),
    share=st.floats(0.05, 0.95),
    seed=st.integers(0, 9),
)
def test_each_class_gives_its_share_to_the_test_set(counts: list[int], share: float, seed: int) -> None:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    whole = pictures(labels)
    held = [int(np.floor(share * count + 0.5)) for count in counts]
    if any(not 0 < part < count for part, count in zip(held, counts, strict=True)):
        with pytest.raises(ValueError, match="test_share must leave each class at least one picture"):
            stratified_split(whole, share, np.random.default_rng(seed))
        return
    train, test = stratified_split(whole, share, np.random.default_rng(seed))
    assert test.labels.bincount(minlength=len(counts)).tolist() == held
    found = [part.images[:, 0, 0, 0].tolist() for part in (train, test)]
    assert sorted(found[0] + found[1]) == list(range(len(labels)))
    assert found[0] == sorted(found[0])
    assert found[1] == sorted(found[1])
    assert [labels[i] for i in found[1]] == test.labels.tolist()


def test_the_split_is_drawn_by_the_generator() -> None:
    whole = pictures([0] * 50 + [1] * 50)
    first, again, other = (stratified_split(whole, 0.3, np.random.default_rng(s))[1].images for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    with pytest.raises(ValueError, match="generator must be a numpy Generator"):
        stratified_split(whole, 0.3, 0)  # type: ignore[arg-type]
    for share in (0.0, 1.5):
        with pytest.raises(ValueError, match="test_share must be a number in"):
            stratified_split(whole, share, np.random.default_rng(0))


def test_digits_are_those_of_scikit_learn_with_a_fixed_stratified_split() -> None:
    sklearn = pytest.importorskip("sklearn.datasets").load_digits()
    data = digits()
    assert (len(data.train) + len(data.test), data.train.images.shape[1:]) == (1797, (1, 8, 8))
    assert data.classes == tuple("0123456789")
    parts = [
        (bytes(image.numpy().ravel()), int(label))
        for part in (data.train, data.test)
        for image, label in zip(part.images, part.labels, strict=True)
    ]
    expected = [
        (bytes((image * 15).astype(np.uint8).ravel()), int(label))
        for image, label in zip(sklearn.images, sklearn.target, strict=True)
    ]
    assert sorted(parts) == sorted(expected)
    assert int(data.train.images.max()) == 240
    for label, count in enumerate(np.bincount(sklearn.target)):
        assert int((data.test.labels == label).sum()) == round(0.2 * count)
    pixels = b"".join(bytes((image * 15).astype(np.uint8).ravel()) for image in sklearn.images)
    assert data.facts["sha256"] == hashlib.sha256(pixels + sklearn.target.astype("<i8").tobytes()).hexdigest()
    assert (data.facts["train"], data.facts["test"]) == (len(data.train), len(data.test))
    json.dumps(dict(data.facts))
    # the split is part of the data: it must never change
    digest = hashlib.sha256(data.test.images.numpy().tobytes()).hexdigest()
    assert digest == "5352cc9114fe845163837509d9f99359ca77ffe97fdfbc3196a92e188190dc75"


def test_digits_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ValueError, match="digits must come with scikit-learn, got no such package"):
        digits.__wrapped__()


def test_public_names_exist() -> None:
    assert all(hasattr(public, name) for name in public.__all__)
    assert len(set(public.__all__)) == len(public.__all__)


def class_folders(folder: Path, *, num_classes: int = 10, size: int = 32) -> Path:
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        for label in range(num_classes):
            (folder / split / f"c{label}").mkdir(parents=True)
            pixels = random.integers(0, 256, (size, size, 3), np.uint8)
            Image.fromarray(pixels).save(folder / split / f"c{label}" / "0.png")
    return folder


def test_names_lead_to_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    assert find_data("digits") is digits()
    folder = class_folders(tmp_path / "some", num_classes=2, size=3)
    assert find_data(f"folder:{folder}", cache=tmp_path / "cache").classes == ("c0", "c1")
    assert list((tmp_path / "cache").iterdir())
    calls: list[tuple[object, ...]] = []

    def record(kind: str) -> object:
        return lambda root, *, download: calls.append((kind, root, download))

    for kind in find_module._OFFICIAL:
        monkeypatch.setitem(find_module._OFFICIAL, kind, record(kind))
        find_data(f"{kind}:some/root", download=True)
    assert calls == [(kind, "some/root", True) for kind in ("cifar10", "cifar100", "svhn", "fashion_mnist")]


@pytest.mark.parametrize("kind", ["cifar10", "cifar100", "svhn", "fashion_mnist"])
def test_every_official_name_asks_for_its_files(kind: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"root must hold '.*', got '{tmp_path}' without it"):
        find_data(f"{kind}:{tmp_path}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnist", "name must be one of digits, folder, cifar10, .*got 'mnist'"),
        ("folder", "name must be .*got 'folder'"),
        ("folder:", "name must be .*got 'folder:'"),
        ("svhn", "name must be .*got 'svhn'"),
        ("cifar10:", "name must be .*got 'cifar10:'"),
        ("digits:x", "name must be .*got 'digits:x'. Say digits."),
        ("folder:/no/such/place", "path must exist, got '/no/such/place'"),
    ],
)
def test_unknown_names_are_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_data(name)


def test_cifar10_alone_is_what_the_environment_points_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variable = "DASHTHEORY_CIFAR10"
    monkeypatch.delenv(variable, raising=False)
    assert not cifar10_available()
    with pytest.raises(ValueError, match="DASHTHEORY_CIFAR10 must point to CIFAR-10, got None"):
        find_data("cifar10")
    monkeypatch.setenv(variable, str(tmp_path / "nothing"))
    assert not cifar10_available()
    monkeypatch.setenv(variable, "")
    assert not cifar10_available()
    monkeypatch.setenv(variable, str(class_folders(tmp_path / "good")))
    assert cifar10_available()
    data = find_data("cifar10", cache=tmp_path / "cache")
    assert data.name == "CIFAR-10 (JPEG)"
    assert data.train.images.shape == (10, 3, 32, 32)
    monkeypatch.setenv(variable, str(class_folders(tmp_path / "few", num_classes=3)))
    with pytest.raises(ValueError, match=r"DASHTHEORY_CIFAR10 must point to 10 classes .* got 3 classes"):
        find_data("cifar10", cache=tmp_path / "cache")
    monkeypatch.setenv(variable, str(class_folders(tmp_path / "small", size=4)))
    with pytest.raises(ValueError, match=r"got 10 classes, shape \(3, 4, 4\)"):
        find_data("cifar10", cache=tmp_path / "cache")


def test_the_environment_may_point_to_the_official_binary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "cifar-10-binary.tar.gz"
    archive.write_bytes(b"not it")
    for place in (archive, tmp_path):
        monkeypatch.setenv("DASHTHEORY_CIFAR10", str(place))
        assert cifar10_available()
        with pytest.raises(ValueError, match=r"official 'cifar-10-binary.tar.gz' \(md5 c32a1d4ab5d03f1284b67883"):
            find_data("cifar10", cache=tmp_path / "cache")
