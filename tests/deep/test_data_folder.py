"""Class folders, packed or not: order, split, sizes, and what lies in the wrong place."""

import hashlib
import json
import os
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import torch
from PIL import Image

from dashtheory.deep.data import folder as folder_module
from dashtheory.deep.data import image_folder
from dashtheory.deep.data.picture import decode_picture
from tests.deep.data_cases import PACKERS, Files, encoded, pixels, placed, png, same, split_files, write


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
        ValueError, match=r"one size, 4 x 4 as 'test/.*', got 6 x 8 in 'train/dog/b.png'. Say size="
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


def test_an_empty_class_one_class_and_names_that_are_not_utf_8_are_refused(tmp_path: Path) -> None:
    for name, words in (("empty", "must hold pictures in every folder, got 'c' empty"), ("one", "two classes")):
        write(
            tmp_path / name,
            {f"{label}/{i}.png": png(i) for label in ("a", "b")[: 1 + (name == "empty")] for i in (0, 1)},
        )
        if name == "empty":
            (tmp_path / name / "c").mkdir()
        with pytest.raises(ValueError, match=words):
            image_folder(tmp_path / name)
    write(tmp_path / "names", {f"{label}/{i}.png": png(i) for label in ("a", "b") for i in (0, 1)})
    try:
        os.rename(tmp_path / "names" / "b", os.fsencode(tmp_path / "names") + b"/\xff")
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    with pytest.raises(ValueError, match=r"must hold names in UTF-8, got '\\udcff'") as raised:
        image_folder(tmp_path / "names")
    str(raised.value).encode()
