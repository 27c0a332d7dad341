"""Pictures: pixels, modes and sizes of what is decoded, and what is none."""

import hashlib
import io
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from dashtheory.deep.data import folder as folder_module
from dashtheory.deep.data import picture as picture_module
from dashtheory.deep.data.picture import decode_picture
from tests.deep.data_cases import encoded, pixels, png


def test_png_pixels_are_exact() -> None:
    assert np.array_equal(decode_picture("x", png(0)), pixels(0))
    assert np.array_equal(decode_picture("x", png(0, (3, 5))), pixels(0, (3, 5)))


def test_modes_become_grey_or_colour() -> None:
    colour, grey = Image.fromarray(pixels(0)), Image.fromarray(pixels(0, (4, 4)))
    assert np.array_equal(decode_picture("x", encoded(colour.convert("RGBA"))), pixels(0))
    assert np.array_equal(decode_picture("x", encoded(grey.convert("LA"))), pixels(0, (4, 4)))
    assert set(np.unique(decode_picture("x", encoded(grey.convert("1"))))) == {0, 255}
    palette = colour.convert("P")
    assert np.array_equal(decode_picture("x", encoded(palette)), np.asarray(palette.convert("RGB")))
    assert decode_picture("x", encoded(colour.convert("CMYK"), "JPEG")).shape == (4, 4, 3)
    assert decode_picture("x", encoded(grey, "JPEG")).shape == (4, 4)


def test_jpeg_is_decoded_as_pillow_does() -> None:
    content = encoded(Image.fromarray(pixels(0, (16, 16, 3))), "JPEG")
    assert np.array_equal(decode_picture("x", content), np.asarray(Image.open(io.BytesIO(content))))


def test_resizing_averages_over_all_pixels() -> None:
    board = np.indices((64, 64)).sum(axis=0).astype(np.uint8) % 2 * 255  # a chessboard of single pixels
    small = decode_picture("x", encoded(Image.fromarray(board)), 8)
    assert small.shape == (8, 8)
    assert small[2:-2, 2:-2].tolist() == [[128] * 4] * 4 or np.ptp(small[2:-2, 2:-2]) <= 1
    assert decode_picture("x", png(0, (3, 5, 3)), 7).shape == (7, 7, 3)
    assert np.array_equal(decode_picture("x", png(0), 4), pixels(0))


def test_pictures_that_are_none_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Image.fromarray(pixels(0, (32, 32, 3)))
    header = bytearray(png(0))
    header[25] = 9  # a colour type that does not exist
    bad = {
        "empty": b"",
        "text": b"hello",
        "truncated png": encoded(picture)[:-400],
        "truncated jpeg": encoded(picture, "JPEG")[:-300],
        "gif": encoded(picture, "GIF"),
        "sixteen bits": encoded(Image.fromarray(np.zeros((4, 4), np.uint16))),
        "header": bytes(header),
    }
    for name, content in bad.items():
        with pytest.raises(ValueError, match=f"picture must be a whole PNG or JPEG .* got '{name}'") as raised:
            decode_picture(name, content)
        assert "\n" not in str(raised.value)
    monkeypatch.setattr(picture_module, "_MAX_PIXELS", 1024)
    decode_picture("x", encoded(picture))
    monkeypatch.setattr(picture_module, "_MAX_PIXELS", 1023)
    with pytest.raises(ValueError, match="32 x 32 pixels"):
        decode_picture("x", encoded(picture))


def test_many_batches_keep_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [(PurePosixPath(f"{i}"), png(i, (2, 2))) for i in range(100)]
    monkeypatch.setattr(folder_module, "_BATCH", 3)
    for threads in (1, 3):
        monkeypatch.setattr(folder_module, "usable_cores", lambda threads=threads: threads)
        found = list(folder_module._decoded(files, None))
        assert [str(one.path) for one in found] == [str(i) for i in range(100)]
        assert all(np.array_equal(one.pixels, pixels(i, (2, 2))) for i, one in enumerate(found))
        assert found[7].sha256 == hashlib.sha256(files[7][1]).digest()
