"""Tiny-ImageNet: small archives in the official layout, written here."""

import dataclasses
import hashlib
import importlib
import io
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dashtheory.deep.config import RunConfig
from dashtheory.deep.data import ImageData, find_data, tiny_imagenet
from dashtheory.deep.data.fetch import OfficialFile
from dashtheory.deep.data.tiny import TINY_IMAGENET, TinyFormat, read_tiny
from dashtheory.deep.presets import describe_data

Files = dict[str, bytes]
TOP = "tiny-imagenet-200"
WNIDS = ("n09", "n01", "n05")  # as wnids.txt lists them: not sorted
SORTED = ("n01", "n05", "n09")
PER_CLASS, NUM_TEST, SIZE = 4, 5, 16
TEST_LABELS = (2, 0, 1, 1, 0)
# A plain colour comes back from a JPEG of quality 95 up to the rounding of its three YCbCr levels and of the
# steps of the first coefficient (at most 2, so 1/8 of a level after the transform).
ROUNDING = 3


module = importlib.import_module("dashtheory.deep.data.tiny")


def colour(label: int, number: int) -> tuple[int, int, int]:
    """A colour of its own for each picture; those of one class have one red, those of the test set blue 220."""
    return (20 + 90 * label, 10 + 20 * number, 40)


def jpeg(level: tuple[int, int, int] | int, size: int = SIZE, width: int | None = None) -> bytes:
    """A plain picture: of a colour, or grey if `level` is one number."""
    out = io.BytesIO()
    mode = "L" if isinstance(level, int) else "RGB"
    Image.new(mode, (width or size, size), level).save(out, "JPEG", quality=95)
    return out.getvalue()


def train_name(label: int, number: int) -> str:
    wnid = SORTED[label]
    return f"{TOP}/train/{wnid}/images/{wnid}_{number}.JPEG"


def val_name(number: int) -> str:
    return f"{TOP}/val/images/val_{number}.JPEG"


def annotations(labels: tuple[int, ...] = TEST_LABELS) -> list[str]:
    return [f"val_{i}.JPEG\t{SORTED[label]}\t0\t32\t44\t62\n" for i, label in enumerate(labels)]


def tiny_files() -> Files:
    """Three classes of four pictures, five validation pictures, and what else the official archive holds."""
    files = {
        f"{TOP}/wnids.txt": "".join(f"{wnid}\n" for wnid in WNIDS).encode(),
        f"{TOP}/words.txt": b"n00\tentity\nn01\tgoldfish, Carassius\nn05\tcrane\nn09\tbeach wagon, wagon\n",
        f"{TOP}/val/val_annotations.txt": "".join(annotations()).encode(),
        f"{TOP}/test/images/test_0.JPEG": b"no picture, for nobody decodes it",
    }
    for label, wnid in enumerate(SORTED):
        files[f"{TOP}/train/{wnid}/{wnid}_boxes.txt"] = b"n01_0.JPEG\t0\t0\t9\t9\n"
        for number in range(PER_CLASS):
            files[train_name(label, number)] = jpeg(colour(label, number))
    for number, label in enumerate(TEST_LABELS):
        files[val_name(number)] = jpeg(colour(label, number))
    return files


def write(folder: Path, files: Files) -> Path:
    """`files` as the archive of `folder`."""
    path = folder / TINY_IMAGENET.file.name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)  # of a fixed date, so that the same files give the same archive
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return path


def form_of(path: Path, **changes: object) -> TinyFormat:
    """The description under which the small archive at `path` is the official one."""
    content = path.read_bytes()
    file = OfficialFile(name=path.name, url="http://unused.invalid/", md5=hashlib.md5(content).hexdigest())
    counts: dict[str, object] = {"num_classes": 3, "per_class": PER_CLASS, "num_test": NUM_TEST, "size": SIZE}
    return dataclasses.replace(TINY_IMAGENET, file=file, **(counts | changes))  # type: ignore[arg-type]


def read(folder: Path, files: Files, **changes: object) -> ImageData:
    form = form_of(write(folder, files), **changes)
    return read_tiny(form, folder, cache=folder / "cache")


def same(first: ImageData, second: ImageData) -> bool:
    tensors = [(one.train.images, one.train.labels, one.test.images, one.test.labels) for one in (first, second)]
    notes = [(one.classes, one.name, dict(one.facts)) for one in (first, second)]
    return all(torch.equal(a, b) for a, b in zip(*tensors, strict=True)) and notes[0] == notes[1]


def plain(image: torch.Tensor, level: tuple[int, int, int]) -> bool:
    """Whether a picture has everywhere the colour `level`, up to what JPEG rounds."""
    return int((image.int() - torch.tensor(level)[:, None, None]).abs().max()) <= ROUNDING


