"""Archives: what is read of them, and what is refused, damaged or too much."""

import gzip
import io
import lzma
import stat
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dashtheory.deep.data.archive import read_members
from tests.deep.data_cases import PACKERS, tar, zipped


def members(path: Path, **bounds: int) -> dict[str, bytes]:
    return {str(name): content for name, content in read_members(path, **({"max_bytes": 1 << 20} | bounds))}


def packed(folder: Path, content: bytes) -> Path:
    path = folder / "archive"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", list(PACKERS))
def test_archives_give_their_files_whatever_their_name_says(tmp_path: Path, kind: str) -> None:
    files = {"a/b.txt": b"one", "c": b"", "./d/e": bytes(range(256)) * 300}
    found = members(packed(tmp_path, PACKERS[kind](files)))
    assert found == {name.removeprefix("./"): content for name, content in files.items()}
    assert list(found) == ["a/b.txt", "c", "d/e"]


def test_folders_in_archives_are_no_files(tmp_path: Path) -> None:
    folder = tarfile.TarInfo("a")
    folder.type = tarfile.DIRTYPE
    assert members(packed(tmp_path, tar({"a/b": b"x"}, members=(folder,)))) == {"a/b": b"x"}
    assert members(packed(tmp_path, zipped({"a/": b"", "a/b": b"x"}))) == {"a/b": b"x"}


@pytest.mark.parametrize("kind", list(PACKERS))
@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "a/..", "..\\x", "C:/x", "C:x"])
def test_paths_out_of_the_archive_are_refused(tmp_path: Path, kind: str, name: str) -> None:
    path = packed(tmp_path, PACKERS[kind]({"good": b"x", name: b"x"}))
    with pytest.raises(ValueError, match=r"archive must hold relative paths without '..', got ") as raised:
        members(path)
    assert repr(name) in str(raised.value)


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_in_tars_are_refused(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("odd")
    member.type, member.linkname = kind, "good"
    path = packed(tmp_path, tar({"good": b"x"}, members=(member,)))
    with pytest.raises(ValueError, match=r"archive must hold plain files and folders, .* got 'odd' in"):
        members(path)


def test_sparse_files_in_tars_are_refused(tmp_path: Path) -> None:
    header = tarfile.TarInfo("big")
    header.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "999999"}
    header.size = 512
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(header, io.BytesIO(b"1\n0\n1\n".ljust(512, b"\0")))
    with pytest.raises(ValueError, match="got 'big' in"):
        members(packed(tmp_path, out.getvalue()))


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_in_zips_are_refused(tmp_path: Path, mode: int) -> None:
    info = zipfile.ZipInfo("odd")
    info.external_attr = (mode | 0o777) << 16
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("good", b"x")
        archive.writestr(info, b"good")
    with pytest.raises(ValueError, match=r"archive must hold plain files and folders, .* got 'odd' in"):
        members(packed(tmp_path, out.getvalue()))


def test_encrypted_and_unknown_zips_are_refused(tmp_path: Path) -> None:
    content = bytearray(zipped({"secret": b"x" * 100}))
    place = content.index(b"PK\x01\x02")
    for offset, value, message in ((8, 1, "passwords, got 'secret'"), (10, 99, "must be readable .*got 'secret'")):
        changed = content.copy()
        changed[place + offset] = value
        with pytest.raises(ValueError, match=message):
            members(packed(tmp_path, bytes(changed)))


@pytest.mark.parametrize("kind", list(PACKERS))
def test_a_file_twice_is_refused(tmp_path: Path, kind: str) -> None:
    path = packed(tmp_path, PACKERS[kind]({"a/b": b"1", "a//b": b"2"}))
    with pytest.raises(ValueError, match="archive must hold each file once, got 'a/b' twice in"):
        members(path)


@pytest.mark.parametrize("kind", list(PACKERS))
def test_no_more_is_unpacked_than_allowed(tmp_path: Path, kind: str) -> None:
    path = packed(tmp_path, PACKERS[kind]({"a": bytes(30_000), "b": bytes(30_000)}))
    assert len(members(path, max_bytes=100_000)) == 2
    with pytest.raises(ValueError, match=f"archive must unpack to at most 40,000 bytes, got '{path}' with more"):
        members(path, max_bytes=40_000)
    assert len(members(path, max_member=30_000)) == 2
    with pytest.raises(ValueError, match="must unpack to at most 29,999 bytes in 'a'"):
        members(path, max_member=29_999)


