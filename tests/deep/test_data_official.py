"""Official files: formats written byte by byte here, and downloads from a server on this machine."""

import dataclasses
import gzip
import hashlib
import io
import itertools
import os
import socket
import struct
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from dashtheory.deep.data import ImageData, cifar10, cifar100, fashion_mnist, fetch, svhn
from dashtheory.deep.data import cifar as cifar_module
from dashtheory.deep.data import fashion as fashion_module
from dashtheory.deep.data import street_view as svhn_module
from dashtheory.deep.data.fetch import OfficialFile, obtain
from dashtheory.record import only_one


def official(path: Path, url: str = "http://unused.invalid/") -> OfficialFile:
    """A description under which the file at `path` is the official one."""
    return OfficialFile(name=path.name, url=url, md5=hashlib.md5(path.read_bytes()).hexdigest())


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


def tar_gz(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def plane(value: int) -> bytes:
    """One colour of a picture: 32 rows of 32, level = value + row + 2 * column (mod 256)."""
    return bytes((value + row + 2 * column) % 256 for row in range(32) for column in range(32))


def cifar10_files() -> dict[str, bytes]:
    """Two pictures per batch; picture i has class i % 10 and planes i, i + 1, i + 2."""
    records = [bytes([i % 10]) + plane(i) + plane(i + 1) + plane(i + 2) for i in range(12)]
    top = "cifar-10-batches-bin/"
    files = {f"{top}data_batch_{i + 1}.bin": b"".join(records[2 * i : 2 * i + 2]) for i in range(5)}
    files[f"{top}test_batch.bin"] = b"".join(records[10:])
    files[f"{top}batches.meta.txt"] = "".join(f"class {i}\n" for i in range(10)).encode() + b"\n"
    files[f"{top}readme.html"] = b"<html>"
    return files


@pytest.fixture
def small_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, bytes]], Path]:
    """Write files as the official archive, and make `cifar10` expect it."""

    def write(files: dict[str, bytes]) -> Path:
        path = tmp_path / "cifar-10-binary.tar.gz"
        tar_gz(path, files)
        form = dataclasses.replace(cifar_module.CIFAR10, file=official(path), num_train=10, num_test=2)
        monkeypatch.setattr(cifar_module, "CIFAR10", form)
        return tmp_path

    return write


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


# Finding and downloading


@dataclass
class Source:
    """A server of one file, its habits, and the ranges it was asked for."""

    content: bytes
    habit: str = ""
    statuses: list[int] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)
    port: int = 0
    break_after: int = 0
    breaks: list[int] = field(default_factory=list)

    def file(self, **changes: object) -> OfficialFile:
        md5 = hashlib.md5(self.content).hexdigest()
        known: dict[str, object] = {
            "name": "some.bin",
            "url": f"http://127.0.0.1:{self.port}/some.bin",
            "md5": md5,
        }
        return OfficialFile(**(known | changes))  # type: ignore[arg-type]


class Handler(BaseHTTPRequestHandler):
    """Answers as its source is in the habit of."""

    source: Source

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        source = self.source
        asked = self.headers.get("Range")
        source.ranges.append(asked)
        if source.statuses:
            status = source.statuses.pop(0)
            if status != 200:
                self.send_error(status)
                return
        content, start = source.content, 0
        if asked and source.habit != "ignores range":
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            start = 7 if source.habit == "other range" else start
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if source.habit == "says gzip":
            self.send_header("Content-Encoding", "gzip")
        if source.habit != "no length":
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:]
        if source.break_after:
            body = body[: source.break_after]
        if source.breaks:
            body = body[: source.breaks.pop(0)]
        self.wfile.write(body)


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    one = Source(np.random.default_rng(0).bytes(1_000_000))
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OneSource", (Handler,), {"source": one}))
    one.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield one
    server.shutdown()
    server.server_close()
    thread.join()


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_in_root_is_taken_if_its_checksum_is_right(tmp_path: Path) -> None:
    (tmp_path / "some.bin").write_bytes(b"content")
    found = obtain(official(tmp_path / "some.bin"), tmp_path)
    assert found.path == tmp_path / "some.bin"
    assert found.sha256 == hashlib.sha256(b"content").hexdigest()


@pytest.mark.parametrize("download", [False, True])
def test_a_foreign_file_in_root_is_named_and_kept(tmp_path: Path, source: Source, download: bool) -> None:
    (tmp_path / "some.bin").write_bytes(b"foreign")
    md5 = hashlib.md5(b"foreign").hexdigest()
    with pytest.raises(ValueError, match=rf"root must hold the official 'some.bin' .*got '.*' \(md5 {md5}\)"):
        obtain(source.file(), tmp_path, download=download)
    assert (tmp_path / "some.bin").read_bytes() == b"foreign"
    assert not source.ranges