def test_the_description_is_that_of_the_source() -> None:
    file = TINY_IMAGENET.file
    assert file.url == f"http://cs231n.stanford.edu/{file.name}"
    assert (file.name, file.md5) == ("tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de")
    assert (TINY_IMAGENET.num_classes, TINY_IMAGENET.per_class, TINY_IMAGENET.num_test) == (200, 500, 10_000)
    assert (TINY_IMAGENET.size, TINY_IMAGENET.top, TINY_IMAGENET.name) == (64, TOP, "Tiny-ImageNet")


# What is read


@settings(max_examples=25, deadline=None)  # every example writes and decodes an archive
@given(
    order=st.permutations(sorted(tiny_files())),
    lines=st.permutations(range(NUM_TEST)),
    labels=st.tuples(*[st.integers(0, 2)] * NUM_TEST),
    grey=st.sets(st.sampled_from([n for n in sorted(tiny_files()) if n.endswith("JPEG") and "test" not in n])),
)
def test_every_picture_has_the_label_of_its_folder_or_annotation(
    order: list[str], lines: list[int], labels: tuple[int, ...], grey: set[str]
) -> None:
    files = tiny_files()
    listed = annotations(labels)
    files[f"{TOP}/val/val_annotations.txt"] = "".join(listed[i] for i in lines).encode()
    for number, label in enumerate(labels):
        files[val_name(number)] = jpeg(colour(label, number))
    files |= {name: jpeg(100 + 3 * i) for i, name in enumerate(sorted(grey))}
    with tempfile.TemporaryDirectory() as folder:
        data = read(Path(folder), {name: files[name] for name in order})
    expected = [(train_name(label, number), label, number) for label in range(3) for number in range(PER_CLASS)]
    expected += [(val_name(number), label, number) for number, label in enumerate(labels)]
    assert data.train.images.shape == (12, 3, SIZE, SIZE)
    found = zip([*data.train.images, *data.test.images], [*data.train.labels, *data.test.labels], strict=True)
    for (name, label, number), (image, got) in zip(expected, found, strict=True):
        assert int(got) == label, name
        level = (100 + 3 * sorted(grey).index(name),) * 3 if name in grey else colour(label, number)
        assert plain(image, level), name
        if name in grey:
            assert torch.equal(image, image[:1].expand(3, -1, -1)), name


def test_pixels_keep_their_row_column_and_channel(tmp_path: Path) -> None:
    files, random = tiny_files(), np.random.default_rng(0)
    smooth = Image.fromarray(random.integers(0, 256, (3, 2, 3), np.uint8)).resize((SIZE, SIZE))
    out = io.BytesIO()
    smooth.save(out, "JPEG", quality=95)
    files[train_name(1, 2)] = out.getvalue()
    with Image.open(out) as picture:
        expected = np.asarray(picture)
    data = read(tmp_path, files)
    image = data.train.images[PER_CLASS + 2]
    for channel in range(3):
        assert np.array_equal(image[channel].numpy(), expected[:, :, channel])


def test_pictures_follow_their_numbers_not_their_names(tmp_path: Path) -> None:
    files = tiny_files()
    for number, new in ((1, 10), (2, 9), (3, 100)):
        files[train_name(0, new)] = files.pop(train_name(0, number))
    data = read(tmp_path, files)
    for place, number in enumerate((0, 2, 1, 3)):
        assert plain(data.train.images[place], colour(0, number))


def test_what_was_read_is_recorded(tmp_path: Path) -> None:
    data = read(tmp_path, tiny_files())
    content = (tmp_path / "tiny-imagenet-200.zip").read_bytes()
    assert data.name == "Tiny-ImageNet"
    assert dict(data.facts) == {
        "source": "http://unused.invalid/",
        "train": 12,
        "test": 5,
        "shape": [3, SIZE, SIZE],
        "sha256": {"tiny-imagenet-200.zip": hashlib.sha256(content).hexdigest()},
    }


@pytest.mark.parametrize(
    ("words", "classes"),
    [
        ("n05\tcrane\nn01\tgoldfish, Carassius auratus\nn09\tbeach wagon", ("goldfish", "crane", "beach wagon")),
        ("n01\tcrane, bird\nn05\tcrane\nn09\twagon", ("n01", "n05", "wagon")),
        ("n01\tn05\nn05\tcrane\nn09\tcrane", ("n01", "n05", "n09")),
        ("n01\tfish\nn05\t , none\nno tab", ("fish", "n05", "n09")),
        ("n01\tfish\nn05\tfi\nn09\tn09", ("fish", "fi", "n09")),
        ("", SORTED),
        (None, SORTED),
    ],
)
def test_classes_have_distinct_names(tmp_path: Path, words: str | None, classes: tuple[str, ...]) -> None:
    files = tiny_files()
    del files[f"{TOP}/words.txt"]
    if words is not None:
        files[f"{TOP}/words.txt"] = words.encode()
    assert read(tmp_path, files).classes == classes


