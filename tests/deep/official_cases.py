"""Official files made here, and a small CIFAR-10."""

import hashlib
import io
import tarfile
from pathlib import Path

from dashtheory.deep.data.fetch import OfficialFile


def official(path: Path, url: str = "http://unused.invalid/") -> OfficialFile:
    """A description under which the file at `path` is the official one."""
    return OfficialFile(name=path.name, url=url, md5=hashlib.md5(path.read_bytes()).hexdigest())


def tar_gz(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def plane(value: int) -> bytes:
    """One colour of a picture: 32 rows of 32, level = value + row + 2 * column (mod 256)."""
    return bytes((value + row + 2 * column) % 256 for row in range(32) for column in range(32))


def cifar10_files() -> dict[str, bytes]:
    """Two pictures per batch; picture i has class i % 10 and planes i, i + 1, i + 2."""
    records = [bytes([i % 10]) + plane(i) + plane(i + 1) + plane(i + 2) for i in range(12)]
    top = "cifar-10-batches-bin/"
    files = {f"{top}data_batch_{i + 1}.bin": b"".join(records[2 * i : 2 * i + 2]) for i in range(5)}
    files[f"{top}test_batch.bin"] = b"".join(records[10:])
    files[f"{top}batches.meta.txt"] = "".join(f"class {i}\n" for i in range(10)).encode() + b"\n"
    files[f"{top}readme.html"] = b"<html>"
    return files
