"""Tiny-ImageNet from the official zip archive, which is read without being unpacked to disk."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from dashtheory._check import fail
from dashtheory.deep.data.archive import read_members
from dashtheory.deep.data.cache import cached
from dashtheory.deep.data.fetch import OfficialFile, obtain
from dashtheory.deep.data.images import ImageData, ImageSet, image_data
from dashtheory.deep.data.picture import Pixels, decode_picture
from dashtheory.parallel import usable_cores

_MAX_MEMBER = 1 << 24  # the longest member known is words.txt, of a few megabytes
_BATCH = 128  # pictures that a thread decodes at once
_FIX = "Get the official file."


@dataclass(frozen=True, kw_only=True)
class TinyFormat:
    """How the archive of Tiny-ImageNet is laid out.

    In the folder `top` lie
    `wnids.txt`: the WordNet number (wnid) of each class, one per line;
    `words.txt`: wnid, tab, names separated by commas, for these wnids and many more;
    `train/<wnid>/images/<wnid>_<k>.JPEG`: the training pictures;
    `val/images/val_<k>.JPEG`: the validation pictures;
    `val/val_annotations.txt`: name of a validation picture, tab, its wnid, and a box that is not used here.
    All else, such as the pictures in `test`, which have no published labels, is passed over.

    Attributes:
        file: the archive.
        name: of the data set.
        top: the folder around all of it.
        num_classes: lines of `wnids.txt`.
        per_class: training pictures of each class.
        num_test: validation pictures.
        size: height and width of every picture.
        max_bytes: bound on all that is unpacked.
    """

    file: OfficialFile
    name: str
    top: str
    num_classes: int = 200
    per_class: int = 500
    num_test: int = 10_000
    size: int = 64
    max_bytes: int = 1 << 29


# The address and the md5 are those that avalanche 0.6.0 states; the archive is known to have 248,100,043 bytes.
# None of this, nor the layout above, has been checked here against the archive itself.
TINY_IMAGENET = TinyFormat(
    file=OfficialFile(
        name="tiny-imagenet-200.zip",
        url="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        md5="90528d7ca1a48142e341f4ef8d21d0de",
    ),
    name="Tiny-ImageNet",
    top="tiny-imagenet-200",
)


def tiny_imagenet(root: Path | str, *, download: bool = False, cache: Path | str | None = None) -> ImageData:
    """Tiny-ImageNet: 100,000 + 10,000 colour pictures, 64 x 64, of 200 classes, from `tiny-imagenet-200.zip`.

    The test set is the validation part, because the labels of the test part are not published. Grey pictures get
    three equal channels. Labels are the ranks of the sorted wnids. A class is called by the first of its names in
    `words.txt`, or by its wnid where another class has that name or there is none. The pictures, 1.35 GB of grey
    levels, are decoded once and kept in a cache file (see `cached`); the archive's checksum is verified each time.

    Source: Stanford's course CS231n; the pictures are ImageNet's, O. Russakovsky et al., arXiv:1409.0575.

    Args:
        root: folder with the archive.
        download: whether to get it if it is not there (248 MB).
        cache: folder of the cache file; see `cache_folder`.

    Raises:
        ValueError: if the archive is missing, another file, or not laid out as `TinyFormat` says.
    """
    return read_tiny(TINY_IMAGENET, root, download=download, cache=cache)


def read_tiny(
    form: TinyFormat, root: Path | str, *, download: bool = False, cache: Path | str | None = None
) -> ImageData:
    """Read an archive laid out as `form` says; arguments and errors as `tiny_imagenet`."""
    found = obtain(form.file, root, download=download)
    return cached(
        lambda: _read(form, found.path, found.sha256),
        source={"official": asdict(form)},
        state=found.sha256,
        cache=cache,
    )


@dataclass(frozen=True, order=True)
class _Place:
    """Where a picture belongs: its label, the number in its name, its full name."""

    label: int
    number: int
    name: str


def _read(form: TinyFormat, path: Path, sha256: str) -> ImageData:
    members = _members(form, path)
    wnids = sorted(_wnids(form, members))
    rank = {wnid: label for label, wnid in enumerate(wnids)}
    train, test = _train(form, members, rank), _test(form, members, rank)
    return image_data(
        _decoded(form, members, train),
        _decoded(form, members, test),
        _class_names(_lines(members.get(f"{form.top}/words.txt", b"")), wnids),
        form.name,
        source=form.file.url,
        sha256={form.file.name: sha256},
    )


def _members(form: TinyFormat, path: Path) -> dict[str, bytes]:
    """The lists and the labelled pictures of the archive, not decoded yet."""
    lists = {f"{form.top}/{name}" for name in ("wnids.txt", "val/val_annotations.txt")}
    wanted = re.compile(rf"{re.escape(form.top)}/(words\.txt|train/[^/]+/images/.+|val/images/.+)", re.DOTALL)
    members = {
        str(name): content
        for name, content in read_members(path, max_bytes=form.max_bytes, max_member=_MAX_MEMBER)
        if str(name) in lists or wanted.fullmatch(str(name))
    }
    missing = sorted(lists - set(members))
    if missing:
        fail("archive", f"must hold {missing[0]}", f"'{path}' without it", _FIX)
    return members


def _lines(content: bytes) -> list[str]:
    """The lines that are not blank; bytes that are not UTF-8 match no name."""
    return [line for line in content.decode(errors="replace").splitlines() if line.strip()]


def _wnids(form: TinyFormat, members: Mapping[str, bytes]) -> set[str]:
    listed = [line.strip() for line in _lines(members[f"{form.top}/wnids.txt"])]
    distinct = set(listed)
    if not len(listed) == len(distinct) == form.num_classes:
        got = f"{len(listed)} lines, {len(distinct)} of them distinct"
        fail("archive", f"must list {form.num_classes} distinct wnids in {form.top}/wnids.txt", got, _FIX)
    return distinct


def _train(form: TinyFormat, members: Mapping[str, bytes], rank: Mapping[str, int]) -> list[_Place]:
    """The training pictures by class, and by number within a class."""
    top = f"{form.top}/train/"
    pattern = re.compile(r"([^/]+)/images/\1_([0-9]{1,9})\.JPEG")
    places = []
    for name in members:
        if not name.startswith(top):
            continue
        found = pattern.fullmatch(name.removeprefix(top))
        if found is None or found[1] not in rank:
            rule = f"must hold {top}<wnid>/images/<wnid>_<k>.JPEG with wnids of wnids.txt"
            fail("archive", rule, repr(name), _FIX)
        places.append(_Place(rank[found[1]], int(found[2]), name))
    counts = Counter(place.label for place in places)
    for wnid, label in rank.items():
        if counts[label] != form.per_class:
            rule = f"must hold {form.per_class} training pictures of each class"
            fail("archive", rule, f"{counts[label]} of {wnid}", _FIX)
    return sorted(places)


def _test(form: TinyFormat, members: Mapping[str, bytes], rank: Mapping[str, int]) -> list[_Place]:
    """The validation pictures by number, labelled as their annotations say."""
    top = f"{form.top}/val/images/"
    pattern = re.compile(r"val_([0-9]{1,9})\.JPEG")
    labels = _annotations(form, members, rank)
    places = []
    for name in members:
        if not name.startswith(top):
            continue
        found = pattern.fullmatch(name.removeprefix(top))
        label = labels.get(name.removeprefix(top))
        if found is None or label is None:
            fail("archive", f"must hold {top}val_<k>.JPEG, each with its annotation", repr(name), _FIX)
        places.append(_Place(label, int(found[1]), name))
    if not len(places) == len(labels) == form.num_test:
        got = f"{len(places):,} pictures and {len(labels):,} annotations"
        fail("archive", f"must hold {form.num_test:,} validation pictures, each annotated", got, _FIX)
    return sorted(places, key=lambda place: (place.number, place.name))


def _annotations(form: TinyFormat, members: Mapping[str, bytes], rank: Mapping[str, int]) -> dict[str, int]:
    """Label of each validation picture by the name of its file."""
    labels: dict[str, int] = {}
    for line in _lines(members[f"{form.top}/val/val_annotations.txt"]):
        picture, _, rest = line.partition("\t")
        label = rank.get(rest.partition("\t")[0].strip())
        if label is None or picture in labels:
            rule = "must annotate each picture once, as name, tab, a wnid of wnids.txt, in val_annotations.txt"
            fail("archive", rule, repr(line), _FIX)
        labels[picture] = label
    return labels


def _class_names(lines: list[str], wnids: list[str]) -> tuple[str, ...]:
    """The first name of each class in the lines of `words.txt`; its wnid where that is missing or not its own."""
    words = dict(line.split("\t", 1) for line in lines if "\t" in line)
    first = [words.get(wnid, "").split(",")[0].strip() for wnid in wnids]
    shared = Counter([*first, *wnids])
    return tuple(name if name and shared[name] == 1 else wnid for name, wnid in zip(first, wnids, strict=True))


def _decoded(form: TinyFormat, members: Mapping[str, bytes], places: list[_Place]) -> ImageSet:
    """Decode the pictures in threads, each to its place."""
    images = np.empty((len(places), 3, form.size, form.size), np.uint8)

    def decode_batch(start: int) -> None:
        for at, place in enumerate(places[start : start + _BATCH], start):
            images[at] = _three_channels(form, place.name, members[place.name])

    with ThreadPoolExecutor(usable_cores()) as pool:
        for _ in pool.map(decode_batch, range(0, len(places), _BATCH)):
            pass  # a picture that cannot be decoded raises here
    return ImageSet(torch.from_numpy(images), torch.tensor([place.label for place in places]))


def _three_channels(form: TinyFormat, name: str, content: bytes) -> Pixels:
    """A picture's pixels, (3, size, size)."""
    pixels = decode_picture(name, content)
    if pixels.shape[:2] != (form.size, form.size):
        rule = f"must hold pictures of {form.size} x {form.size} pixels"
        fail("archive", rule, f"{pixels.shape[0]} x {pixels.shape[1]} in '{name}'", _FIX)
    if pixels.ndim == 2:
        return np.broadcast_to(pixels, (3, *pixels.shape))
    return pixels.transpose(2, 0, 1)
