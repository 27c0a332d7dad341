"""Pictures in class folders, on disk or in an archive."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from dashtheory._check import fail, integer, real
from dashtheory._memory import machine_memory, must_fit
from dashtheory.deep.data.archive import read_members
from dashtheory.deep.data.cache import cached
from dashtheory.deep.data.fetch import hashes
from dashtheory.deep.data.images import ImageData, ImageSet, image_data
from dashtheory.deep.data.picture import ENDINGS, Pixels, decode_picture, picture_size
from dashtheory.deep.data.split import stratified_split
from dashtheory.errors import NeedsSize
from dashtheory.parallel import usable_cores
from dashtheory.seeds import numpy_stream

_MAX_FILE = 1 << 27
_MAX_DEPTH = 4  # folder around all / train / class / picture
_BATCH = 128  # pictures that a thread decodes at once
_BATCH_PIXELS = 1 << 24
_SPLITS = {"train", "test"}
_TEST_SHARE = 0.2
_TOP = PurePosixPath()
_SIZE = "Say size=32, for instance, to resize them all."
_MORE = "Leave some out; image_folder(path, max_bytes=...) of dashtheory.deep.data takes more."


def image_folder(
    path: Path | str,
    *,
    size: int | None = None,
    test_share: float | None = None,
    name: str | None = None,
    cache: Path | str | None = None,
    max_bytes: int = 1 << 33,
) -> ImageData:
    """Read PNG and JPEG pictures that lie in one folder per class.

    `path` holds `<class>/<picture>` or `train/<class>/<picture>` and `test/<class>/<picture>`; one more folder
    around all of it is fine. Classes and pictures are in the order of their names. Names that begin with a dot
    or `__MACOSX` are passed over, and so are files of other kinds outside the class folders. The pictures are
    grey if all of them are, else red, green, blue. What was decoded is kept in a cache file (see `cached`).

    Args:
        path: a folder, or a .tar, .tar.gz, .tar.xz or .zip of one.
        size: height and width to stretch every picture to (see `decode_picture`); without it they must all have
            the same size.
        test_share: share of each class to hold out if there are no `train` and `test`, 0.2 if not given. The split
            is always the same: its draws come from the stream "image folder split" of the seed 0.
        name: of the data set; the name of the file or folder if not given.
        cache: folder of the cache file; see `cache_folder`.
        max_bytes: bound on all that is unpacked, and on all pixels; 8 GiB.

    Raises:
        ValueError: if something is missing, damaged, out of place, or larger than allowed.
    """
    path = Path(path).expanduser().resolve()
    if size is not None:
        size = integer("size", size, minimum=1, fix="It counts pixels.")
        must_fit("size", size, size, power=2)
    if test_share is not None:
        test_share = real("test_share", test_share, low=0, high=1, open_low=True, fix="Give a share, such as 0.2.")
    options: dict[str, object] = {"size": size, "test_share": test_share, "name": name, "max_bytes": max_bytes}
    try:
        return cached(
            lambda: _read(path, size, test_share, name or path.name.split(".")[0], max_bytes),
            source={"path": str(path), **options},
            state=_state(path),
            cache=cache,
        )
    except OSError as error:
        got = f"'{error.filename or path}' ({error.strerror or error})"
        fail("path", "must hold files that can be read", got, "Check the path.")


@dataclass(frozen=True, eq=False)
class _Picture:
    path: PurePosixPath
    pixels: Pixels
    sha256: bytes


def _read(path: Path, size: int | None, test_share: float | None, name: str, max_bytes: int) -> ImageData:
    bound = min(max_bytes, machine_memory() // 2)
    pictures = _within(_decoded(_bounded(_files(path, max_bytes), size, bound), size), bound)
    if not pictures:
        fail("path", "must hold PNG or JPEG pictures in class folders", f"'{path}' without any", "Check the path.")
    pictures.sort(key=lambda picture: picture.path)
    places = _places([picture.path for picture in pictures], path)
    classes = tuple(sorted({place[1] for place in places}))
    if len(classes) < 2:
        got = f"'{classes[0]}' alone in '{path}'"
        fail("path", "must hold at least two classes", got, "One class leaves nothing to tell apart.")
    train, test = _sets(pictures, places, classes, test_share)
    if path.is_dir():
        listed = b"".join(str(one.path).encode() + b"\0" + one.sha256 for one in pictures)
        sha256 = hashlib.sha256(listed).hexdigest()
    else:
        sha256 = hashes(path)[1]
    return image_data(train, test, classes, name, source=path.resolve().name, sha256=sha256)


def _state(path: Path) -> list[object]:
    """What changes if a file at `path`, or one below it, is changed, added or removed."""
    if not path.exists():
        fail("path", "must exist", f"'{path}'", "Give a folder of class folders, or an archive of one.")
    if not path.is_dir() and not path.is_file():  # reading a pipe would wait for ever
        fail("path", "must be a folder or a plain file", f"'{path}'", "Give a folder, or an archive of one.")
    files = _walk(path) if path.is_dir() else [(PurePosixPath(path.name), path)]
    digest = hashlib.sha256()
    num_bytes = 0
    for inside, file in files:
        found = file.stat()
        num_bytes += found.st_size
        digest.update(f"{inside}\0{found.st_size}\0{found.st_mtime_ns}\0{found.st_ctime_ns}\n".encode())
    return [num_bytes, digest.hexdigest()]


def _walk(folder: Path, inside: PurePosixPath = _TOP) -> Iterator[tuple[PurePosixPath, Path]]:
    """The files below `folder`, links followed, in the order of their names: (path inside, path)."""
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    if inside.parts and not found:
        fail("path", "must hold pictures in every folder", f"'{inside}' empty", "Add its pictures, or remove it.")
    for entry in found:
        place = inside / entry.name
        if _hidden(place):
            continue
        if entry.name != entry.name.encode(errors="replace").decode():
            fail("path", "must hold names in UTF-8", ascii(str(place)), "Rename it.")
        if not entry.is_dir():
            yield place, Path(entry.path)
        elif len(place.parts) < _MAX_DEPTH:
            yield from _walk(Path(entry.path), place)
        else:
            _out_of_place(place, folder)


def _hidden(inside: PurePosixPath) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in inside.parts)


def _out_of_place(inside: PurePosixPath, path: Path) -> None:
    fail(
        "path",
        "must hold <class>/<picture>, or train/<class>/<picture> and test/<class>/<picture>, PNG or JPEG",
        f"'{inside}' in '{path}'",
        "Move it or remove it.",
    )


def _files(path: Path, max_bytes: int) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Path inside and content of each picture; a file of another kind may only lie outside the class folders."""
    folders, others = set(), []
    members = (
        _contents(path, max_bytes)
        if path.is_dir()
        else read_members(path, max_bytes=max_bytes, max_member=_MAX_FILE)
    )
    for inside, content in members:
        if inside.suffix.lower() in ENDINGS and not _hidden(inside):
            folders.add(inside.parent)
            yield inside, content
        elif not _hidden(inside):
            others.append(inside)
    for inside in others:
        if inside.parent in folders:
            _out_of_place(inside, path)