def test_nothing_is_downloaded_unasked(tmp_path: Path, source: Source) -> None:
    with pytest.raises(
        ValueError, match=r"got '.*/new' without it. Put it there \(from http://.*say download=True"
    ):
        obtain(source.file(), tmp_path / "new")
    assert not source.ranges
    assert not files_in(tmp_path)


@pytest.mark.parametrize("habit", ["", "ignores range", "no length", "says gzip"])
def test_a_download_arrives_whole_and_leaves_nothing_else(tmp_path: Path, source: Source, habit: str) -> None:
    source.habit = habit
    root = tmp_path / "a" / "b"
    found = obtain(source.file(), root, download=True)
    assert found.path.read_bytes() == source.content
    assert found.sha256 == hashlib.sha256(source.content).hexdigest()
    assert files_in(root) == ["some.bin"]
    assert source.ranges == [None]
    obtain(source.file(), root, download=True)
    assert source.ranges == [None]


def test_a_download_goes_on_where_it_broke_off(tmp_path: Path, source: Source) -> None:
    source.break_after = 400_000
    assert obtain(source.file(), tmp_path, download=True).path.read_bytes() == source.content
    starts = [int((asked or "bytes=0-")[6:-1]) for asked in source.ranges]
    assert len(starts) == 3
    assert starts[0] == 0
    for before, after in itertools.pairwise(starts):
        assert 0 <= before + source.break_after - after < fetch._BLOCK  # no more is lost
    assert files_in(tmp_path) == ["some.bin"]


def test_a_download_that_never_ends_well_is_kept_for_the_next_call(tmp_path: Path, source: Source) -> None:
    source.break_after = 200_000
    with pytest.raises(
        ValueError, match=r"must arrive whole, got .*IncompleteRead.* call again: it goes on"
    ) as raised:
        obtain(source.file(), tmp_path, download=True)
    assert "\n" not in str(raised.value)
    assert files_in(tmp_path) == ["some.bin.part"]
    assert len(source.ranges) == 4
    here = (tmp_path / "some.bin.part").stat().st_size
    assert 4 * (source.break_after - fetch._BLOCK) < here <= 4 * source.break_after
    source.break_after = 0
    assert obtain(source.file(), tmp_path, download=True).path.read_bytes() == source.content
    assert source.ranges[4:] == [f"bytes={here}-"]
    assert files_in(tmp_path) == ["some.bin"]


def test_a_part_is_no_use_to_a_server_that_ignores_ranges(tmp_path: Path, source: Source) -> None:
    source.habit = "ignores range"
    (tmp_path / "some.bin.part").write_bytes(b"x" * 5_000)
    assert obtain(source.file(), tmp_path, download=True).path.read_bytes() == source.content
    assert source.ranges == ["bytes=5000-"]


@pytest.mark.parametrize("broken_off", ["before", "in this call"])
def test_pieces_that_do_not_fit_are_replaced(tmp_path: Path, source: Source, broken_off: str) -> None:
    source.habit = "other range"
    if broken_off == "before":
        (tmp_path / "some.bin.part").write_bytes(source.content[: fetch._BLOCK])
    else:
        source.breaks = [fetch._BLOCK]
    assert obtain(source.file(), tmp_path, download=True).path.read_bytes() == source.content
    assert source.ranges[-2:] == [f"bytes={fetch._BLOCK}-", None]


@pytest.mark.parametrize("length", [10, 1_000_000, 2_000_000])
def test_a_part_of_another_file_is_replaced(tmp_path: Path, source: Source, length: int) -> None:
    (tmp_path / "some.bin.part").write_bytes(b"x" * length)
    assert obtain(source.file(), tmp_path, download=True).path.read_bytes() == source.content
    assert source.ranges == [f"bytes={length}-", None]


def test_a_part_that_was_already_whole_is_taken(tmp_path: Path, source: Source) -> None:
    (tmp_path / "some.bin.part").write_bytes(source.content)
    assert obtain(source.file(), tmp_path, download=True).path.read_bytes() == source.content
    assert source.ranges == ["bytes=1000000-"]


def test_a_wrong_checksum_leaves_no_file(tmp_path: Path, source: Source) -> None:
    with pytest.raises(ValueError, match=f"must have md5 {'0' * 32}, got {source.file().md5}") as raised:
        obtain(source.file(md5="0" * 32), tmp_path, download=True)
    assert "\n" not in str(raised.value)
    assert not tmp_path.exists() or not files_in(tmp_path)