def test_the_number_of_threads_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BATCH", 2)
    form = form_of(write(tmp_path, tiny_files()))
    sets = []
    for cores in (1, 3):
        monkeypatch.setattr(module, "usable_cores", lambda cores=cores: cores)
        sets.append(read_tiny(form, tmp_path, cache=tmp_path / str(cores)))
    assert same(*sets)


# What is refused, in one line


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


# Cache


class Counted:
    """Counts the pictures that are decoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._decode = module.decode_picture
        monkeypatch.setattr(module, "decode_picture", self)

    def __call__(self, name: str, content: bytes) -> object:
        self.count += 1
        return self._decode(name, content)


def test_pictures_are_decoded_once_and_the_cache_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = Counted(monkeypatch)
    form = form_of(write(tmp_path, tiny_files()))
    first = read_tiny(form, tmp_path, cache=tmp_path / "cache")
    assert decoded.count == 17
    assert same(read_tiny(form, tmp_path, cache=tmp_path / "cache"), first)
    assert decoded.count == 17


@pytest.mark.parametrize("damage", ["truncated", "empty", "foreign", "flipped"])
def test_a_damaged_cache_file_is_built_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    decoded = Counted(monkeypatch)
    form = form_of(write(tmp_path, tiny_files()))
    first = read_tiny(form, tmp_path, cache=tmp_path / "cache")
    (path,) = (tmp_path / "cache").iterdir()
    good = path.read_bytes()
    middle = len(good) // 2
    flipped = good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :]
    path.write_bytes({"truncated": good[:-50], "empty": b"", "foreign": b"hello", "flipped": flipped}[damage])
    for _ in range(2):
        assert same(read_tiny(form, tmp_path, cache=tmp_path / "cache"), first)
    assert decoded.count == 2 * 17
    assert [one.name for one in (tmp_path / "cache").iterdir()] == [path.name]


def test_the_cache_never_stands_in_for_an_archive_that_is_gone_or_another(tmp_path: Path) -> None:
    files = tiny_files()
    path = write(tmp_path, files)
    first = form_of(path)
    read_tiny(first, tmp_path, cache=tmp_path / "cache")
    files[val_name(0)] = jpeg((1, 200, 3))
    write(tmp_path, files)
    with pytest.raises(ValueError, match="root must hold the official"):
        read_tiny(first, tmp_path, cache=tmp_path / "cache")
    other = read_tiny(form_of(path), tmp_path, cache=tmp_path / "cache")
    assert plain(other.test.images[0], (1, 200, 3))
    path.unlink()
    with pytest.raises(ValueError, match=r"root must hold 'tiny-imagenet-200.zip', got '.*' without it"):
        read_tiny(first, tmp_path, cache=tmp_path / "cache")


# By name


def test_the_name_leads_to_the_archive_and_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ValueError, match=r"root must hold 'tiny-imagenet-200.zip', .*Put it there \(from http://cs"
    ):
        find_data(f"tiny_imagenet:{tmp_path}")
    with pytest.raises(ValueError, match=r"name must be .*got 'tiny_imagenet'. Say tiny_imagenet:PATH"):
        find_data("tiny_imagenet")
    with pytest.raises(ValueError, match=r"name must be one of digits, .*tiny_imagenet, got 'tiny'"):
        find_data("tiny")
    form = form_of(write(tmp_path, tiny_files()))
    monkeypatch.setattr(module, "TINY_IMAGENET", form)
    data = find_data(f"tiny_imagenet:{tmp_path}", cache=tmp_path / "cache")
    assert same(data, read_tiny(form, tmp_path, cache=tmp_path / "other"))
    assert list((tmp_path / "cache").iterdir())


def test_downloading_is_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, tiny_files())
    form = form_of(path)
    asked: list[bool] = []
    obtain = module.obtain

    def record(file: OfficialFile, root: Path | str, *, download: bool) -> object:
        asked.append(download)
        return obtain(file, root)

    monkeypatch.setattr(module, "TINY_IMAGENET", form)
    monkeypatch.setattr(module, "obtain", record)
    for download in (False, True):
        find_data(f"tiny_imagenet:{tmp_path}", download=download, cache=tmp_path / "cache")
    assert asked == [False, True]


def test_titles_say_tiny_imagenet() -> None:
    assert describe_data(RunConfig.of(data="tiny_imagenet:there")) == "Tiny-ImageNet"
    assert describe_data(RunConfig.of(data="tiny_imagenet:there", size=32)) == "Tiny-ImageNet at 32 x 32 pixels"