def _contents(folder: Path, max_bytes: int) -> Iterator[tuple[PurePosixPath, bytes]]:
    left = max_bytes
    for inside, file in _walk(folder):
        if not file.is_file():
            fail("path", "must hold plain files and folders", f"'{file}'", "Remove it.")
        left -= file.stat().st_size
        if left < 0:
            fail("path", f"must hold at most {max_bytes:,} bytes", f"'{folder}' with more", _MORE)
        yield inside, file.read_bytes()


def _bounded(
    files: Iterable[tuple[PurePosixPath, bytes]], size: int | None, most: int
) -> Iterator[tuple[PurePosixPath, bytes]]:
    """The files, refused before they are decoded if all would hold more than `most` pixels."""
    left = most
    for inside, content in files:
        left -= size**2 if size is not None else picture_size(content)
        if left < 0:
            _too_many(most)
        yield inside, content


def _too_many(most: int) -> None:
    fail("path", f"must hold at most {most:,} bytes of pixels", "more", _SIZE, error=NeedsSize)


def _batches(files: Iterable[tuple[PurePosixPath, bytes]]) -> Iterator[list[tuple[PurePosixPath, bytes]]]:
    """Files that a thread decodes at once: so many, or fewer that are large."""
    batch, pixels = list[tuple[PurePosixPath, bytes]](), 0
    for inside, content in files:
        batch.append((inside, content))
        pixels += picture_size(content)
        if len(batch) == _BATCH or pixels > _BATCH_PIXELS:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch


