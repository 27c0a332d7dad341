"""Official files: addresses and checksums of their sources, formats written byte by byte here."""

import dataclasses
import gzip
import hashlib
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from dashtheory.deep.data import ImageData, cifar10, cifar100, fashion_mnist, svhn
from dashtheory.deep.data import cifar as cifar_module
from dashtheory.deep.data import fashion as fashion_module
from dashtheory.deep.data import street_view as svhn_module
from tests.deep.official_cases import cifar10_files, official, plane, tar_gz


def grey_levels(data: ImageData) -> tuple[list[object], list[object]]:
    return data.train.images.tolist(), data.test.images.tolist()


# Published checksums, copied from the pages of the sources.


def test_names_addresses_and_checksums_are_those_of_the_sources() -> None:
    published = {
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530",
        "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8",
        "http://ufldl.stanford.edu/housenumbers/train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
        "http://ufldl.stanford.edu/housenumbers/test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
    }
    shop = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
    published |= {
        f"{shop}train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        f"{shop}train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        f"{shop}t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        f"{shop}t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    }
    parts = (fashion_module.TRAIN, fashion_module.TEST)
    files = [
        cifar_module.CIFAR10.file,
        cifar_module.CIFAR100.file,
        svhn_module.TRAIN.file,
        svhn_module.TEST.file,
        *(file for part in parts for file in (part.images, part.labels)),
    ]
    assert {file.url: file.md5 for file in files} == published
    assert all(file.url.endswith(f"/{file.name}") for file in files)
    counts = [(form.num_train, form.num_test) for form in (cifar_module.CIFAR10, cifar_module.CIFAR100)]
    assert counts == [(50_000, 10_000)] * 2
    assert (svhn_module.TRAIN.count, svhn_module.TEST.count) == (73_257, 26_032)
    assert (fashion_module.TRAIN.count, fashion_module.TEST.count) == (60_000, 10_000)


# CIFAR


def test_cifar10_is_read_record_by_record(small_cifar10: Callable[[dict[str, bytes]], Path]) -> None:
    root = small_cifar10(cifar10_files())
    data = cifar10(str(root))
    assert data.train.images.shape == (10, 3, 32, 32)
    assert data.train.labels.tolist() == list(range(10))
    assert data.test.labels.tolist() == [0, 1]
    for i, image in enumerate([*data.train.images, *data.test.images]):
        for colour in range(3):
            assert bytes(image[colour].numpy().ravel()) == plane(i + colour)
    assert int(data.train.images[4, 1, 7, 3]) == 4 + 1 + 7 + 2 * 3
    assert data.classes == tuple(f"class {i}" for i in range(10))
    assert data.name == "CIFAR-10"
    content = (root / "cifar-10-binary.tar.gz").read_bytes()
    assert data.facts["sha256"] == {"cifar-10-binary.tar.gz": hashlib.sha256(content).hexdigest()}
    assert (data.facts["train"], data.facts["test"], data.facts["shape"]) == (10, 2, [3, 32, 32])


def test_cifar10_batches_keep_their_order_whatever_that_of_the_archive(
    small_cifar10: Callable[[dict[str, bytes]], Path],
) -> None:
    files = cifar10_files()
    first = grey_levels(cifar10(small_cifar10(files)))
    assert grey_levels(cifar10(small_cifar10(dict(reversed(files.items()))))) == first


def test_an_archive_laid_out_otherwise_is_refused(small_cifar10: Callable[[dict[str, bytes]], Path]) -> None:
    files = cifar10_files()
    del files["cifar-10-batches-bin/data_batch_3.bin"]
    with pytest.raises(ValueError, match=r"archive must hold cifar-10-batches-bin/data_batch_3.bin, got '"):
        cifar10(small_cifar10(files))
    for change in (b"\0", b"\0" * 3073):
        files = cifar10_files()
        files["cifar-10-batches-bin/test_batch.bin"] += change
        with pytest.raises(
            ValueError, match="must hold 2 records of 3073 bytes in cifar-10-batches-bin/test_batch"
        ):
            cifar10(small_cifar10(files))
    files = cifar10_files()
    files["cifar-10-batches-bin/readme.html"] = b"\0" * (1 << 21)
    with pytest.raises(ValueError, match="archive must unpack to at most"):
        cifar10(small_cifar10(files))
    files = cifar10_files()
    files["cifar-10-batches-bin/batches.meta.txt"] = b"only one\n"
    with pytest.raises(ValueError, match="labels below the number of classes, 1, got 9"):
        cifar10(small_cifar10(files))


