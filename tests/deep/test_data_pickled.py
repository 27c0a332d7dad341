"""CIFAR as torchvision keeps it: pickles of Python 2, written byte by byte here, and read only if official."""

import dataclasses
import hashlib
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dashtheory.deep.data import cifar as cifar_module
from dashtheory.deep.data import cifar10, cifar10_available, cifar10_name, cifar100, find_data
from dashtheory.deep.data.cifar import CIFAR10, CIFAR100, CifarFormat
from dashtheory.deep.data.images import ImageData
from tests.deep.official_cases import cifar10_files, tar_gz

Value = str | int | list[int] | list[str] | np.ndarray[Any, np.dtype[np.uint8]]


def py2(value: object) -> bytes:
    """A value as Python 2 pickled it: texts are bytes."""
    if isinstance(value, str):
        raw = value.encode("latin1")
        return b"T" + struct.pack("<i", len(raw)) + raw
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(py2, value)) + b"e"
    assert isinstance(value, np.ndarray)
    kind = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    shape = b"(" + b"".join(map(py2, value.shape)) + b"t"
    return empty + b"(K\x01" + shape + kind + b"\x89" + py2(value.tobytes().decode("latin1")) + b"tb"


def pickled(values: dict[str, Value]) -> bytes:
    return b"\x80\x02}(" + b"".join(py2(key) + py2(value) for key, value in values.items()) + b"u."


def batch(label_key: str, start: int, count: int) -> bytes:
    rows = np.random.default_rng(start).integers(0, 256, (count, 3072), np.uint8)
    names = [f"{i}.png" for i in range(count)]
    return pickled({"data": rows, label_key: [(start + i) % 10 for i in range(count)], "filenames": names})


def files_of(form: CifarFormat, count: int = 2) -> dict[str, bytes]:
    """Small files of its pickled form; the file of rank k has `count` pictures of classes from k."""
    named = {**form.pickled.train, **form.pickled.test}
    found = {name: batch(form.pickled.labels, rank, count) for rank, name in enumerate(named)}
    (meta,) = form.pickled.meta
    return found | {meta: pickled({form.pickled.classes: [f"class {i}" for i in range(10)]})}


def expecting(form: CifarFormat, files: dict[str, bytes]) -> CifarFormat:
    """The form under which these are the official files."""

    def of(names: object) -> dict[str, str]:
        return {name: hashlib.md5(files[name]).hexdigest() for name in names}  # type: ignore[attr-defined]

    old = form.pickled
    new = dataclasses.replace(old, train=of(old.train), test=of(old.test), meta=of(old.meta))
    return dataclasses.replace(form, pickled=new, num_train=2 * len(old.train), num_test=2)


def archive(folder: Path, form: CifarFormat, files: dict[str, bytes]) -> Path:
    path = folder / form.pickled.archive
    tar_gz(path, {f"{form.pickled.folder}/{name}": content for name, content in files.items()})
    return path


def unpacked(folder: Path, form: CifarFormat, files: dict[str, bytes]) -> Path:
    path = folder / form.pickled.folder
    path.mkdir()
    for name, content in files.items():
        (path / name).write_bytes(content)
    return path


