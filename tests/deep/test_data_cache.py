"""The cache: read instead of built, built anew when anything differs, whole whatever interrupts."""

import hashlib
import io
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from dashtheory.deep.data import ImageData, ImageSet, cache_folder, image_folder
from dashtheory.deep.data import cache as cache_module
from dashtheory.deep.data.cache import cached
from tests.deep.data_cases import placed, same, split_files


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


@pytest.mark.parametrize("part", ["train_images", "train_labels", "test_images", "test_labels", "note"])
def test_a_cache_file_with_another_content_is_built_anew(cache: Path, part: str) -> None:
    """It is whole and tells the hashes of the true files, but one pixel, label or name has changed."""
    build = Builder()
    build.get()
    (path,) = cache.iterdir()
    with np.load(path) as content:
        arrays = dict(content)
    if part == "note":
        text = arrays[part].tobytes().replace(b'"here"', b'"hier"')
        arrays[part] = np.frombuffer(text, np.uint8)
    else:
        arrays[part] = arrays[part].copy()
        arrays[part].reshape(-1)[0] ^= 1
    with path.open("wb") as file:
        np.savez(file, **arrays)
    assert same(build.get(), toy(2))


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
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
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
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "dashtheory"
    Builder().get(cache=tmp_path / "x")
    assert len(list((tmp_path / "x").iterdir())) == 1


def test_a_cache_that_cannot_be_written_is_named_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    build = Builder()
    with pytest.raises(ValueError, match=r"cache must be a folder that can be written, got '.*/file/x'"):
        build.get(cache=tmp_path / "file" / "x")
    assert build.calls == 0


def no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


@pytest.mark.parametrize("home", ["read-only", "none"])
def test_without_a_home_that_can_be_written_data_are_read_all_the_same(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DASHTHEORY_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    if home == "none":
        monkeypatch.setattr(Path, "expanduser", lambda path: no_home())
    build = Builder()
    assert same(build.get(), toy(1))
    assert same(build.get(), toy(2))


def test_a_read_only_cache_still_serves_what_it_holds_and_warns_of_what_it_lacks(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = Builder()
    build.get()

    def refuse(name: str, folder: Path) -> Path:
        raise ValueError(f"{name} must be a folder that can be written, got '{folder}' (Read-only).")

    monkeypatch.setattr(cache_module, "writable_folder", refuse)
    assert same(build.get(), toy(1))
    (path,) = cache.iterdir()
    path.unlink()
    with pytest.warns(RuntimeWarning, match=r"^cache must be a folder .*Until then pictures are decoded anew\.$"):
        assert same(build.get(), toy(2))


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