def test_cifar100_takes_the_fine_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cifar-100-binary.tar.gz"
    records = [bytes([i, 90 + i]) + plane(i) * 3 for i in range(5)]
    files = {
        "cifar-100-binary/coarse_label_names.txt": b"coarse\n" * 20,
        "cifar-100-binary/fine_label_names.txt": "".join(f"fine {i}\n" for i in range(100)).encode(),
        "cifar-100-binary/train.bin": b"".join(records[:3]),
        "cifar-100-binary/test.bin": b"".join(records[3:]),
    }
    tar_gz(path, files)
    form = dataclasses.replace(cifar_module.CIFAR100, file=official(path), num_train=3, num_test=2)
    monkeypatch.setattr(cifar_module, "CIFAR100", form)
    data = cifar100(tmp_path)
    assert data.train.labels.tolist() == [90, 91, 92]
    assert data.test.labels.tolist() == [93, 94]
    assert data.classes[93] == "fine 93"
    assert bytes(data.test.images[0, 2].numpy().ravel()) == plane(3)
    assert data.name == "CIFAR-100"


# SVHN


@pytest.fixture
def small_svhn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write content as the two files; three training pictures and two test pictures are expected."""

    def write(train: dict[str, object] | bytes, test: dict[str, object]) -> Path:
        for name, part, count in (("TRAIN", train, 3), ("TEST", test, 2)):
            path = tmp_path / f"{name.lower()}_32x32.mat"
            path.write_bytes(part) if isinstance(part, bytes) else savemat(path, part)
            monkeypatch.setattr(svhn_module, name, svhn_module.SvhnPart(file=official(path), count=count))
        return tmp_path

    return write


def svhn_part(labels: list[int]) -> dict[str, object]:
    pixels = np.random.default_rng(len(labels)).integers(0, 256, (32, 32, 3, len(labels)), np.uint8)
    return {"X": pixels, "y": np.array(labels, np.uint8)[:, None]}


def test_svhn_is_transposed_and_its_label_ten_is_the_digit_zero(small_svhn: Callable[..., Path]) -> None:
    train, test = svhn_part([10, 1, 9]), svhn_part([5, 10])
    data = svhn(small_svhn(train, test))
    assert data.train.labels.tolist() == [0, 1, 9]
    assert data.test.labels.tolist() == [5, 0]
    assert data.classes == tuple("0123456789")
    for images, part in ((data.train.images, train), (data.test.images, test)):
        pixels = np.asarray(part["X"])
        for i in range(len(images)):
            for colour in range(3):
                assert np.array_equal(images[i, colour].numpy(), pixels[:, :, colour, i])
    assert sorted(data.facts["sha256"]) == ["test_32x32.mat", "train_32x32.mat"]  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (
            b"MATLAB 5.0 MAT-file, or so it says",
            "file must be a MATLAB file with X and y, got '.*train_32x32.mat'",
        ),
        ({"X": svhn_part([1, 2, 3])["X"]}, "MATLAB file with X and y"),
        (svhn_part([1, 2, 3, 4]), r"X of shape \(32, 32, 3, 3\) and 3 labels from 1 to 10, got X uint8 .*, 4\)"),
        (svhn_part([1, 2, 3]) | {"y": np.array([[1], [2]])}, r"y \(2,\)"),
        (svhn_part([0, 1, 2]), "labels from 1 to 10"),
        (svhn_part([11, 1, 2]), "labels from 1 to 10"),
        (svhn_part([1, 2, 3]) | {"X": np.zeros((32, 32, 3, 3))}, "X float64"),
    ],
)
def test_other_matlab_files_are_refused(
    small_svhn: Callable[..., Path], train: dict[str, object] | bytes, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        svhn(small_svhn(train, svhn_part([1, 2])))


# Fashion-MNIST


def idx(values: np.ndarray) -> bytes:
    header = struct.pack(">HBB", 0, 8, values.ndim) + b"".join(struct.pack(">I", axis) for axis in values.shape)
    return header + values.astype(np.uint8).tobytes()


def fashion_files() -> dict[str, bytes]:
    random = np.random.default_rng(0)
    return {
        "train-images-idx3-ubyte.gz": idx(random.integers(0, 256, (3, 28, 28))),
        "train-labels-idx1-ubyte.gz": idx(np.array([9, 0, 4])),
        "t10k-images-idx3-ubyte.gz": idx(random.integers(0, 256, (2, 28, 28))),
        "t10k-labels-idx1-ubyte.gz": idx(np.array([1, 2])),
    }


@pytest.fixture
def small_fashion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, bytes]], Path]:
    """Write files, by gzip unless they begin with 'raw', and make `fashion_mnist` expect them."""

    def write(files: dict[str, bytes]) -> Path:
        paths = []
        for name, content in files.items():
            paths.append(tmp_path / name)
            paths[-1].write_bytes(content[3:] if content.startswith(b"raw") else gzip.compress(content, mtime=0))
        for part, (images, labels), count in (("TRAIN", paths[:2], 3), ("TEST", paths[2:], 2)):
            expected = fashion_module.FashionPart(images=official(images), labels=official(labels), count=count)
            monkeypatch.setattr(fashion_module, part, expected)
        return tmp_path

    return write


def test_fashion_mnist_is_read_from_idx_files(small_fashion: Callable[[dict[str, bytes]], Path]) -> None:
    files = fashion_files()
    data = fashion_mnist(small_fashion(files))
    assert data.train.images.shape == (3, 1, 28, 28)
    assert data.train.images.numpy().tobytes() == files["train-images-idx3-ubyte.gz"][16:]
    assert data.test.images.numpy().tobytes() == files["t10k-images-idx3-ubyte.gz"][16:]
    assert data.train.labels.tolist() == [9, 0, 4]
    assert data.test.labels.tolist() == [1, 2]
    assert (data.classes[0], data.classes[9], len(data.classes)) == ("T-shirt/top", "Ankle boot", 10)
    assert data.facts["sha256"] == {
        name: hashlib.sha256(gzip.compress(content, mtime=0)).hexdigest() for name, content in files.items()
    }


def damaged_idx() -> dict[str, bytes]:
    good = idx(np.zeros((3, 28, 28)))
    return {
        "header": b"\0\0\x09\x03" + good[4:],
        "axes": idx(np.zeros((3, 28, 27))),
        "count": idx(np.zeros((4, 28, 28))),
        "short": good[:-1],
        "long": good + b"\0",
        "bomb": good + bytes(1 << 24),
        "whole truncated": b"raw" + gzip.compress(good)[:-9],
        "whole foreign": b"raw" + good,
        "whole flipped": b"raw" + gzip.compress(good)[:-8] + b"12345678",
    }


@pytest.mark.parametrize("kind", list(damaged_idx()))
def test_damaged_idx_files_are_named(small_fashion: Callable[[dict[str, bytes]], Path], kind: str) -> None:
    files = fashion_files() | {"train-images-idx3-ubyte.gz": damaged_idx()[kind]}
    rule = (
        "must be whole" if kind.startswith("whole") else r"must be an idx file of bytes with shape \(3, 28, 28\)"
    )
    with pytest.raises(ValueError, match=f"file {rule}.*got '.*train-images-idx3-ubyte.gz'"):
        fashion_mnist(small_fashion(files))