@pytest.mark.parametrize("status", [403, 404, 416])
def test_an_address_that_is_gone_is_named_at_once(tmp_path: Path, source: Source, status: int) -> None:
    source.statuses = [status]
    with pytest.raises(ValueError, match=f"download must find http://.*some.bin, got HTTP status {status}"):
        obtain(source.file(), tmp_path, download=True)
    assert len(source.ranges) == 1


def test_a_server_in_trouble_is_asked_again_a_few_times(tmp_path: Path, source: Source) -> None:
    source.statuses = [503, 500, 502]
    assert obtain(source.file(), tmp_path, download=True).path.read_bytes() == source.content
    (tmp_path / "some.bin").unlink()
    source.statuses = [500] * 9
    with pytest.raises(ValueError, match="must arrive whole, got HTTP status 500"):
        obtain(source.file(), tmp_path, download=True)
    assert len(source.statuses) == 5


def test_a_missing_network_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/some.bin"
        refused = f"download of {url} must arrive whole, got .*refused.* Check the network"
        with pytest.raises(ValueError, match=refused) as raised:
            obtain(OfficialFile(name="some.bin", url=url, md5="0" * 32), tmp_path, download=True)
    assert "\n" not in str(raised.value)


def test_a_connection_that_falls_silent_counts_as_broken(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "_TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/some.bin"
        with pytest.raises(ValueError, match=r"must arrive whole, got .*timed out"):
            obtain(source.file(url=url), tmp_path, download=True)
        assert not tmp_path.exists() or not files_in(tmp_path)

        def answer() -> None:
            for _ in range(4):
                connection = silent.accept()[0]
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
                connections.append(connection)

        connections: list[socket.socket] = []
        for _ in range(4):
            silent.accept()[0].close()
        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ValueError, match=r"must arrive whole, got .*timed out"):
            obtain(source.file(url=url), tmp_path, download=True)
        thread.join()
        for connection in connections:
            connection.close()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_line(tmp_path: Path, source: Source) -> None:
    (tmp_path / "some.bin.part").symlink_to("/dev/full")
    with pytest.raises(ValueError, match=r"root must have room .*some.bin.part' \(No space left on device\)"):
        obtain(source.file(), tmp_path, download=True)


def test_a_folder_that_cannot_be_made_is_named_before_the_download(tmp_path: Path, source: Source) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"root must be a folder that can be written, got '.*/file/root'"):
        obtain(source.file(), tmp_path / "file" / "root", download=True)
    (tmp_path / "some.bin").mkdir()
    with pytest.raises(
        ValueError, match=r"path must be a file that can be read, got '.*some.bin' \(Is a directory"
    ):
        obtain(source.file(), tmp_path, download=True)
    assert not source.ranges


def test_two_downloads_to_one_place_never_mix(tmp_path: Path, source: Source) -> None:
    with (
        only_one(tmp_path / ".some.bin.lock", "root"),
        pytest.raises(ValueError, match="root must be used by one call at a time"),
    ):
        obtain(source.file(), tmp_path, download=True)
    assert not source.ranges


@pytest.mark.parametrize("habit", ["", "no length"])
def test_progress_tells_the_missing_bytes_that_have_come(
    tmp_path: Path, source: Source, habit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.habit, told = habit, []
    update = fetch._Bar.update

    def tell(bar: fetch._Bar, count: int) -> None:
        update(bar, count)
        (task,) = bar.progress.tasks
        told.append((task.completed, task.total))

    monkeypatch.setattr(fetch._Bar, "update", tell)
    (tmp_path / "part").write_bytes(source.content[:400_000])
    fetch._fetch_all(source.file(), tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == source.content
    assert {in_all for _, in_all in told} == {None if habit else 600_000}
    arrived = [here for here, _ in told[:-1]]
    assert arrived == [fetch._BLOCK * number for number in range(1, len(arrived) + 1)]
    assert told[-1][0] == (0 if habit else 600_000)


def test_sources_download_what_they_lack(
    tmp_path: Path,
    source: Source,
    small_cifar10: Callable[[dict[str, bytes]], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    archive = small_cifar10(cifar10_files()) / "cifar-10-binary.tar.gz"
    source.content = archive.read_bytes()
    url = f"http://127.0.0.1:{source.port}/cifar-10-binary.tar.gz"
    monkeypatch.setattr(
        cifar_module, "CIFAR10", dataclasses.replace(cifar_module.CIFAR10, file=official(archive, url))
    )
    assert len(cifar10(tmp_path / "new", download=True).train) == 10
    assert files_in(tmp_path / "new") == ["cifar-10-binary.tar.gz"]
    with pytest.raises(ValueError, match="without it"):
        cifar10(tmp_path / "other")
