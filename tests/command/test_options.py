"""What options say: durations and names of settings."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from dashtheory.command.options import RESERVE, folder, read_duration, refuse_unheard, setting_name


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90.0), ("90s", 90.0), ("9m", 540.0), ("1.5h", 5400.0), (" 2 m ", 120.0), ("6.", 6.0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert read_duration(text) == seconds - RESERVE


@pytest.mark.parametrize("text", ["", "m", "9d", "-9m", "1e3", "9m9s", "5", "0.08m", "inf", "nan"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(ValueError, match="--budget must be"):
        read_duration(text)


def test_a_setting_is_named_by_its_preset_and_what_was_changed() -> None:
    changed = {"rules": ("cold",), "rho": 0.5, "model_options": ("width=8", "blocks=1"), "flip": True}
    assert setting_name("a-b", changed) == "a-b+flip=True+model_options=width=8_blocks=1+rho=0_5"
    assert setting_name("a-b", {"rules": ("cold",)}) == "a-b"
    assert setting_name("a-b", {"learning_rate": 1e-05, "data": "x:/y"}) == "a-b+data=x__y+learning_rate=1e-05"


def test_a_folder_of_results_may_be_in_the_home() -> None:
    assert folder("~/runs") == Path.home() / "runs"
    assert folder("a b/~") == Path("a b/~")
    with pytest.raises(argparse.ArgumentTypeError, match="a home that is there, got '~nobody-here/runs'"):
        folder("~nobody-here/runs")


def test_a_stream_of_ones_own_hears_no_option_of_the_package_s_data() -> None:
    for name in ("num_chunks", "chunk_size", "num_test", "size"):
        refuse_unheard({"data": "digits", name: 3})
        with pytest.raises(ValueError, match=f"{name} must be left out with a stream of your own, got 3"):
            refuse_unheard({"data": "python:mine.py:stream", name: 3})