def _decoded(files: Iterable[tuple[PurePosixPath, bytes]], size: int | None) -> Iterator[_Picture]:
    """Decode the files in threads, in order, with little read ahead."""
    waiting: deque[Future[list[_Picture]]] = deque()
    num_threads = usable_cores()
    with ThreadPoolExecutor(num_threads) as pool:
        for batch in _batches(files):
            waiting.append(pool.submit(_decode_batch, batch, size))
            if len(waiting) > 2 * num_threads:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _decode_batch(batch: list[tuple[PurePosixPath, bytes]], size: int | None) -> list[_Picture]:
    return [
        _Picture(inside, decode_picture(str(inside), content, size), hashlib.sha256(content).digest())
        for inside, content in batch
    ]


def _within(pictures: Iterable[_Picture], max_bytes: int) -> list[_Picture]:
    """All `pictures`, if they have one size and not too many pixels."""
    found: list[_Picture] = []
    left = max_bytes
    for picture in pictures:
        found.append(picture)
        left -= picture.pixels.nbytes
        if left < 0:
            _too_many(max_bytes)
        first, here = found[0].pixels.shape[:2], picture.pixels.shape[:2]
        if here != first:
            rule = f"must hold pictures of one size, {first[0]} x {first[1]} as '{found[0].path}'"
            fail("path", rule, f"{here[0]} x {here[1]} in '{picture.path}'", _SIZE, error=NeedsSize)
    return found


def _places(paths: list[PurePosixPath], path: Path) -> list[tuple[str, str]]:
    """("train", "test" or "", class) of each picture."""
    parts = [inside.parts for inside in paths]
    tops = {part[0] for part in parts}
    if len(tops) == 1 and not tops <= _SPLITS and all(len(part) > 2 for part in parts):
        parts = [part[1:] for part in parts]  # one folder around all of it
    split = {part[0] for part in parts} <= _SPLITS and len(parts[0]) > 2
    for part, inside in zip(parts, paths, strict=True):
        if len(part) != (3 if split else 2):
            _out_of_place(inside, path)
    return [(part[0], part[1]) if split else ("", part[0]) for part in parts]


def _sets(
    pictures: list[_Picture], places: list[tuple[str, str]], classes: tuple[str, ...], test_share: float | None
) -> tuple[ImageSet, ImageSet]:
    """(train, test), as the folders say, or held out."""
    rank = {name: label for label, name in enumerate(classes)}
    colour = any(picture.pixels.ndim == 3 for picture in pictures)
    images = torch.from_numpy(np.stack([_channels(picture.pixels, colour) for picture in pictures]))
    whole = ImageSet(images, torch.tensor([rank[place[1]] for place in places]))
    if not places[0][0]:
        return stratified_split(whole, test_share or _TEST_SHARE, numpy_stream(0, "image folder split"))
    if test_share is not None:
        fail("test_share", "must be left out if there are train and test", str(test_share), "Leave it out.")
    for one in sorted(_SPLITS):
        lacking = set(classes) - {place[1] for place in places if place[0] == one}
        if lacking:
            fail("path", f"must hold every class in '{one}'", f"none of '{min(lacking)}'", "Add its pictures.")
    is_test = torch.tensor([place[0] == "test" for place in places])
    return whole.take((~is_test).nonzero()[:, 0]), whole.take(is_test.nonzero()[:, 0])


def _channels(pixels: Pixels, colour: bool) -> Pixels:
    """`pixels` with the channels first: three if `colour`, else one."""
    if pixels.ndim == 2:
        return np.broadcast_to(pixels, (3 if colour else 1, *pixels.shape))
    return pixels.transpose(2, 0, 1)
