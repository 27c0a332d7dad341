"""Official files are found, or downloaded from a server on this machine."""

import dataclasses
import hashlib
import itertools
import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from dashtheory.deep.data import cifar as cifar_module
from dashtheory.deep.data import cifar10, fetch
from dashtheory.deep.data.fetch import OfficialFile, obtain
from dashtheory.record import only_one
from tests.deep.official_cases import cifar10_files, official


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