def test_a_zip_whose_directory_reads_as_a_newer_format_is_refused(tmp_path: Path) -> None:
    content = bytearray(zipped({"a": b"x"}))
    content[content.index(b"PK\1\2") + 6] = 148  # the version needed, of the only entry
    with pytest.raises(ValueError, match="archive must"):
        members(packed(tmp_path, bytes(content)))


@pytest.mark.parametrize("kind", ["tar.gz", "tar.xz", "zip"])
def test_bombs_do_not_fill_the_memory(tmp_path: Path, kind: str) -> None:
    path = packed(tmp_path, PACKERS[kind]({"bomb": bytes(1 << 24)}))
    assert path.stat().st_size < 1 << 17
    given: list[bytes] = []
    with pytest.raises(ValueError, match="must unpack to at most"):
        given.extend(content for _, content in read_members(path, max_bytes=1 << 20))
    assert not given


def test_a_long_header_counts_too(tmp_path: Path) -> None:
    out = io.BytesIO()
    header = tarfile.TarInfo("x")
    header.pax_headers = {"comment": "x" * (1 << 21)}
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(header)
    with pytest.raises(ValueError, match="must unpack to at most"):
        members(packed(tmp_path, gzip.compress(out.getvalue())))


@pytest.mark.parametrize("kind", list(PACKERS))
@pytest.mark.parametrize("share", [0.05, 0.5, 0.7, 0.98])
def test_truncated_archives_are_named(tmp_path: Path, kind: str, share: float) -> None:
    files = {f"{i}": np.random.default_rng(i).bytes(3_000) for i in range(20)}
    content = PACKERS[kind](files)
    if kind == "tar":  # 20 members of 3,584 bytes; tarfile pads the rest
        content = content[: 20 * 3_584 + 512]
    path = packed(tmp_path, content[: int(share * len(content))])
    with pytest.raises(ValueError, match=f"archive must be whole, got '{path}'") as raised:
        members(path)
    assert "\n" not in str(raised.value)


def test_a_tar_cut_between_two_files_is_not_whole(tmp_path: Path) -> None:
    content = tar({"a": b"1" * 512, "b": b"2" * 512})
    for compress in (bytes, gzip.compress, lzma.compress):
        assert len(members(packed(tmp_path, compress(content[:2560])))) == 2
        with pytest.raises(ValueError, match=r"archive must be whole, .*no end mark"):
            members(packed(tmp_path, compress(content[:2048])))
        with pytest.raises(ValueError, match=r"archive must be whole, .*no end mark"):
            members(packed(tmp_path, compress(content[:1024])))


@pytest.mark.parametrize("cut", [0, 4])
def test_the_checksum_at_the_end_is_read_even_if_the_files_end_before_it(tmp_path: Path, cut: int) -> None:
    content = tar({"a": np.random.default_rng(0).bytes(320_000)})
    assert len(content) == 5 << 16  # whole blocks: the tar is known in full before the trailer of gzip is read
    packed_well = gzip.compress(content)
    assert len(members(packed(tmp_path, packed_well))) == 1
    damaged = packed_well[:-8] + b"12345678"
    with pytest.raises(ValueError, match="archive must be whole"):
        members(packed(tmp_path, damaged[: len(damaged) - cut]))


def test_zeros_after_the_end_mark_do_no_harm(tmp_path: Path) -> None:
    content = tar({"a": b"x" * 64_000})[: 1 << 16]
    assert content[-1024:] == bytes(1024)
    for extra in (0, 100, 512):
        assert len(members(packed(tmp_path, content + bytes(extra)))) == 1


@pytest.mark.parametrize("kind", ["tar.gz", "tar.xz", "zip"])
def test_flipped_bits_are_noticed(tmp_path: Path, kind: str) -> None:
    content = bytearray(PACKERS[kind]({"a": np.random.default_rng(0).bytes(5_000)}))
    content[2_500] ^= 1
    with pytest.raises(ValueError, match="archive must be whole"):
        members(packed(tmp_path, bytes(content)))


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\x03\x04 and no more", b"hello" * 999, b"\x1f\x8b"])
def test_other_files_are_no_archives(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ValueError, match="archive must be whole"):
        members(packed(tmp_path, content))


def test_an_archive_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"archive must be a file that can be read, got '.*' \(No such file"):
        members(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"archive must be a file that can be read, got '.*' \(Is a directory"):
        members(tmp_path)