@pytest.fixture
def official(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Small files that `cifar10` takes for the official ones."""
    files = files_of(CIFAR10)
    monkeypatch.setattr(cifar_module, "CIFAR10", expecting(CIFAR10, files))
    return files


def test_names_and_checksums_are_those_that_torchvision_publishes() -> None:
    assert (CIFAR10.pickled.archive, CIFAR10.pickled.folder) == ("cifar-10-python.tar.gz", "cifar-10-batches-py")
    assert (CIFAR100.pickled.archive, CIFAR100.pickled.folder) == ("cifar-100-python.tar.gz", "cifar-100-python")
    assert list(CIFAR10.pickled.train) == [f"data_batch_{i}" for i in range(1, 6)]
    all_files = {**CIFAR10.pickled.files, **CIFAR100.pickled.files}
    listed = "".join(f"{name} {md5}\n" for name, md5 in sorted(all_files.items()))
    assert (
        hashlib.sha256(listed.encode()).hexdigest()
        == "484dda57b3f37ef861bc63649ea80d0c1d9aac3319281d056c6a5d26d46f1c57"
    )


def test_files_written_here_are_what_python_reads_as_those_of_python_2() -> None:
    read = pickle.loads(batch("labels", 3, 2), encoding="latin1")
    assert read["labels"] == [3, 4]
    assert read["data"].dtype == np.uint8
    assert read["data"].shape == (2, 3072)


@pytest.mark.parametrize("lay", [archive, unpacked])
@pytest.mark.parametrize("point", ["root", "itself", "name", "variable"])
def test_all_forms_give_the_pictures_in_order(
    lay: Callable[..., Path],
    point: str,
    official: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = lay(tmp_path, CIFAR10, official)
    monkeypatch.setenv("DASHTHEORY_CIFAR10", str(tmp_path))
    reading: dict[str, Callable[[], ImageData]] = {
        "root": lambda: cifar10(tmp_path),
        "itself": lambda: cifar10(place),
        "name": lambda: find_data(f"cifar10:{tmp_path}"),
        "variable": lambda: find_data("cifar10"),
    }
    data = reading[point]()
    rows = [np.random.default_rng(start).integers(0, 256, (2, 3072), np.uint8) for start in range(6)]
    assert torch.equal(data.train.images.flatten(1), torch.from_numpy(np.concatenate(rows[:5])))
    assert torch.equal(data.test.images.flatten(1), torch.from_numpy(rows[5]))
    assert data.train.images.shape == (10, 3, 32, 32)
    assert data.train.labels.tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5]
    assert data.test.labels.tolist() == [5, 6]
    assert data.classes == tuple(f"class {i}" for i in range(10))
    assert data.name == cifar10_name() == "CIFAR-10"
    assert cifar10_available()
    content = {place.name: place.read_bytes()} if place.is_file() else official
    assert data.facts["sha256"] == {name: hashlib.sha256(one).hexdigest() for name, one in content.items()}


def test_cifar100_takes_the_fine_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = files_of(CIFAR100)
    monkeypatch.setattr(cifar_module, "CIFAR100", expecting(CIFAR100, files))
    archive(tmp_path, CIFAR100, files)
    data = cifar100(tmp_path)
    assert (data.train.labels.tolist(), data.test.labels.tolist()) == ([0, 1], [1, 2])


def test_the_binary_archive_goes_before(
    official: dict[str, bytes], small_cifar10: Callable[[dict[str, bytes]], Path]
) -> None:
    root = small_cifar10(cifar10_files())
    archive(root, CIFAR10, official)
    for place in (root, root / CIFAR10.file.name):
        assert list(cifar10(place).facts["sha256"]) == [CIFAR10.file.name]  # type: ignore[call-overload]


class Evil:
    """A pickle that runs code when it is read."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("it ran",)


@pytest.mark.parametrize("lay", [archive, unpacked])
def test_another_file_is_not_unpickled(
    lay: Callable[..., Path], official: dict[str, bytes], tmp_path: Path
) -> None:
    lay(tmp_path, CIFAR10, official | {"data_batch_3": pickle.dumps(Evil())})
    with pytest.raises(
        ValueError, match=r"^file must be the official 'data_batch_3' \(md5 .*Get the official files"
    ):
        cifar10(tmp_path)


@pytest.mark.parametrize("content", [pickle.dumps(Evil()), b"\x80\x02cdashtheory\nrun\n."])
def test_even_with_the_right_checksum_nothing_but_arrays_is_made(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = files_of(CIFAR10) | {"test_batch": content}
    monkeypatch.setattr(cifar_module, "CIFAR10", expecting(CIFAR10, files))
    archive(tmp_path, CIFAR10, files)
    with pytest.raises(ValueError, match="pickle must hold plain arrays, got "):
        cifar10(tmp_path)


@pytest.mark.parametrize("lay", [archive, unpacked])
def test_a_missing_file_is_named(lay: Callable[..., Path], official: dict[str, bytes], tmp_path: Path) -> None:
    del official["data_batch_2"]
    lay(tmp_path, CIFAR10, official)
    with pytest.raises(ValueError, match="file must be there: cifar-10-batches-py/data_batch_2, got '"):
        cifar10(tmp_path)


def test_a_damaged_archive_is_one_line(official: dict[str, bytes], tmp_path: Path) -> None:
    path = archive(tmp_path, CIFAR10, official)
    whole = path.read_bytes()
    for broken in (whole[: len(whole) // 2], b"", b"<html>404 Not Found</html>"):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=r"^archive must be whole, got .*Get it again"):
            cifar10(tmp_path)
    assert not tarfile.is_tarfile(path)


def test_unpacked_binaries_are_told_from_the_archive(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-bin").mkdir()
    with pytest.raises(
        ValueError, match=r"'cifar-10-binary.tar.gz' itself, got '.*-bin', unpacked, .*say download"
    ):
        cifar10(tmp_path)


def test_nothing_there_names_the_official_file_and_its_folder(tmp_path: Path) -> None:
    for archive_name in ("cifar-10-python.tar.gz", "cifar-10-binary.tar.gz"):
        with pytest.raises(ValueError, match=f"got '{tmp_path}' without it"):
            cifar10(tmp_path / archive_name)
    with pytest.raises(ValueError, match=r"^root must hold 'cifar-10-binary.tar.gz', got .*say download=True\.$"):
        cifar10(tmp_path)
