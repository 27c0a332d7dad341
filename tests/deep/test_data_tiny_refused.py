"""Tiny-ImageNet: archives that are not as the official one are refused in one line."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dashtheory.deep.data import tiny_imagenet
from dashtheory.deep.data.tiny import read_tiny
from tests.deep.data_cases import Files
from tests.deep.tiny_cases import (
    NUM_TEST,
    SIZE,
    TOP,
    annotations,
    form_of,
    jpeg,
    read,
    tiny_files,
    train_name,
    val_name,
    write,
)


def without(name: str) -> Callable[[Files], None]:
    return lambda files: files.__delitem__(name)


def with_file(name: str, content: bytes) -> Callable[[Files], None]:
    return lambda files: files.update({name: content})


def annotated(*lines: str) -> Callable[[Files], None]:
    return with_file(f"{TOP}/val/val_annotations.txt", "".join(lines).encode())


def emptied(files: Files) -> None:
    files.clear()
    files["readme.txt"] = b"something else"


WHOLE = annotations()


def with_odd_picture(files: Files) -> None:
    files[f"{TOP}/val/images/val_x.JPEG"] = jpeg(0)
    annotated(*WHOLE, "val_x.JPEG\tn01\t0\n")(files)


def without_last(files: Files) -> None:
    del files[val_name(NUM_TEST - 1)]
    annotated(*WHOLE[:-1])(files)


REFUSED: dict[str, tuple[Callable[[Files], None], str]] = {
    "foreign": (emptied, f"archive must hold {TOP}/val/val_annotations.txt, got '.*' without it"),
    "no annotations": (without(f"{TOP}/val/val_annotations.txt"), "val_annotations.txt, got '.*' without it"),
    "no wnids": (without(f"{TOP}/wnids.txt"), f"archive must hold {TOP}/wnids.txt, got '.*' without it"),
    "few wnids": (with_file(f"{TOP}/wnids.txt", b"n01\nn05\n"), "must list 3 distinct wnids .*got 2 lines"),
    "twice a wnid": (with_file(f"{TOP}/wnids.txt", b"n01\nn05\nn01\n"), "got 3 lines, 2 of them distinct"),
    "lacking picture": (without(train_name(1, 3)), "must hold 4 training pictures of each class, got 3 of n05"),
    "picture too many": (with_file(train_name(2, 4), jpeg(0)), "4 training pictures of each class, got 5 of n09"),
    "unknown class": (
        with_file(f"{TOP}/train/n07/images/n07_0.JPEG", jpeg(0)),
        r"must hold .*/<wnid>_<k>.JPEG with wnids of wnids.txt, got '.*/n07_0.JPEG'",
    ),
    "other class's picture": (with_file(f"{TOP}/train/n01/images/n05_9.JPEG", jpeg(0)), "got '.*/n05_9.JPEG'"),
    "odd number": (with_file(f"{TOP}/train/n01/images/n01_x.JPEG", jpeg(0)), "got '.*/n01_x.JPEG'"),
    "odd file": (with_file(f"{TOP}/train/n01/images/Thumbs.db", b""), "got '.*/Thumbs.db'"),
    "line break": (with_file(f"{TOP}/train/n01/images/a\nb.JPEG", b""), r"got '.*/a\\nb.JPEG'"),
    "deeper": (with_file(f"{TOP}/train/n01/images/n01/n01_9.JPEG", b""), "got '.*/images/n01/n01_9.JPEG'"),
    "odd validation file": (
        with_file(f"{TOP}/val/images/other.JPEG", jpeg(0)),
        "must hold .*val_<k>.JPEG, each with its annotation, got '.*/other.JPEG'",
    ),
    "picture without annotation": (annotated(*WHOLE[:-1]), "each with its annotation, got '.*/val_4.JPEG'"),
    "annotation without picture": (without(val_name(3)), "got 4 pictures and 5 annotations"),
    "annotation of no picture": (annotated(*WHOLE, "val_9.JPEG\tn01\t0\n"), "got 5 pictures and 6 annotations"),
    "annotated odd file": (
        with_odd_picture,
        "must hold .*val_<k>.JPEG, each with its annotation, got '.*/val_x.JPEG'",
    ),
    "both lacking": (
        without_last,
        "must hold 5 validation pictures, each annotated, got 4 pictures and 4 annotations",
    ),
    "annotated twice": (annotated(*WHOLE, WHOLE[0]), "must annotate each picture once, .*got 'val_0.JPEG"),
    "unknown annotation": (annotated(*WHOLE[:-1], "val_4.JPEG\tn07\t0\n"), r"got 'val_4.JPEG\\tn07"),
    "no tab": (annotated(*WHOLE[:-1], "val_4.JPEG n01\n"), "got 'val_4.JPEG n01'"),
    "not UTF-8": (with_file(f"{TOP}/val/val_annotations.txt", b"\xff\xfe\0\1"), "must annotate each picture once"),
    "too large": (
        with_file(train_name(0, 1), jpeg(0, SIZE + 1)),
        "must hold pictures of 16 x 16 pixels, got 17 x 17 in '.*/n01_1.JPEG'",
    ),
    "too wide": (with_file(val_name(1), jpeg((1, 2, 3), SIZE, 20)), "got 16 x 20 in '.*/val_1.JPEG'"),
    "no picture": (
        with_file(train_name(0, 1), b"GIF89a"),
        "picture must be a whole PNG or JPEG .*'.*/n01_1.JPEG'",
    ),
    "half a picture": (with_file(val_name(0), jpeg((9, 9, 9))[:200]), "picture must be a whole .*'.*/val_0.JPEG'"),
    "too many pixels": (with_file(val_name(0), jpeg(0, 8200)), "picture must be .*8200 x 8200 pixels"),
    "path traversal": (with_file("../evil", b"x"), "archive must hold relative paths without '..', got '../evil'"),
    "absolute path": (with_file("/etc/evil", b"x"), "archive must hold relative paths .*got '/etc/evil'"),
    "inner traversal": (
        with_file(f"{TOP}/train/n01/images/../../../../evil", b"x"),
        "archive must hold relative paths without",
    ),
    "long member": (
        with_file(f"{TOP}/words.txt", bytes(1 << 25)),
        f"archive must unpack to at most 16,777,216 bytes in '{TOP}/words.txt'",
    ),
}


@pytest.mark.parametrize("kind", list(REFUSED))
def test_other_content_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    change, message = REFUSED[kind]
    files = tiny_files()
    change(files)
    with pytest.raises(ValueError, match=message) as raised:
        read(tmp_path, files)
    assert "\n" not in str(raised.value)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["cache", "tiny-imagenet-200.zip"]


def test_more_than_the_bound_is_never_unpacked(tmp_path: Path) -> None:
    files = tiny_files()
    total = sum(map(len, files.values()))
    assert len(read(tmp_path, files, max_bytes=total).train) == 12
    with pytest.raises(ValueError, match=f"archive must unpack to at most {total - 1:,} bytes"):
        read(tmp_path, files, max_bytes=total - 1)


def test_another_file_than_the_official_one_is_refused(tmp_path: Path) -> None:
    write(tmp_path, tiny_files())
    with pytest.raises(ValueError, match=r"root must hold the official 'tiny-imagenet-200.zip' \(md5 90528d"):
        tiny_imagenet(tmp_path, cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.99])
def test_a_truncated_archive_is_one_line(tmp_path: Path, share: float) -> None:
    path = write(tmp_path, tiny_files())
    content = path.read_bytes()
    whole = form_of(path)
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match="root must hold the official"):
        read_tiny(whole, tmp_path, cache=tmp_path / "cache")
    with pytest.raises(
        ValueError, match=r"archive must be whole, got '.*\.zip' \(.*damaged or truncated"
    ) as raised:
        read_tiny(form_of(path), tmp_path, cache=tmp_path / "cache")
    assert "\n" not in str(raised.value)


def test_a_damaged_archive_gives_the_same_or_one_line(tmp_path: Path) -> None:
    path = write(tmp_path, tiny_files())
    good = path.read_bytes()
    first = read_tiny(form_of(path), tmp_path, cache=tmp_path / "cache")
    messages = []
    for place in range(0, len(good), 97):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1 << place % 8]) + good[place + 1 :])
        try:
            data = read_tiny(form_of(path), tmp_path, cache=tmp_path / "cache")
        except ValueError as error:
            messages.append(str(error))
        else:
            assert torch.equal(data.train.images, first.train.images), place
            assert torch.equal(data.test.labels, first.test.labels), place
    assert messages
    assert not any("\n" in message for message in messages)
