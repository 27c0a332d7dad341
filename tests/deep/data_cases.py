"""Small pictures, archives and folders of them, and when two data sets are the same."""

import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dashtheory.deep.data import ImageData

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


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


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


def same(first: ImageData, second: ImageData) -> bool:
    tensors = [(one.train.images, one.train.labels, one.test.images, one.test.labels) for one in (first, second)]
    notes = [(one.classes, one.name, dict(one.facts)) for one in (first, second)]
    return all(torch.equal(a, b) for a, b in zip(*tensors, strict=True)) and notes[0] == notes[1]
