"""Reading photos: hostile files are refused in one line, odd but honest ones become upright sRGB."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.generation.photo import load_photo


def _scene(width: int = 96, height: int = 64) -> np.ndarray:
    """Red in the upper left corner, green to the right, blue below: orientation can be read off."""
    rgb = np.full((height, width, 3), 40, np.uint8)
    rgb[: height // 2, : width // 2] = (220, 30, 30)
    rgb[: height // 2, width // 2 :] = (30, 220, 30)
    rgb[height // 2 :, : width // 2] = (30, 30, 220)
    return rgb


def _corner_names(rgb: np.ndarray) -> str:
    """Dominant channel of the four quadrants, row by row; k where none dominates."""
    h, w = rgb.shape[:2]
    names = ""
    for row in (h // 4, 3 * h // 4):
        for col in (w // 4, 3 * w // 4):
            pixel = rgb[row, col].astype(int)
            names += "rgb"[pixel.argmax()] if pixel.max() > pixel.min() + 60 else "k"
    return names


def _png_declaring(width: int, height: int) -> bytes:
    """A PNG header of that size with hardly any data behind it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def _bad_files(folder: Path) -> dict[str, Path]:
    png = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(png, "PNG")
    content = {
        "text.jpg": b"this is no picture\n",
        "empty.png": b"",
        "truncated.png": png.getvalue()[: len(png.getvalue()) // 2],
        "one_pixel.png": None,
        "bomb.png": _png_declaring(30_000, 30_000),
        "large.png": _png_declaring(13_000, 13_000),
        "script.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n",
    }
    for name, data in content.items():
        if data is None:
            Image.new("RGB", (1, 1)).save(folder / name)
        else:
            (folder / name).write_bytes(data)
    (folder / "directory.jpg").mkdir()
    return {
        **{name: folder / name for name in content},
        "directory.jpg": folder / "directory.jpg",
        "missing.jpg": folder / "missing.jpg",
        "nul\0.jpg": folder / "nul\0.jpg",
    }


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing.jpg", "does not exist"),
        ("directory.jpg", "directory"),
        ("text.jpg", "not a picture"),
        ("script.eps", "not a picture"),
        ("empty.png", "empty"),
        ("truncated.png", "cut short"),
        ("one_pixel.png", "1x1 px"),
        ("bomb.png", "megapixels"),
        ("large.png", "megapixels"),
        ("nul\0.jpg", "photo"),
    ],
)
def test_bad_file_is_refused_in_one_line_with_the_path_last(tmp_path, name, says):
    path = _bad_files(tmp_path)[name]
    with pytest.raises(InputError) as caught:
        load_photo(path, long_side_px=64)
    message = str(caught.value)
    assert says in message and "\n" not in message
    assert message.rstrip("'").endswith(name.replace("\0", r"\x00")) or name.startswith("nul")


def test_working_size_has_to_be_believable(tmp_path):
    Image.fromarray(_scene()).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="long_side_px is 3"):
        load_photo(tmp_path / "a.png", long_side_px=3)


def _save_animated(path: Path) -> None:
    frames = [Image.fromarray(_scene()), Image.new("RGB", (96, 64), (0, 0, 0))]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)


def _save_palette(path: Path) -> None:
    Image.fromarray(_scene()).quantize(16).save(path)


def _save_transparent_palette(path: Path) -> None:
    picture = Image.fromarray(_scene()).quantize(16)
    picture.save(path, transparency=picture.getpixel((90, 60)))


def _save_rgba(path: Path) -> None:
    rgba = np.dstack([_scene(), np.full((64, 96), 255, np.uint8)])
    rgba[40:, 60:, 3] = 0
    Image.fromarray(rgba).save(path)


