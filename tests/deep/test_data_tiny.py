"""Tiny-ImageNet: what is read of a small archive in its layout, cached, and found by name."""

import hashlib
import importlib
import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dashtheory.deep.config import RunConfig
from dashtheory.deep.data import find_data
from dashtheory.deep.data.fetch import OfficialFile
from dashtheory.deep.data.tiny import TINY_IMAGENET, read_tiny
from dashtheory.deep.presets import describe_data
from tests.deep.data_cases import same
from tests.deep.tiny_cases import (
    NUM_TEST,
    PER_CLASS,
    SIZE,
    SORTED,
    TOP,
    annotations,
    colour,
    form_of,
    jpeg,
    read,
    tiny_files,
    train_name,
    val_name,
    write,
)

# A plain colour comes back from a JPEG of quality 95 up to the rounding of its three YCbCr levels and of the
# steps of the first coefficient (at most 2, so 1/8 of a level after the transform).
ROUNDING = 3

module = importlib.import_module("dashtheory.deep.data.tiny")


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
