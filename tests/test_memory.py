"""Sizes that cannot fit are refused in one line, before anything is allocated, with a value that fits."""

from __future__ import annotations

import io
import os
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from dashtheory import _memory
from dashtheory._memory import machine_memory, must_fit
from dashtheory.command.script import main
from dashtheory.deep.config import RunConfig
from dashtheory.deep.data import image_folder
from dashtheory.discrete.setting import DiscreteSetting
from dashtheory.experiments.alpha_lambda_map import AlphaLambdaConfig
from dashtheory.experiments.shrink_geometry import GeometryConfig
from dashtheory.experiments.warm_creep import CreepConfig
from dashtheory.theory import population
from tests.toys import TOY

HUGE: dict[str, tuple[Callable[[int], object], int]] = {
    "num_features": (lambda size: DiscreteSetting(num_features=size), 10**8),
    "chunk_size": (lambda size: DiscreteSetting(chunk_size=size), 10**12),
    "num_points": (lambda size: CreepConfig(num_points=size), 10**12),
    "num_angles": (lambda size: GeometryConfig(num_angles=size), 10**9),
    "num_stages": (lambda size: AlphaLambdaConfig(num_stages=size), 10**8),
    "num_stages ": (lambda size: population(np.full((2, 50), 0.1), 500, size), 10**10),
    "num_test": (lambda size: AlphaLambdaConfig(num_test=size), 10**10),
    "chunk_size ": (lambda size: RunConfig.of(data="digits", chunk_size=size), 10**12),
    "num_chunks": (lambda size: RunConfig.of(data="digits", num_chunks=size), 10**12),
    "size": (lambda size: RunConfig.of(data="digits", size=size), 10**7),
}


@pytest.fixture(autouse=True)
def sixteen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 16 GiB, whatever this one has."""
    monkeypatch.setattr(_memory, "machine_memory", lambda: 1 << 34)


@pytest.mark.parametrize("name", HUGE)
def test_a_size_that_cannot_fit_is_one_line_that_names_it_and_a_value_that_fits(name: str) -> None:
    make, size = HUGE[name]
    tracemalloc.start()
    with pytest.raises(ValueError, match=rf"^{name.strip()} must fit in memory, got {size}") as raised:
        make(size)
    assert tracemalloc.get_traced_memory()[1] < 1 << 24
    tracemalloc.stop()
    text = str(raised.value)
    assert "of 16 GiB. " in text
    assert "\n" not in text
    fits = re.search(r" (\d+) fits\.$", text)
    assert fits is not None
    assert 0 < int(fits[1]) < size


@pytest.mark.parametrize(("option", "size"), [("--seeds", 100_000_000), ("--jobs", 10_000)])
def test_counts_of_the_command_line_are_refused(
    option: str, size: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(TOY, ["--out", str(tmp_path), option, str(size)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"toy.py: {option} must fit in memory, got {size}, which needs about")
    assert not list(tmp_path.iterdir())


def test_what_fits_to_the_byte_is_taken_and_one_more_is_not() -> None:
    must_fit("n", 1 << 30, 16)
    with pytest.raises(ValueError, match=r"got 1073741825, which needs about 16 GiB of 16 GiB. 536870912 fits"):
        must_fit("n", (1 << 30) + 1, 16)
    with pytest.raises(ValueError, match=r"Choose smaller sizes"):
        must_fit("n", 1, 1 << 35)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(1, 10**12), each=st.floats(1, 1e12), power=st.sampled_from([1, 2]))
def test_what_is_said_to_fit_fits(count: int, each: float, power: int) -> None:
    """Bytes are count times each, and each grows with the count to one less than the power."""
    try:
        must_fit("n", count, each, power=power)
    except ValueError as error:
        if (found := re.search(r" (\d+) fits", str(error))) is not None:
            other = int(found[1])
            must_fit("n", other, each * (other / count) ** (power - 1), power=power)
    else:
        assert count * each <= 1 << 34


def test_this_machine_has_some_memory() -> None:
    assert 1 << 28 < machine_memory() <= 1 << 50


def picture(side: int) -> bytes:
    """A small file that says it has many pixels."""
    kept = io.BytesIO()
    Image.new("1", (side, side)).save(kept, "PNG")
    return kept.getvalue()


def test_pictures_are_refused_by_their_pixels_before_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(6):
            (tmp_path / label / f"{number}.png").write_bytes(picture(4096))
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.png")) < 1 << 20
    monkeypatch.setattr("dashtheory.deep.data.folder.decode_picture", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(ValueError, match="must hold at most 16,000,000 bytes of pixels"):
        image_folder(tmp_path, max_bytes=16_000_000, cache=tmp_path / ".cache")
    with pytest.raises(ValueError, match="size must fit in memory, got 1000000"):
        image_folder(tmp_path, size=10**6, cache=tmp_path / ".cache")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
@pytest.mark.parametrize("place", ["", "a/pipe.png", "a/pipe.txt"])
def test_a_named_pipe_is_refused_and_never_waited_for(place: str, tmp_path: Path) -> None:
    (tmp_path / "data" / "a").mkdir(parents=True)
    path = tmp_path / "data" / place if place else tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(ValueError, match=r"must (hold plain files|be a folder or a plain file)"):
        image_folder(tmp_path / "data" if place else path, cache=tmp_path / "cache")


def test_a_large_archive_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "data.zip"
    with path.open("wb") as file:
        file.truncate(1 << 20)  # no archive at all: nothing of it is looked at
    with pytest.raises(ValueError, match=r"archive must unpack to at most 1,000 bytes, got .*data\.zip"):
        image_folder(path, max_bytes=1000, cache=tmp_path / "cache")
