"""One PNG or JPEG file as an array."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

from dashtheory._check import fail

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]

FORMATS = ("PNG", "JPEG")
ENDINGS = (".png", ".jpg", ".jpeg")
_MAX_PIXELS = 1 << 26
_GREY = frozenset({"1", "L", "LA"})
_COLOUR = frozenset({"P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


def decode_picture(name: str, content: bytes, size: int | None = None) -> Pixels:
    """Decode a PNG or JPEG file.

    Transparency is dropped, palettes become colours, the orientation in a photograph's notes is not applied.

    Args:
        name: of the file, for messages.
        content: its bytes.
        size: height and width to stretch the picture to, by Pillow's bilinear filter, which averages over all
            pixels when it shrinks; None keeps the picture as it is.

    Returns:
        uint8 array (height, width) if the file is grey, else (height, width, 3).

    Raises:
        ValueError: that names the file if it is damaged, neither PNG nor JPEG, has more than 2^26 pixels, or more
            than 8 bits per channel.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            return _pixels(picture, size)
    except _BROKEN as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        rule = "must be a whole PNG or JPEG file of 8 bits per channel"
        fail("picture", rule, f"'{name}' ({reason})", "Mend it or remove it.")


def picture_size(content: bytes) -> int:
    """Pixels that a PNG or JPEG file says it has; nothing is decoded. 0 for what cannot be read."""
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            return picture.width * picture.height
    except _BROKEN:  # `decode_picture` says what is wrong
        return 0


def _pixels(picture: Image.Image, size: int | None) -> Pixels:
    if picture.mode not in _GREY | _COLOUR:
        raise ValueError(f"mode {picture.mode}")
    if picture.width * picture.height > _MAX_PIXELS:
        raise ValueError(f"{picture.width} x {picture.height} pixels")
    plain = picture.convert("L" if picture.mode in _GREY else "RGB")
    if size is not None and plain.size != (size, size):
        plain = plain.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(plain)
