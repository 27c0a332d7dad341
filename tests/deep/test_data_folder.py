"""Archives, pictures, class folders and their cache."""

import gzip
import hashlib
import io
import json
import lzma
import os
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import torch
from PIL import Image

from dashtheory.deep.data import ImageData, ImageSet, cache_folder, image_folder
from dashtheory.deep.data import cache as cache_module
from dashtheory.deep.data import folder as folder_module
from dashtheory.deep.data import picture as picture_module
from dashtheory.deep.data.archive import read_members
from dashtheory.deep.data.cache import cached
from dashtheory.deep.data.picture import decode_picture

Files = dict[str, bytes]


def png(seed: int, size: tuple[int, ...] = (4, 4, 3)) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels(seed, size)).save(out, "PNG")
    return out.getvalue()


def pixels(seed: int, size: tuple[int, ...] = (4, 4, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


def tar(files: Files, *, members: tuple[tarfile.TarInfo, ...] = ()) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for member in members:
            archive.addfile(member)
    return out.getvalue()


def zipped(files: Files) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


PACKERS: dict[str, Callable[[Files], bytes]] = {
    "tar": tar,
    "tar.gz": lambda files: gzip.compress(tar(files)),
    "tar.xz": lambda files: lzma.compress(tar(files)),
    "zip": zipped,
}


# Archives


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


# Pictures


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def test_png_pixels_are_exact() -> None:
    assert np.array_equal(decode_picture("x", png(0)), pixels(0))
    assert np.array_equal(decode_picture("x", png(0, (3, 5))), pixels(0, (3, 5)))


def test_modes_become_grey_or_colour() -> None:
    colour, grey = Image.fromarray(pixels(0)), Image.fromarray(pixels(0, (4, 4)))
    assert np.array_equal(decode_picture("x", encoded(colour.convert("RGBA"))), pixels(0))
    assert np.array_equal(decode_picture("x", encoded(grey.convert("LA"))), pixels(0, (4, 4)))
    assert set(np.unique(decode_picture("x", encoded(grey.convert("1"))))) == {0, 255}
    palette = colour.convert("P")
    assert np.array_equal(decode_picture("x", encoded(palette)), np.asarray(palette.convert("RGB")))
    assert decode_picture("x", encoded(colour.convert("CMYK"), "JPEG")).shape == (4, 4, 3)
    assert decode_picture("x", encoded(grey, "JPEG")).shape == (4, 4)


def test_jpeg_is_decoded_as_pillow_does() -> None:
    content = encoded(Image.fromarray(pixels(0, (16, 16, 3))), "JPEG")
    assert np.array_equal(decode_picture("x", content), np.asarray(Image.open(io.BytesIO(content))))


def test_resizing_averages_over_all_pixels() -> None:
    board = np.indices((64, 64)).sum(axis=0).astype(np.uint8) % 2 * 255  # a chessboard of single pixels
    small = decode_picture("x", encoded(Image.fromarray(board)), 8)
    assert small.shape == (8, 8)
    assert small[2:-2, 2:-2].tolist() == [[128] * 4] * 4 or np.ptp(small[2:-2, 2:-2]) <= 1
    assert decode_picture("x", png(0, (3, 5, 3)), 7).shape == (7, 7, 3)
    assert np.array_equal(decode_picture("x", png(0), 4), pixels(0))


def test_pictures_that_are_none_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Image.fromarray(pixels(0, (32, 32, 3)))
    header = bytearray(png(0))
    header[25] = 9  # a colour type that does not exist
    bad = {
        "empty": b"",
        "text": b"hello",
        "truncated png": encoded(picture)[:-400],
        "truncated jpeg": encoded(picture, "JPEG")[:-300],
        "gif": encoded(picture, "GIF"),
        "sixteen bits": encoded(Image.fromarray(np.zeros((4, 4), np.uint16))),
        "header": bytes(header),
    }
    for name, content in bad.items():
        with pytest.raises(ValueError, match=f"picture must be a whole PNG or JPEG .* got '{name}'") as raised:
            decode_picture(name, content)
        assert "\n" not in str(raised.value)
    monkeypatch.setattr(picture_module, "_MAX_PIXELS", 1024)
    decode_picture("x", encoded(picture))
    monkeypatch.setattr(picture_module, "_MAX_PIXELS", 1023)
    with pytest.raises(ValueError, match="32 x 32 pixels"):
        decode_picture("x", encoded(picture))


# Class folders


def split_files() -> Files:
    """Two classes; training pictures 0 to 4, test pictures 5 to 7."""
    names = [f"train/cat/{i}.png" for i in range(3)] + ["train/dog/a.PNG", "train/dog/b.png"]
    names += ["test/cat/x.png", "test/cat/y.png", "test/dog/z.png"]
    return {name: png(i) for i, name in enumerate(names)}


def write(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def placed(tmp_path: Path, files: Files, kind: str) -> Path:
    if kind == "folder":
        return write(tmp_path / "pictures", files)
    path = tmp_path / f"pictures.{kind}"
    path.write_bytes(PACKERS[kind](files))
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DASHTHEORY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def same(first: ImageData, second: ImageData) -> bool:
    tensors = [(one.train.images, one.train.labels, one.test.images, one.test.labels) for one in (first, second)]
    notes = [(one.classes, one.name, dict(one.facts)) for one in (first, second)]
    return all(torch.equal(a, b) for a, b in zip(*tensors, strict=True)) and notes[0] == notes[1]


@pytest.mark.parametrize("top", ["", "wrap/", "./", "./wrap/"])
@pytest.mark.parametrize("kind", ["folder", *PACKERS])
def test_train_and_test_folders_are_read_in_the_order_of_their_names(tmp_path: Path, kind: str, top: str) -> None:
    files = {top + name: content for name, content in reversed(split_files().items())}
    files |= {f"{top}readme.txt": b"hello", f"{top}.hidden/x.png": b"bad", f"{top}train/cat/.DS_Store": b"bad"}
    files["__MACOSX/train/cat/0.png"] = b"bad"
    data = image_folder(placed(tmp_path, files, kind))
    assert data.classes == ("cat", "dog")
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1]
    assert data.test.labels.tolist() == [0, 0, 1]
    for i, image in enumerate([*data.train.images, *data.test.images]):
        assert np.array_equal(image.numpy(), pixels(i).transpose(2, 0, 1))
    assert data.name == "pictures"
    assert (data.facts["train"], data.facts["test"], data.facts["shape"]) == (5, 3, [3, 4, 4])


@pytest.mark.parametrize("top", ["", "wrap/"])
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_without_test_folders_a_fixed_share_of_each_class_is_held_out(tmp_path: Path, kind: str, top: str) -> None:
    files = {f"{top}{'ab'[i % 2]}/{i:02}.png": png(i) for i in range(40)}
    path = placed(tmp_path, files, kind)
    data = image_folder(path)
    assert data.test.labels.bincount().tolist() == [4, 4]
    assert data.train.labels.bincount().tolist() == [16, 16]
    found = [bytes(image.numpy()) for image in [*data.train.images, *data.test.images]]
    assert sorted(found) == sorted(bytes(pixels(i).transpose(2, 0, 1).copy()) for i in range(40))
    assert same(data, image_folder(path, cache=tmp_path / "other"))
    assert image_folder(path, test_share=0.5).test.labels.bincount().tolist() == [10, 10]


def test_a_folder_and_its_archive_hold_the_same_data(tmp_path: Path) -> None:
    sets = [image_folder(placed(tmp_path, split_files(), kind)) for kind in ("folder", *PACKERS)]
    assert all(torch.equal(sets[0].train.images, other.train.images) for other in sets)
    assert all(torch.equal(sets[0].test.labels, other.test.labels) for other in sets)


def test_the_hash_of_what_was_read_is_recorded(tmp_path: Path) -> None:
    archive = placed(tmp_path, split_files(), "zip")
    assert image_folder(archive).facts["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    folder = placed(tmp_path, split_files(), "folder")
    first = image_folder(folder).facts["sha256"]
    digest = hashlib.sha256()
    for name in sorted(split_files(), key=PurePosixPath):
        digest.update(name.encode() + b"\0" + hashlib.sha256(split_files()[name]).digest())
    assert first == digest.hexdigest()
    assert image_folder(archive).facts["source"] == archive.name  # no path of a machine


def test_grey_pictures_have_one_channel_unless_one_has_colour(tmp_path: Path) -> None:
    grey = {f"{'ab'[i % 2]}/{i}.png": png(i, (4, 4)) for i in range(4)}
    data = image_folder(write(tmp_path / "grey", grey), test_share=0.5)
    assert data.train.images.shape == (2, 1, 4, 4)
    mixed = grey | {"a/9.png": png(9)}
    data = image_folder(write(tmp_path / "mixed", mixed), test_share=0.5)
    assert data.train.images.shape[1:] == (3, 4, 4)
    images = torch.cat([data.train.images, data.test.images])
    whole = {bytes(image.numpy()) for image in images}
    assert whole >= {bytes(np.stack([pixels(i, (4, 4))] * 3)) for i in range(4)}


def test_pictures_of_several_sizes_are_resized_when_asked(tmp_path: Path) -> None:
    files = split_files() | {"train/dog/b.png": png(4, (6, 8, 3))}
    path = placed(tmp_path, files, "folder")
    with pytest.raises(
        ValueError, match=r"one size, 4 x 4 as 'test/.*', got 6 x 8 in 'train/dog/b.png'. Give size="
    ):
        image_folder(path)
    data = image_folder(path, size=4)
    assert data.train.images.shape == (5, 3, 4, 4)
    assert np.array_equal(data.train.images[0].numpy(), pixels(0).transpose(2, 0, 1))
    shrunk = Image.fromarray(pixels(4, (6, 8, 3))).resize((4, 4), Image.Resampling.BILINEAR)
    assert np.array_equal(data.train.images[4].numpy(), np.asarray(shrunk).transpose(2, 0, 1))


@pytest.mark.parametrize("kind", ["folder", "tar.xz"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train/cat/notes.txt": b"x"}, "path must hold <class>/<picture>, or .*got 'train/cat/notes.txt' in"),
        ({"loose.png": png(0)}, r"path must hold <class>/<picture>, or .*got 'loose.png' in"),
        ({"train/loose.png": png(0)}, r"got 'train/loose.png' in"),
        ({"val/cat/0.png": png(0)}, "path must hold <class>/<picture>, or .*got "),
        ({"train/cat/deep/0.png": png(0)}, "got 'train/cat/deep/0.png' in"),
        ({"train/cow/0.png": png(0)}, "path must hold every class in 'test', got none of 'cow'"),
        ({"test/cow/0.png": png(0)}, "path must hold every class in 'train', got none of 'cow'"),
        ({"train/cat/bad.png": b"x"}, "picture must be a whole PNG or JPEG .*got 'train/cat/bad.png'"),
        ({"train/cat/bad.jpg": png(0)[:-45]}, "picture must be .*got 'train/cat/bad.jpg'"),
    ],
)
def test_what_lies_in_the_wrong_place_is_named(tmp_path: Path, kind: str, change: Files, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        image_folder(placed(tmp_path, split_files() | change, kind))


def test_a_part_or_nothing_at_all_is_named(tmp_path: Path) -> None:
    only = {name: content for name, content in split_files().items() if name.startswith("train")}
    with pytest.raises(ValueError, match="path must hold every class in 'test', got none of 'cat'"):
        image_folder(placed(tmp_path, only, "zip"))
    with pytest.raises(
        ValueError, match=r"path must hold PNG or JPEG pictures in class folders, got '.*' without"
    ):
        image_folder(placed(tmp_path, {"readme": b"x"}, "tar"))
    with pytest.raises(ValueError, match="path must exist, got '/no/such'"):
        image_folder("/no/such")
    with pytest.raises(ValueError, match=r"test_share must be left out if there are train and test, got 0.5"):
        image_folder(placed(tmp_path, split_files(), "folder"), test_share=0.5)
    for bad in (0, 1.5, True):
        with pytest.raises(ValueError, match="size must be an integer >= 1"):
            image_folder(tmp_path, size=bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="test_share must be a number in"):
        image_folder(tmp_path, test_share=0.0)


def test_no_more_is_read_than_allowed(tmp_path: Path) -> None:
    files = split_files()
    in_files, in_pixels = sum(map(len, files.values())), 8 * 48
    folder = placed(tmp_path, files, "folder")
    assert image_folder(folder, max_bytes=in_files)
    with pytest.raises(ValueError, match=f"path must hold at most {in_files - 1:,} bytes, got '.*' with more"):
        image_folder(folder, max_bytes=in_files - 1)
    # compressed well, pixels are more than the files
    flat = {name: encoded(Image.new("L", (64, 64))) for name in files}
    folder = write(tmp_path / "flat", flat)
    assert sum(map(len, flat.values())) < 8 * 4096
    assert image_folder(folder, max_bytes=8 * 4096)
    with pytest.raises(ValueError, match="path must hold at most 32,767 bytes of pixels"):
        image_folder(folder, max_bytes=8 * 4096 - 1)
    assert in_pixels < in_files


def test_links_in_a_folder_are_followed_but_not_forever(tmp_path: Path) -> None:
    folder = placed(tmp_path, split_files(), "folder")
    whole = image_folder(folder)
    (tmp_path / "elsewhere").mkdir()
    (folder / "train" / "cat").rename(tmp_path / "elsewhere" / "cat")
    (folder / "train" / "cat").symlink_to(tmp_path / "elsewhere" / "cat")
    assert same(image_folder(folder), whole)
    (folder / "train" / "again").symlink_to(folder)
    with pytest.raises(ValueError, match="path must hold <class>/<picture>"):
        image_folder(folder)


def test_broken_links_and_pipes_in_a_folder_are_named(tmp_path: Path) -> None:
    folder = placed(tmp_path, split_files(), "folder")
    (folder / "train" / "cat" / "gone.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(
        ValueError, match=r"path must hold files that can be read, got '.*gone.png' \(No such file"
    ):
        image_folder(folder)
    (folder / "train" / "cat" / "gone.png").unlink()
    os.mkfifo(folder / "train" / "cat" / "pipe.png")
    with pytest.raises(ValueError, match=r"path must hold plain files and folders, got '.*pipe.png'"):
        image_folder(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_forbidden_folder_is_named(tmp_path: Path) -> None:
    folder = placed(tmp_path, split_files(), "folder")
    (folder / "train" / "cat").chmod(0)
    try:
        with pytest.raises(ValueError, match=r"path must hold files that can be read, got '.*\(Permission denied"):
            image_folder(folder)
    finally:
        (folder / "train" / "cat").chmod(0o700)


def test_many_batches_keep_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [(PurePosixPath(f"{i}"), png(i, (2, 2))) for i in range(100)]
    monkeypatch.setattr(folder_module, "_BATCH", 3)
    for threads in (1, 3):
        monkeypatch.setattr(folder_module, "usable_cores", lambda threads=threads: threads)
        found = list(folder_module._decoded(files, None))
        assert [str(one.path) for one in found] == [str(i) for i in range(100)]
        assert all(np.array_equal(one.pixels, pixels(i, (2, 2))) for i, one in enumerate(found))
        assert found[7].sha256 == hashlib.sha256(files[7][1]).digest()


# Cache


def toy(level: int = 0) -> ImageData:
    images = torch.full((3, 1, 2, 2), level, dtype=torch.uint8)
    train = ImageSet(images, torch.tensor([0, 1, 1]))
    test = ImageSet(images[:2] + 1, torch.tensor([1, 0]))
    facts = {"train": 3, "test": 2, "shape": [1, 2, 2], "source": "here", "sha256": {"a": "b"}}
    return ImageData(train, test, ("é", "b"), "toy", facts)


class Builder:
    """Builds toy data and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> ImageData:
        self.calls += 1
        return toy(self.calls)

    def get(self, source: str = "a", state: object = 1, cache: Path | None = None) -> ImageData:
        return cached(self, source={"path": source}, state=state, cache=cache)


def test_the_second_reading_comes_from_the_cache(cache: Path) -> None:
    build = Builder()
    assert same(build.get(), build.get())
    assert build.calls == 1
    assert len(list(cache.iterdir())) == 1
    again = build.get()
    again.train.images.zero_()  # the caller owns what it gets
    assert same(build.get(), toy(1))


def test_another_source_state_or_format_is_built_anew(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = Builder()
    build.get("a")
    build.get("b")
    assert build.calls == 2
    assert len(list(cache.iterdir())) == 2
    assert same(build.get("a", state=2), toy(3))
    assert len(list(cache.iterdir())) == 2  # the outdated file was replaced
    assert same(build.get("a", state=2), toy(3))
    monkeypatch.setattr(cache_module, "FORMAT", 0)
    assert same(build.get("a", state=2), toy(4))


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "array", "folder of others"])
def test_a_damaged_cache_file_is_built_anew(cache: Path, damage: str) -> None:
    build = Builder()
    build.get()
    (path,) = cache.iterdir()
    if damage == "array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif damage == "folder of others":
        with path.open("wb") as file:
            np.savez(file, note=np.zeros(2, np.uint8))
    else:
        path.write_bytes({"truncated": path.read_bytes()[:-50], "empty": b"", "text": b"hello"}[damage])
    assert same(build.get(), toy(2))
    assert same(build.get(), toy(2))
    assert list(cache.iterdir()) == [path]


def test_every_flipped_bit_that_matters_is_noticed(cache: Path) -> None:
    build = Builder()
    first = build.get()
    (path,) = cache.iterdir()
    good = path.read_bytes()
    for place in range(0, len(good), 11):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1 << place % 8]) + good[place + 1 :])
        build.calls = 0
        assert same(build.get(), first), place


def test_a_cache_file_of_other_counts_is_built_anew(cache: Path) -> None:
    build = Builder()
    build.get()
    (path,) = cache.iterdir()
    with np.load(path) as content:
        arrays = dict(content)
    arrays |= {"train_images": arrays["train_images"][:2], "train_labels": arrays["train_labels"][:2]}
    with path.open("wb") as file:
        np.savez(file, **arrays)
    build.get()
    assert build.calls == 2


def test_pickles_are_never_loaded(cache: Path, tmp_path: Path) -> None:
    class Bad:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "proof",))

    build = Builder()
    build.get()
    (path,) = cache.iterdir()
    with np.load(path) as content:
        arrays = dict(content)
    for name in arrays:
        with path.open("wb") as file:
            np.savez(file, **(arrays | {name: np.array([Bad()], dtype=object)}))
        build.get()
    assert not (tmp_path / "proof").exists()
    assert build.calls == 1 + len(arrays)


def test_the_cache_lies_where_argument_environment_or_home_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder(tmp_path / "x") == tmp_path / "x"
    assert cache_folder("~/y") == tmp_path / "home" / "y"
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.setenv("DASHTHEORY_CACHE", "~/z")
    assert cache_folder() == tmp_path / "home" / "z"
    for value in ("", None):
        monkeypatch.setenv("DASHTHEORY_CACHE", value) if value is not None else monkeypatch.delenv(
            "DASHTHEORY_CACHE"
        )
        assert cache_folder() == tmp_path / "home" / ".cache" / "dashtheory"
    Builder().get(cache=tmp_path / "x")
    assert len(list((tmp_path / "x").iterdir())) == 1


def test_a_cache_that_cannot_be_written_is_named_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    build = Builder()
    with pytest.raises(ValueError, match=r"cache must be a folder that can be written, got '.*/file/x'"):
        build.get(cache=tmp_path / "file" / "x")
    assert build.calls == 0


def test_a_full_disk_leaves_nothing_and_is_one_line(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def savez(file: io.BufferedWriter, **arrays: object) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", savez)
    with pytest.raises(ValueError, match=r"cache must have room for the data, got '.*cache' \(No space left"):
        Builder().get()
    assert not list(cache.iterdir())


def test_an_error_while_building_leaves_nothing(cache: Path) -> None:
    def build() -> ImageData:
        raise ValueError("no data")

    with pytest.raises(ValueError, match="no data"):
        cached(build, source={}, state=0)
    assert not list(cache.iterdir())


def test_what_killed_writers_left_is_removed_but_not_what_others_write_now(cache: Path) -> None:
    build = Builder()
    build.get()
    (path,) = cache.iterdir()
    old, new, foreign = (
        cache / f".{name}.npz" for name in (f"{path.stem}-old", f"{path.stem}-new", "images-x-old")
    )
    for one in (old, new, foreign):
        one.write_bytes(b"half")
    for one in (old, foreign):
        os.utime(one, (time.time() - 4_000,) * 2)
    build.get(state=2)
    assert sorted(cache.iterdir()) == sorted([path, new, foreign])


OTHER_PROCESS = """
import hashlib, sys
from dashtheory.deep.data import image_folder
print("ready", flush=True)
sys.stdin.readline()
print(hashlib.sha256(image_folder(sys.argv[1]).train.images.numpy().tobytes()).hexdigest())
"""


def test_two_processes_may_build_at_once(tmp_path: Path, cache: Path) -> None:
    path = placed(tmp_path, split_files(), "tar.gz")
    command = [sys.executable, "-c", OTHER_PROCESS, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        assert other.stdin is not None
        other.stdin.write("go\n")
        other.stdin.flush()
        first = image_folder(path)
        told = other.stdout.read().strip()
    assert other.returncode == 0
    assert told == hashlib.sha256(first.train.images.numpy().tobytes()).hexdigest()
    assert same(image_folder(path), first)
    assert [name.suffix for name in cache.iterdir()] == [".npz"]
    assert not [name for name in os.listdir(cache) if name.startswith(".")]


def test_a_writer_between_leaves_the_last_file_whole(cache: Path) -> None:
    inner, outer = Builder(), Builder()

    def build() -> ImageData:
        assert same(inner.get(), toy(1))  # another process builds the same meanwhile
        return outer()

    assert same(cached(build, source={"path": "a"}, state=1), toy(1))
    assert len(list(cache.iterdir())) == 1
    assert same(inner.get(), toy(1))
    assert inner.calls == 1


@pytest.mark.parametrize("kind", ["folder", "tar.gz"])
def test_decoding_happens_once_until_something_changes(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []

    def counting(name: str, content: bytes, size: int | None = None) -> object:
        decoded.append(name)
        return decode_picture(name, content, size)

    monkeypatch.setattr(folder_module, "decode_picture", counting)
    path = placed(tmp_path, split_files(), kind)
    first = image_folder(path)
    assert len(decoded) == 8
    assert same(image_folder(os.path.relpath(path)), first)
    assert len(decoded) == 8
    json.dumps(dict(first.facts))
    # the same size and time, other content: the time of change tells
    changed = split_files() | {"train/cat/0.png": png(99)}
    target = path / "train/cat/0.png" if kind == "folder" else path
    before = target.stat()
    placed(tmp_path, changed, kind)
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = image_folder(path)
    assert len(decoded) == 16
    assert np.array_equal(second.train.images[0].numpy(), pixels(99).transpose(2, 0, 1))
    assert second.facts["sha256"] != first.facts["sha256"]
    image_folder(path, size=4)
    image_folder(path, name="other")
    assert len(decoded) == 32
    if kind == "folder":
        (path / "train" / "cat" / "0.png").unlink()
        assert len(image_folder(path).train) == 4
