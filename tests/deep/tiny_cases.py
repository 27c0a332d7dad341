"""Small archives in the official layout of Tiny-ImageNet."""

import dataclasses
import hashlib
import io
import zipfile
from pathlib import Path

from PIL import Image

from dashtheory.deep.data import ImageData
from dashtheory.deep.data.fetch import OfficialFile
from dashtheory.deep.data.tiny import TINY_IMAGENET, TinyFormat, read_tiny
from tests.deep.data_cases import Files

TOP = "tiny-imagenet-200"
WNIDS = ("n09", "n01", "n05")  # as wnids.txt lists them: not sorted
SORTED = ("n01", "n05", "n09")
PER_CLASS, NUM_TEST, SIZE = 4, 5, 16
TEST_LABELS = (2, 0, 1, 1, 0)


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