ODD_COLOUR = {
    "plain.png": lambda p: Image.fromarray(_scene()).save(p),
    "plain.bmp": lambda p: Image.fromarray(_scene()).save(p),
    "plain.webp": lambda p: Image.fromarray(_scene()).save(p, quality=95),
    "palette.png": _save_palette,
    "palette_transparent.png": _save_transparent_palette,
    "palette.gif": _save_palette,
    "animated.gif": _save_animated,
    "animated.webp": _save_animated,
    "rgba.png": _save_rgba,
    "cmyk.jpg": lambda p: Image.fromarray(_scene()).convert("CMYK").save(p, quality=95),
    "progressive.jpg": lambda p: Image.fromarray(_scene()).save(p, quality=95, progressive=True),
}


@pytest.mark.parametrize("name", sorted(ODD_COLOUR))
def test_colour_files_keep_their_colours(tmp_path, name):
    ODD_COLOUR[name](tmp_path / name)
    photo = load_photo(tmp_path / name, long_side_px=832)
    assert photo.rgb_u8.shape == (64, 96, 3) and photo.rgb_u8.dtype == np.uint8
    assert _corner_names(photo.rgb_u8) == "rgbk"
    assert photo.name == name and len(photo.sha256) == 64 and photo.original_size_px == (96, 64)


def _ramp16() -> np.ndarray:
    return np.tile(np.linspace(0, 65535, 96).astype(np.uint16), (64, 1))


ODD_GREY = {
    "grey16.png": lambda p: Image.fromarray(_ramp16()).save(p),
    "grey16.tif": lambda p: Image.fromarray(_ramp16()).save(p),
    "grey32.tif": lambda p: Image.fromarray(_ramp16().astype(np.int32)).save(p),
    "float.tif": lambda p: Image.fromarray((_ramp16() / 65535).astype(np.float32)).save(p),
    "grey.png": lambda p: Image.fromarray((_ramp16() / 257).astype(np.uint8)).save(p),
    "grey.jpg": lambda p: Image.fromarray((_ramp16() / 257).astype(np.uint8)).save(p, quality=98),
    "grey_alpha.png": lambda p: Image.fromarray((_ramp16() / 257).astype(np.uint8)).convert("LA").save(p),
}


@pytest.mark.parametrize("name", sorted(ODD_GREY))
def test_grey_files_keep_their_range(tmp_path, name):
    ODD_GREY[name](tmp_path / name)
    rgb = load_photo(tmp_path / name, long_side_px=832).rgb_u8.astype(int)
    np.testing.assert_allclose(rgb[32, :, 0], np.linspace(0, 255, 96), atol=4)
    assert (rgb == rgb[..., :1]).all()


def test_bilevel_picture_becomes_black_and_white(tmp_path):
    Image.fromarray(_scene()[..., 0] > 100).save(tmp_path / "bits.png")
    assert set(np.unique(load_photo(tmp_path / "bits.png", long_side_px=832).rgb_u8)) == {0, 255}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = Image.fromarray(_scene())
    stored = stored.transpose(undo[orientation]) if orientation in undo else stored
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stored.save(tmp_path / "turned.jpg", quality=95, exif=exif)
    photo = load_photo(tmp_path / "turned.jpg", long_side_px=832)
    assert photo.rgb_u8.shape == (64, 96, 3) and photo.original_size_px == (96, 64)
    assert _corner_names(photo.rgb_u8) == "rgbk"


def _save_with_focal(path: Path, size: tuple[int, int], orientation: int = 1, **tags: float) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    camera = exif.get_ifd(ExifTags.IFD.Exif)
    for name, value in tags.items():
        camera[ExifTags.Base[name]] = value
    Image.new("RGB", size, (90, 90, 90)).save(path, exif=exif)


