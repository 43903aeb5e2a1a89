"""Images of any kind in, boxes in pixels and drawn images out."""

from __future__ import annotations

import io
import os
import struct
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_impl._common.files import write_file
from keras_impl.data.canvases import CLASS_NAMES, batch_images, canvas
from keras_impl.data.mnist import load_digits
from keras_impl.detector.detector import detect_from_heads, detector_of
from keras_impl.images import drawing, reading
from keras_impl.images.detections import Detection, entry, label_names
from keras_impl.images.drawing import draw
from keras_impl.images.pixels import prepare
from keras_impl.images.reading import images_in, open_image
from keras_impl.images.writing import free_name, mark_of, save_drawn
from keras_impl.weights.npz import load_model
from reference_numpy import detection
from reference_numpy.conventions import CANONICAL, PRESETS

# What `seven` in conftest.py says of every image.
ANCHOR, BOX, SCORE = 2882, (0.075, 0.075, 0.925, 0.925), np.exp(5) / (np.exp(5) + 10)
DIGITS = label_names(10, CLASS_NAMES)
BOTH = ("keras", "numpy")


@pytest.fixture(scope="module")
def model(seven):
    return load_model(seven)


def saved(image: Image.Image, path: Path, **options) -> Path:
    image.save(path, **options)
    return path


def halves(mode: str, left: object, right: object, size: int = 16) -> Image.Image:
    """An image of two colours, left and right."""
    image = Image.new(mode, (size, size), left)
    image.paste(right, (size // 2, 0, size, size))
    return image


def corners(image: Image.Image) -> list[tuple[int, ...]]:
    """The colours in the middle of the left and of the right half."""
    y = image.height // 2
    return [image.getpixel((image.width // 4, y)), image.getpixel((3 * image.width // 4, y))]


# --- Reading ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "suffix", "options"),
    [
        ("PNG", ".png", {}),
        ("JPEG", ".jpg", {"quality": 95}),
        ("WEBP", ".webp", {"lossless": True}),
        ("TIFF", ".tif", {}),
        ("BMP", ".bmp", {}),
        ("GIF", ".gif", {}),
        ("PPM", ".ppm", {}),
    ],
)
def test_each_format_is_read_whatever_the_file_is_called(tmp_path, kind, suffix, options):
    assert suffix in reading.FORMATS[kind]
    image = halves("RGB", (200, 30, 60), (10, 250, 90))
    for name in ("a" + suffix, "b.jpg", "c"):
        path = tmp_path / name
        image.save(path, kind, **options)
        read = open_image(path)
        assert (read.mode, read.size) == ("RGB", (16, 16))
        np.testing.assert_allclose(corners(read), [(200, 30, 60), (10, 250, 90)], atol=4)


@pytest.mark.parametrize(
    ("image", "left", "right"),
    [
        (halves("1", 0, 1), (0, 0, 0), (255, 255, 255)),
        (halves("L", 7, 200), (7, 7, 7), (200, 200, 200)),
        (halves("P", 1, 2), (1, 1, 1), (2, 2, 2)),
        # Half transparent white is grey on black, and what is not there is black.
        (halves("LA", (255, 128), (255, 0)), (128, 128, 128), (0, 0, 0)),
        (halves("RGBA", (255, 0, 0, 255), (0, 255, 0, 51)), (255, 0, 0), (0, 51, 0)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else None,
)
def test_each_mode_becomes_rgb(tmp_path, image, left, right):
    if image.mode == "P":
        image.putpalette([value for grey in range(256) for value in (grey, grey, grey)])
    read = open_image(saved(image, tmp_path / "a.png"))
    assert read.mode == "RGB"
    assert corners(read) == [left, right]


def test_a_transparent_colour_of_a_palette_becomes_black(tmp_path):
    image = halves("P", 1, 2)
    image.putpalette([0, 0, 0, 10, 20, 30, 200, 100, 50])
    path = saved(image, tmp_path / "a.png", transparency=2)
    assert corners(open_image(path)) == [(10, 20, 30), (0, 0, 0)]


def test_cmyk_is_read(tmp_path):
    path = saved(halves("CMYK", (0, 0, 0, 0), (0, 0, 0, 255)), tmp_path / "a.jpg", quality=95)
    np.testing.assert_allclose(corners(open_image(path)), [(255,) * 3, (0,) * 3], atol=4)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_of_16_bits_the_upper_8_count(tmp_path, suffix):
    values = np.tile(np.array([0, 0x0100, 0x80FF, 0xFFFF], np.uint16), (4, 1))
    read = open_image(saved(Image.fromarray(values), tmp_path / ("a" + suffix)))
    assert np.asarray(read)[0].tolist() == [[0] * 3, [1] * 3, [128] * 3, [255] * 3]


@pytest.mark.parametrize("values", [np.full((2, 2), 0.5, np.float32), np.full((2, 2), 70000)])
def test_numbers_that_are_no_shades_of_grey_are_refused(tmp_path, values):
    array = values if values.dtype == np.float32 else values.astype(np.int32)
    path = saved(Image.fromarray(array), tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"expected 8 or 16 bits a channel\. Received: mode [IF]"):
        open_image(path)


def test_an_image_is_turned_as_its_exif_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the left column is the top row
    image = halves("RGB", (250, 0, 0), (0, 0, 250), 32).resize((32, 16))
    read = open_image(saved(image, tmp_path / "a.jpg", exif=exif, quality=95))
    assert read.size == (16, 32)
    np.testing.assert_allclose(read.getpixel((8, 4)), (250, 0, 0), atol=6)
    np.testing.assert_allclose(read.getpixel((8, 28)), (0, 0, 250), atol=6)


QUARTERS = np.kron(np.arange(1, 7).reshape(2, 3), np.ones((32, 32))).astype(np.uint8) * 40
UPRIGHT = {  # TIFF 6.0, "Orientation": where the first row and column of the file are seen
    1: lambda one: one,
    2: lambda one: one[:, ::-1],
    3: lambda one: one[::-1, ::-1],
    4: lambda one: one[::-1],
    5: lambda one: one.T,
    6: lambda one: one[::-1].T,
    7: lambda one: one[::-1, ::-1].T,
    8: lambda one: one[:, ::-1].T,
}
# Other entries of the EXIF: tag, type, count, and value or its place.
ODD = {
    "nothing else": (),
    "a resolution that is text": (0x011A, 2, 4, 0x74786574),
    "a resolution that lies nowhere": (0x011A, 5, 1, 0xFFFFFF),
    "a unit of another type": (0x0128, 9, 1, 7),
    "details that lie nowhere": (0x8769, 4, 1, 0xFFFFFF),
    "details within the header": (0x8769, 4, 1, 4),
    "a type that there is not": (0x0132, 99, 1, 0),
}


def exif_of(orientation, odd):
    entries = [(0x0112, 3, 1, orientation), *([odd] if odd else [])]
    rows = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries)) + rows + bytes(4)


@pytest.mark.filterwarnings("ignore")  # Pillow's, about metadata
@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_all_ways_to_turn_whatever_else_is_there(tmp_path, orientation, kind, odd):
    options = {"jpg": {"quality": 95}, "png": {}, "webp": {"lossless": True}}[kind]
    path = saved(
        Image.fromarray(QUARTERS),
        tmp_path / f"a.{kind}",
        exif=exif_of(orientation, ODD[odd]),
        **options,
    )
    read = np.asarray(open_image(path))[..., 0].astype(int)
    wanted = UPRIGHT[orientation](QUARTERS.astype(int))
    assert read.shape == wanted.shape
    assert np.abs(read - wanted)[8::16, 8::16].max() < 10


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
@pytest.mark.parametrize(
    "junk",
    [b"", b"Exif", b"junk" * 9, b"MM\x00*\xff\xff\xff\xff", b"II*\x00\x08\x00\x00\x00\xff\xff"],
)
def test_junk_for_metadata_is_no_reason_to_refuse_an_image(tmp_path, kind, junk):
    path = saved(Image.fromarray(QUARTERS), tmp_path / f"a.{kind}", exif=b"Exif\x00\x00" + junk)
    assert open_image(path).size == (96, 64)


def test_much_compressed_metadata_is_not_read(tmp_path):
    from PIL import PngImagePlugin

    texts = PngImagePlugin.PngInfo()
    texts.add_text("Comment", "a" * 2_000_000, zip=True)
    texts.add_itxt("Title", "b" * 2_000_000, zip=True)
    profile = b"c" * 2_000_000
    path = saved(Image.fromarray(QUARTERS), tmp_path / "a.png", pnginfo=texts, icc_profile=profile)
    np.testing.assert_array_equal(np.asarray(open_image(path))[..., 0], QUARTERS)


def test_threads_that_read_leave_the_filters_of_warnings(tmp_path):
    path = saved(Image.fromarray(QUARTERS), tmp_path / "a.png")
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(open_image, [path] * 200))) == 200
    assert warnings.filters == before


def test_the_first_of_several_frames_is_taken(tmp_path):
    frames = [halves("L", 10 * n, 10 * n) for n in (3, 7)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert corners(open_image(tmp_path / "a.gif"))[0] == (30, 30, 30)


def test_what_is_no_image_is_named(tmp_path):
    (tmp_path / "letter.jpg").write_text("Dear reader,")
    with pytest.raises(ValueError, match=r"an image of one of PNG, JPEG, .*letter\.jpg, which"):
        open_image(tmp_path / "letter.jpg")
    (tmp_path / "empty.png").touch()
    with pytest.raises(ValueError, match=r"expected an image of one of PNG.*empty\.png"):
        open_image(tmp_path / "empty.png")
    with pytest.raises(FileNotFoundError, match="expected a file"):
        open_image(tmp_path / "nothing.png")
    with pytest.raises(FileNotFoundError, match="expected a file"):
        open_image(tmp_path)


def test_a_format_that_runs_other_programs_is_not_opened(tmp_path):
    (tmp_path / "a.eps").write_text(
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
    )
    with pytest.raises(ValueError, match="an image of one of PNG"):
        open_image(tmp_path / "a.eps")


def test_a_truncated_file_is_named(tmp_path):
    whole = saved(Image.effect_noise((64, 64), 90).convert("RGB"), tmp_path / "a.png").read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"half\.png cannot be read: .*truncated"):
        open_image(tmp_path / "half.png")


@pytest.mark.parametrize("kind", reading.FORMATS)
def test_a_damaged_file_is_an_image_or_a_value_error(tmp_path, kind):
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 3
    options = {} if kind in ("BMP", "GIF", "PPM") else {"exif": exif}
    Image.effect_noise((24, 24), 90).convert("RGB").save(buffer, kind, **options)
    whole, generator = bytearray(buffer.getvalue()), np.random.default_rng(0)
    refused = 0
    for _ in range(120):
        damaged = bytearray(whole)
        for place in generator.integers(0, len(whole), 4) // generator.integers(1, 40):
            damaged[place] = generator.integers(256)
        (tmp_path / "a").write_bytes(damaged)
        try:
            read = open_image(tmp_path / "a")
        except ValueError:
            refused += 1
        else:
            assert read.mode == "RGB"
    assert refused > 5, "the damage was too small to test anything"


def png_header(width: int, height: int) -> bytes:
    """A PNG file that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(8_001, 10_000), (9_000, 10_000), (60_000, 60_000)])
def test_a_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch, size):
    (tmp_path / "bomb.png").write_bytes(png_header(*size))
    monkeypatch.setattr(Image.Image, "load", lambda image: pytest.fail("decoded"))
    with pytest.raises(ValueError, match=r"bomb\.png cannot be read: .*(pixels|bomb)"):
        open_image(tmp_path / "bomb.png")


def test_a_folder_gives_its_images_by_name(tmp_path):
    for name in ("b.PNG", "a.jpg", "notes.txt", "c.webp"):
        (tmp_path / name).touch()
    (tmp_path / "d.png").mkdir()
    save_drawn(tmp_path / "drawn.png", Image.new("RGB", (4, 4)), tmp_path / "b.PNG")
    assert [path.name for path in images_in(tmp_path)] == ["a.jpg", "b.PNG", "c.webp"]


# --- What the network sees ----------------------------------------------------------------


def test_a_canvas_in_a_file_is_what_training_sees(tmp_path):
    image = canvas(load_digits("test"), "1-10", seed=3, index=0).image
    path = saved(Image.fromarray(image), tmp_path / "canvas.png")
    seen = prepare(open_image(path), (224, 224))
    assert (seen.shape, seen.dtype) == ((224, 224, 3), np.float32)
    np.testing.assert_array_equal(seen, batch_images(image[None])[0])


def bilinear(image, size):
    """Each new pixel is the mean of those it covers, weighted by a triangle; columns, then rows."""
    for axis, count in ((1, size[1]), (0, size[0])):
        scale = image.shape[axis] / count
        center = (np.arange(count)[:, None] + 0.5) * scale
        weights = np.maximum(1 - np.abs(np.arange(image.shape[axis]) + 0.5 - center) / scale, 0)
        weights /= weights.sum(axis=1, keepdims=True)
        image = np.moveaxis(np.tensordot(weights, image, (1, axis)), 0, axis).round()
    return image


def test_a_large_image_is_stretched_by_all_its_pixels():
    """Not by every fourth, nor by means of blocks, as a decoder does that is in a hurry."""
    y, x = np.mgrid[:1100, :1500]
    fine = np.stack([(x * y) % 251, (x * x + y) % 256, 127 + 127 * np.sin(x * y / 5000)], axis=-1)
    image = fine.astype(np.uint8)
    seen = (prepare(Image.fromarray(image), (300, 320)) + 1) * 127.5
    assert np.abs(seen - bilinear(image.astype(float), (300, 320))).max() < 1.01


def test_an_image_is_stretched_to_rows_and_columns():
    seen = prepare(halves("RGB", (0, 0, 0), (255, 255, 255), 64).resize((64, 32)), (10, 20))
    assert seen.shape == (10, 20, 3)
    assert (seen[:, 0] == -1).all()
    assert (seen[:, -1] == 1).all()


# --- Detecting ----------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BOTH)
def test_boxes_are_in_pixels_of_each_image(model, backend):
    sizes = [(224, 224), (640, 100), (30, 50)]
    found = detector_of(model, backend).detect([Image.new("RGB", size) for size in sizes])
    for (width, height), seen in zip(sizes, found, strict=True):
        (one,) = seen
        assert (one.label, one.anchor) == (8, ANCHOR)
        assert one.score == pytest.approx(SCORE, rel=1e-6)
        assert one.box == pytest.approx(np.array(BOX) * [width, height, width, height], rel=1e-6)


def test_keras_and_the_reference_say_the_same(model):
    images = [Image.effect_noise((50, 40), 90).convert("RGB")]
    (mine,), (wanted,) = (
        detector_of(model, backend).detect(images, score=0.001) for backend in BOTH
    )
    assert len(mine) == len(wanted) == model.convention.detection.max_detections
    assert [(one.label, one.anchor) for one in mine] == [(one.label, one.anchor) for one in wanted]


def test_only_what_is_surer_than_the_score_is_seen(model):
    image = [Image.new("RGB", (9, 9))]
    for backend in BOTH:
        detector = detector_of(model, backend)
        assert len(detector.detect(image, score=SCORE - 1e-4)[0]) == 1
        assert detector.detect(image, score=SCORE + 1e-4) == [[]]


def test_no_images_no_detections(model):
    assert detector_of(model).detect([]) == []


def test_an_unknown_backend_or_score_is_refused(model):
    with pytest.raises(ValueError, match=r"backend: expected one of .* Received: 'torch'"):
        detector_of(model, "torch")
    with pytest.raises(ValueError, match=r"backend: expected 'keras' or 'numpy' for a model"):
        detector_of(model, "litert")
    for score in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="score: expected a number in"):
            detector_of(model).detect([], score=score)


def test_labels_have_names():
    assert [DIGITS[label] for label in (1, 8, 10)] == ["0", "7", "9"]
    assert label_names(10)[1] == "1", "ten classes without names are no digits"
    assert label_names(2) == {1: "1", 2: "2"}


def test_the_entry_of_an_image():
    seen = [Detection(10, 0.12345678, (1.005, 2.0, 3.14159, 4.0), 0)]
    assert entry("a b.png", (640, 480), seen, DIGITS) == {
        "file": "a b.png",
        "width": 640,
        "height": 480,
        "detections": [{"label": "9", "score": 0.123457, "box": [1.0, 2.0, 3.14, 4.0]}],
    }


# --- Drawing ------------------------------------------------------------------------------


def ink_box(image: Image.Image, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Where a colour is in an image, half-open."""
    ys, xs = np.nonzero((np.asarray(image) == colour).all(axis=-1))
    return xs.min(), ys.min(), xs.max() + 1, ys.max() + 1


@pytest.mark.parametrize("ground", [0, 128, 255])
def test_a_box_is_drawn_where_it_is_in_the_colour_of_its_class(ground):
    image = Image.new("RGB", (700, 640), (ground,) * 3)
    before = image.tobytes()
    # The label stands above, so the lower part of what is coloured is the box.
    drawn = draw(image, [Detection(3, 0.75, (100.0, 200.0, 300.0, 400.0), 0)], DIGITS)
    assert (drawn.size, image.tobytes()) == ((700, 640), before)
    lower = ink_box(drawn.crop((0, 250, 700, 640)), drawing.colour(2))
    assert lower == (100, 0, 300, 150)


def test_the_label_says_class_and_confidence(monkeypatch):
    said = []
    monkeypatch.setattr(
        drawing.ImageDraw.ImageDraw, "text", lambda pen, place, text, **rest: said.append(text)
    )
    draw(Image.new("RGB", (99, 99)), [Detection(8, 0.987, (1, 1, 9, 9), 0)], DIGITS)
    assert said == ["7  0.99"]


def test_labels_lie_inside_and_on_no_other_where_there_is_room(monkeypatch):
    placed = []
    whole = drawing._tag

    def spy(*arguments):
        placed.append(whole(*arguments))
        return placed[-1]

    monkeypatch.setattr(drawing, "_tag", spy)
    boxes = [(0, 0, 40, 40), (2, 1, 41, 42), (190, 0, 224, 30), (180, 200, 224, 224)]
    drawn = draw(Image.new("RGB", (224, 224)), [Detection(1, 0.5, box, 0) for box in boxes], DIGITS)
    assert len(placed) == 4
    for index, (x0, y0, x1, y1) in enumerate(placed):
        assert x0 >= 0
        assert y0 >= 0
        assert x1 <= drawn.width
        assert y1 <= drawn.height
        for a0, b0, a1, b1 in placed[:index]:
            assert x1 <= a0 or a1 <= x0 or y1 <= b0 or b1 <= y0, "two labels overlap"


@pytest.mark.parametrize(
    ("size", "times"), [((224, 224), 3), ((300, 100), 2), ((600, 9), 1), ((4000, 3000), 1)]
)
def test_small_images_are_drawn_larger(size, times):
    drawn = draw(Image.new("RGB", size), [Detection(1, 0.5, (0, 0, *size), 0)], DIGITS)
    assert drawn.size == (size[0] * times, size[1] * times)


@pytest.mark.parametrize("size", [(28, 300_000), (300_000, 28), (1_000_000, 2)])
def test_a_long_strip_has_tags_of_its_width(size):
    drawn = draw(Image.new("RGB", size), [Detection(1, 0.5, (1, 1, 27, 27), 0)], DIGITS)
    seen = np.asarray(drawn).any(axis=2).any(axis=int(size[0] < size[1]))
    assert drawn.size == size
    assert seen.any()
    assert not seen[300:].any()


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1)])
@pytest.mark.parametrize("box", [(0, 0, 1, 1), (0, 0, 0, 0), (-5, -5, 9000, 9000)])
def test_odd_sizes_and_boxes_can_be_drawn(size, box):
    drawn = draw(Image.new("RGB", size), [Detection(1, 0.5, box, 0)], DIGITS)
    assert drawn.mode == "RGB"