@pytest.mark.parametrize(
    ("size", "orientation", "tags", "hfov_deg"),
    [
        ((300, 200), 1, {"FocalLengthIn35mmFilm": 28}, 65.47),  # 36 mm wide behind 28 mm
        ((300, 200), 6, {"FocalLengthIn35mmFilm": 28}, 46.40),  # held upright: 24 mm wide
        ((200, 300), 1, {"FocalLengthIn35mmFilm": 28}, 46.40),
        ((400, 300), 1, {"FocalLengthIn35mmFilm": 26}, 67.29),  # 4:3 by equal diagonals
        ((300, 200), 1, {}, None),
        ((300, 200), 1, {"FocalLengthIn35mmFilm": 0}, None),
        ((300, 200), 1, {"FocalLengthIn35mmFilm": 1}, None),  # 173 degrees: no such lens
        ((900, 200), 1, {"FocalLengthIn35mmFilm": 28}, None),  # stitched
        (
            (300, 200),
            1,
            {"FocalLengthIn35mmFilm": 28, "ExifImageWidth": 3000, "ExifImageHeight": 3000},
            None,
        ),  # cropped
        (
            (300, 200),
            1,
            {
                "FocalLength": 18.0,
                "FocalPlaneXResolution": 6000 / 2.36,
                "FocalPlaneResolutionUnit": 3,
                "ExifImageWidth": 6000,
                "ExifImageHeight": 4000,
            },
            66.50,  # 23.6 mm wide behind 18 mm
        ),
    ],
)
def test_focal_length_from_exif(tmp_path, size, orientation, tags, hfov_deg):
    _save_with_focal(tmp_path / "f.jpg", size, orientation, **tags)
    hfov = load_photo(tmp_path / "f.jpg", long_side_px=832).hfov_rad
    if hfov_deg is None:
        assert hfov is None
    else:
        assert hfov is not None
        np.testing.assert_allclose(np.degrees(hfov), hfov_deg, atol=0.05)


@pytest.mark.parametrize(("stated", "expected"), [(2.5, 2.5), (0.0, None), (4294967295.0, None), (None, None)])
def test_subject_distance_from_exif(tmp_path, stated, expected):
    """A distance is one; zero and all bits set stand for none."""
    exif = Image.Exif()
    if stated is not None:
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.SubjectDistance] = stated
    Image.fromarray(_scene()).save(tmp_path / "s.jpg", exif=exif)
    assert load_photo(tmp_path / "s.jpg", long_side_px=832).subject_distance_m == expected


def test_broken_exif_costs_nothing(tmp_path):
    Image.fromarray(_scene()).save(tmp_path / "x.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x12" * 60)
    assert load_photo(tmp_path / "x.jpg", long_side_px=832).hfov_rad is None


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1664, 1000), (832, 500)), ((1000, 1664), (500, 832)), ((3000, 200), (832, 55)), ((640, 480), (640, 480))],
)
def test_long_side_fits_and_small_pictures_stay(tmp_path, size, expected):
    Image.new("RGB", size, (10, 200, 30)).save(tmp_path / "s.png")
    photo = load_photo(tmp_path / "s.png", long_side_px=832)
    assert photo.rgb_u8.shape[1::-1] == expected and photo.original_size_px == size
    assert (photo.rgb_u8 == (10, 200, 30)).all()


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_48_megapixels_are_reduced_without_aliasing(tmp_path, suffix):
    fine = np.zeros((6000, 8000), np.uint8)
    fine[:, ::2] = 255  # columns finer than the result can show
    Image.fromarray(fine).save(tmp_path / f"huge.{suffix}")
    photo = load_photo(tmp_path / f"huge.{suffix}", long_side_px=832)
    assert photo.rgb_u8.shape == (624, 832, 3) and photo.original_size_px == (8000, 6000)
    assert np.ptp(photo.rgb_u8[50:-50, 50:-50].astype(int)) < 12


def test_equal_files_give_equal_records(tmp_path):
    Image.fromarray(_scene()).save(tmp_path / "a.jpg")
    one, two = (load_photo(tmp_path / "a.jpg", long_side_px=48) for _ in range(2))
    assert one.sha256 == two.sha256 and (one.rgb_u8 == two.rgb_u8).all()