# --- Writing ------------------------------------------------------------------------------


def test_names_never_collide_and_never_cover_a_file_of_the_users(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "7.png").write_text("mine")
    image = Image.new("RGB", (2, 2))
    taken = set()
    written = []
    for source in (tmp_path / "a/7.jpg", tmp_path / "b/7.jpg", tmp_path / "b/7.gif"):
        path = free_name(out, source, taken)
        taken.add(path.name.lower())
        save_drawn(path, image, source)
        written.append(path.name)
    assert written == ["7-2.png", "7-3.png", "7-4.png"]
    assert (out / "7.png").read_text() == "mine"
    # Again: each goes where it was, and the image of another source is not replaced.
    assert free_name(out, tmp_path / "b/7.jpg").name == "7-3.png"
    assert free_name(out, tmp_path / "c/7.jpg").name == "7-5.png"


def test_names_differ_by_more_than_case(tmp_path):
    assert free_name(tmp_path, Path("A.jpg"), {"a.png"}).name == "A-2.png"


def test_a_name_is_a_name_on_every_system(tmp_path):
    assert free_name(tmp_path, Path('a<b>:"|?*.png')).name == "a_b______.png"
    assert free_name(tmp_path, Path("ä ß 7.jpg")).name == "ä ß 7.png"


def test_a_drawn_image_is_known_and_tells_nobody_where_its_source_is(tmp_path):
    source = tmp_path / "private" / "photo.jpg"
    save_drawn(tmp_path / "a.png", Image.new("RGB", (2, 2)), source)
    assert mark_of(tmp_path / "a.png")
    assert b"private" not in (tmp_path / "a.png").read_bytes()
    assert mark_of(saved(Image.new("RGB", (2, 2)), tmp_path / "b.png")) is None
    assert mark_of(tmp_path / "nothing.png") is None


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_file(path, "old")
    write_file(path, b"new")
    assert path.read_text() == "new"

    def full(*arguments):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_file(path, "lost")
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "new"


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes are POSIX here")
def test_links_and_devices_stay_what_they_are(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
    write_file(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"

    # A pipe stands for all devices: were this to break, /dev/null would be gone for everyone.
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_file(tmp_path / "pipe", "through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()


# --- Reading the heads quickly ------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("score", [0.0, 0.01, 0.3, 0.5, 0.95, 0.9995, 1.0])
def test_anchors_that_cannot_score_are_not_missed(name, score, **overrides):
    """The reference asked about a few anchors says what it says of all, at the threshold too."""
    convention = PRESETS[name].replace(score_threshold=score, **overrides)
    generator = np.random.default_rng(1)
    anchors = np.concatenate(
        [generator.uniform(0, 1, (300, 2)), generator.uniform(0.1, 0.5, (300, 2))], axis=1
    ).astype(np.float32)
    logits = generator.normal(-2, 4, (300, 5)).astype(np.float32)
    if 0 < score < 1:  # some exactly at the threshold, or one rounding beside it
        tie = np.float32(np.log(score / (1 - score)))
        logits[::7] = [0, tie, np.nextafter(tie, np.float32(9)), np.nextafter(tie, -9), -30]
        logits[::11] = [tie, 0, 0, 0, 0]
        # Others hardly above it, sure of one class beside the background.
        background = 4 if convention.coding.background == "last" else 0
        logits[::13] = -30
        logits[::13, background] = 0
        logits[::13, 3] = tie + np.float32(5e-4)
    logits[:, 2] = -30  # a class that is nowhere: those after it keep their labels
    deltas = generator.normal(0, 1, (300, 4)).astype(np.float32)

    found = detect_from_heads(deltas, logits, anchors, convention)

    wanted = detection.detect(deltas, logits, anchors, convention)
    assert len(wanted.labels) > 0 or score > 0.9
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


def test_soft_suppression_misses_none_either():
    test_anchors_that_cannot_score_are_not_missed("canonical", 0.3, soft_sigma=0.5)


@pytest.mark.parametrize("where", ["deltas", "logits"])
def test_heads_that_say_nan_are_refused_as_ever(where):
    """Also where the box is one that nobody will look at."""
    heads = {
        "deltas": np.zeros((2, 4), np.float32),
        "logits": np.array([[9, 0, 0], [0, 9, 0]], np.float32),
    }
    heads[where][0, 1] = np.nan
    with pytest.raises(ValueError, match=r"expected (a number|four numbers)"):
        detect_from_heads(*heads.values(), np.full((2, 4), 0.5, "f4"), CANONICAL)
