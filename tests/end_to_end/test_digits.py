"""Digits on canvases: where they come from, what is composed, what the network receives."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_impl._common.choices import DIGIT_MODES
from keras_impl.data import canvases, mnist as module
from keras_impl.data.canvases import CANVAS, Canvas, batch_images, canvas, collate
from keras_impl.data.mnist import PATCH, Digits, load_digits, make_sample
from keras_impl.data.pipeline import dataset
from keras_impl.images.pixels import normalise

# Ten flat patches, each of its own grey: a canvas of them can be painted again from its
# boxes and labels alone, since a flat patch is flat at any size.
GREYS = np.arange(1, 11, dtype=np.uint8) * 25
FLAT = Digits(np.tile(GREYS[:, None, None], (1, PATCH, PATCH)), np.arange(10), "flat patches")


@pytest.fixture(autouse=True)
def keras_home(tmp_path, monkeypatch):
    """An empty home for Keras, so that no test sees the cache of whoever runs it."""
    home = tmp_path / "keras_home"
    (home / "datasets").mkdir(parents=True)
    monkeypatch.setenv("KERAS_HOME", str(home))
    return home


def idx_bytes(array: np.ndarray) -> bytes:
    """Write an array of bytes in IDX form."""
    header = np.array([0x800 + array.ndim, *array.shape], ">u4")
    return header.tobytes() + array.astype(np.uint8).tobytes()


def small_set(count: int = 3, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Count images, each filled with its label."""
    labels = (np.arange(count) + first) % 10
    return np.tile(labels[:, None, None], (1, PATCH, PATCH)).astype(np.uint8), labels


def write_idx(folder: Path, *, dot: str = "-", end: str = "", split: str = "test") -> Path:
    """Write a small set of IDX files; zipped if the names say so."""
    folder.mkdir(exist_ok=True)
    pack = gzip.compress if end else bytes
    prefix = {"train": "train", "test": "t10k"}[split]
    for kind, axes, array in zip(("images", "labels"), (3, 1), small_set(), strict=True):
        name = f"{prefix}-{kind}{dot}idx{axes}-ubyte{end}"
        (folder / name).write_bytes(pack(idx_bytes(array)))
    return folder


def write_cache(home: Path, **arrays: np.ndarray) -> Path:
    """Write what Keras would have cached, with some arrays replaced."""
    whole = {}
    for split, first in (("train", 0), ("test", 5)):
        whole[f"x_{split}"], whole[f"y_{split}"] = small_set(4, first)
    path = home / "datasets" / "mnist.npz"
    np.savez_compressed(path, **(whole | arrays))
    return path


def pixels(made: Canvas) -> np.ndarray:
    """Boxes in pixels; they must lie on pixel borders exactly."""
    corners = made.boxes.astype(np.float64) * CANVAS
    whole = np.rint(corners)
    np.testing.assert_allclose(corners, whole, rtol=0, atol=CANVAS * 2.0**-24)
    return whole.astype(int)


def masks(made: Canvas) -> np.ndarray:
    """One image for each box, True inside it."""
    inside = np.zeros((len(made.boxes), CANVAS, CANVAS), bool)
    for mask, (x0, y0, x1, y1) in zip(inside, pixels(made), strict=True):
        mask[y0:y1, x0:x1] = True
    return inside


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own."""
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, check=False
    )


# --- Sources ------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("dot", ["-", "."])
@pytest.mark.parametrize("end", ["", ".gz"])
def test_idx_files_are_read_under_each_usual_name(tmp_path, split, dot, end):
    folder = write_idx(tmp_path / "mnist", dot=dot, end=end, split=split)
    found = load_digits(split, folder)
    images, labels = small_set()
    assert (found.images.dtype, found.labels.dtype) == (np.uint8, np.int32)
    np.testing.assert_array_equal(found.images, images)
    np.testing.assert_array_equal(found.labels, labels)
    assert found.source == f"the IDX files in {folder}"


def test_contents_not_the_name_say_whether_a_file_is_zipped(tmp_path):
    folder = write_idx(tmp_path / "mnist")
    for path in folder.iterdir():
        path.rename(path.with_name(path.name + ".gz"))
    assert len(load_digits("test", folder).images) == 3


def test_sources_are_tried_in_order(tmp_path, keras_home):
    folder = write_idx(tmp_path / "mnist")
    sample = load_digits("test")
    assert (len(sample.images), sample.source) == (
        1000,
        "the MNIST sample shipped with the package",
    )

    cache = write_cache(keras_home)
    cached = load_digits("test")
    assert cached.labels.tolist() == [5, 6, 7, 8]
    assert cached.source == f"Keras' MNIST cache {cache}"
    assert load_digits("train").labels.tolist() == [0, 1, 2, 3]

    given = load_digits("test", folder, download=True)
    assert given.labels.tolist() == [0, 1, 2], "a folder comes before cache and download"


@pytest.mark.skipif(sys.platform == "win32", reason="HOME is not the home there")
def test_without_keras_home_the_cache_is_in_the_users_home(tmp_path, monkeypatch):
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".keras" / "datasets").mkdir(parents=True)
    cache = write_cache(tmp_path / ".keras")
    assert load_digits("test").source == f"Keras' MNIST cache {cache}"


@pytest.mark.thorough  # a process that starts TensorFlow
def test_without_keras_home_keras_looks_there_too(monkeypatch):
    monkeypatch.delenv("KERAS_HOME")
    code = (
        "from keras.src.backend import config; from keras_impl._common.files import keras_home;"
        "print(config.keras_home()); print(keras_home())"
    )
    done = run_python("-c", code)  # Keras decides once, at import: a process of its own
    theirs, ours = done.stdout.splitlines()
    assert theirs == ours


def test_download_takes_the_split_that_was_asked(monkeypatch):
    import keras

    splits = (small_set(4), small_set(2, first=7))
    monkeypatch.setattr(keras.datasets.mnist, "load_data", lambda: splits)
    assert load_digits("train", download=True).labels.tolist() == [0, 1, 2, 3]
    found = load_digits("test", download=True)
    assert found.labels.tolist() == [7, 8]
    assert "downloaded" in found.source


def test_a_failed_download_says_so(monkeypatch):
    import keras

    def fail():
        raise Exception("URL fetch failure")  # as Keras does

    monkeypatch.setattr(keras.datasets.mnist, "load_data", fail)
    with pytest.raises(ConnectionError, match=r"MNIST could not be fetched: URL fetch"):
        load_digits("test", download=True)


def test_nothing_is_downloaded_unasked(monkeypatch):
    import keras

    monkeypatch.setattr(keras.datasets.mnist, "load_data", lambda: pytest.fail("downloaded"))
    assert "sample" in load_digits("test").source


def test_an_unknown_split_is_an_error():
    with pytest.raises(ValueError, match=r"split: expected one of .*Received: 'valid'"):
        load_digits("valid")


def test_a_missing_idx_file_is_named(tmp_path):
    folder = write_idx(tmp_path / "mnist")
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match=r"t10k-labels-idx1-ubyte\.gz, .*Received: "):
        load_digits("test", folder)
    with pytest.raises(FileNotFoundError, match=r"which is not a folder"):
        load_digits("test", tmp_path / "nowhere")


IMAGES, LABELS = (idx_bytes(array) for array in small_set())
ZIPPED = gzip.compress(IMAGES)
DAMAGED_IDX = {
    "empty": ("images", b"", r"expected the header .*Received: \[\]"),
    "no count": ("labels", LABELS[:4], r"expected the header \[2049, 'N'\]. Received: \[2049\]"),
    "header cut": ("images", IMAGES[:15], r"expected a valid IDX file"),
    "magic of labels": ("images", LABELS + bytes(100), r"Received: \[2049, 3, "),
    "magic of images": ("labels", IMAGES, r"expected the header \[2049, 'N'\]. Received: \[2051"),
    "other size": ("images", idx_bytes(np.zeros((3, 28, 27))), r"Received: \[2051, 3, 28, 27\]"),
    "data cut": ("images", IMAGES[:-1], r"expected 2352 bytes of data. Received: fewer"),
    "data too long": ("images", IMAGES + b"\0", r"expected 2352 bytes of data. Received: more"),
    "zip cut": ("images", ZIPPED[:-9], r"end-of-stream"),
    "zip sum": ("images", ZIPPED[:-8] + b"\0\0\0\0" + ZIPPED[-4:], r"CRC check failed"),
    "zip garbage": ("images", ZIPPED[:10] + b"\xff" * 50, r"invalid block type"),
    "claims too many": (
        "images",
        np.array([0x803, 2**32 - 1, 28, 28], ">u4").tobytes(),
        r"at most 500000 digits. Received: 4294967295",
    ),
    "no digits": ("images", idx_bytes(np.zeros((0, 28, 28))), r"one for each image|at least one"),
    "fewer labels": (
        "labels",
        idx_bytes(np.zeros(2)),
        r"one for each image. Received: uint8 \(2,\)",
    ),
    "label 10": ("labels", idx_bytes(np.array([0, 9, 10])), r"Received: 10 at index 2"),
}


@pytest.mark.parametrize(("kind", "data", "message"), DAMAGED_IDX.values(), ids=DAMAGED_IDX)
def test_a_damaged_idx_file_is_an_error_that_names_it(tmp_path, kind, data, message):
    folder = write_idx(tmp_path / "mnist")
    path = folder / f"t10k-{kind}-idx{3 if kind == 'images' else 1}-ubyte"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        load_digits("test", folder)
    assert str(folder) in str(caught.value)


def test_a_zip_bomb_is_not_unpacked(tmp_path, monkeypatch):
    # 64 MiB of zeros behind a header of three digits: reading must stop after the third.
    folder = write_idx(tmp_path / "mnist")
    bomb = gzip.compress(IMAGES[:16] + bytes(1 << 26))
    (folder / "t10k-images-idx3-ubyte").write_bytes(bomb)
    longest = 0
    read = gzip.GzipFile.read

    def counted(self, size=-1):
        nonlocal longest
        data = read(self, size)
        longest = max(longest, len(data))
        return data

    monkeypatch.setattr(gzip.GzipFile, "read", counted)
    with pytest.raises(ValueError, match=r"Received: more"):
        load_digits("test", folder)
    assert longest == 3 * PATCH * PATCH


DAMAGED_CACHE = {
    "no images": (
        {"x_test": np.zeros((0, 28, 28), np.uint8), "y_test": np.zeros(0, int)},
        r"one digit",
    ),
    "floats": (
        {"x_test": np.zeros((4, 28, 28))},
        r"images as uint8 .*Received: float64 \(4, 28, 28\)",
    ),
    "flat": ({"x_test": np.zeros((4, 784), np.uint8)}, r"Received: uint8 \(4, 784\)"),
    "labels as floats": ({"y_test": np.zeros(4)}, r"labels as integers \(4,\).*float64"),
    "one-hot": ({"y_test": np.zeros((4, 10), int)}, r"Received: int64 \(4, 10\)"),
    "negative": ({"y_test": np.array([0, -1, 0, 0])}, r"Received: -1 at index 1"),
    "pickled": ({"y_test": np.array([0, 1, 2, None])}, r"allow_pickle=False.*seems damaged"),
}


@pytest.mark.parametrize(("arrays", "message"), DAMAGED_CACHE.values(), ids=DAMAGED_CACHE)
def test_a_cache_that_does_not_fit_is_an_error(keras_home, arrays, message):
    path = write_cache(keras_home, **arrays)
    with pytest.raises(ValueError, match=message) as caught:
        load_digits("test")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "flipped", "lacks labels", "an array"])
def test_a_damaged_cache_is_an_error_that_names_it(keras_home, damage):
    path = write_cache(keras_home)
    data = path.read_bytes()
    middle = data.index(b"x_test.npy") + 40  # inside that array's data
    changed = {
        "empty": b"",
        "text": b"<html>not found</html>",
        "cut": data[: len(data) // 2],
        "flipped": data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :],
    }
    if damage in changed:
        path.write_bytes(changed[damage])
    elif damage == "lacks labels":
        np.savez(path, x_test=np.zeros((1, 28, 28), np.uint8))
    else:
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match=r"mnist\.npz: expected an archive .*seems damaged"):
        load_digits("test")


def test_a_cache_that_would_fill_the_memory_is_not_unpacked(keras_home, monkeypatch):
    write_cache(keras_home)
    monkeypatch.setattr(module, "LARGEST_SET", 3)  # and four are there
    with pytest.raises(ValueError, match=r"Received: expected at most 3 digits"):
        load_digits("test")


def test_the_users_mnist_is_whole(mnist_folder):
    for split, count in (("train", 60_000), ("test", 10_000)):
        found = load_digits(split, mnist_folder)
        assert found.images.shape == (count, PATCH, PATCH)
        assert set(found.labels.tolist()) == set(range(10))


# --- The shipped sample -------------------------------------------------------------------


@pytest.mark.parametrize(("split", "each"), [("train", 600), ("test", 100)])
def test_the_sample_holds_as_many_of_each_digit(split, each):
    found = load_digits(split)
    assert np.bincount(found.labels).tolist() == [each] * 10
    assert found.images.shape == (10 * each, PATCH, PATCH)
    assert len(np.unique(found.images, axis=0)) == 10 * each, "a digit was drawn twice"


def test_the_sample_is_small_and_is_what_its_provenance_says():
    data = module.SAMPLE.read_bytes()
    provenance = module.SAMPLE.with_suffix(".md").read_text(encoding="utf-8")
    assert len(data) <= 2_000_000
    assert hashlib.sha256(data).hexdigest() in provenance
    with np.load(module.SAMPLE, allow_pickle=False) as arrays:
        for name, array in arrays.items():
            assert hashlib.sha256(array.tobytes()).hexdigest() in provenance, name
    assert "Attribution-ShareAlike 3.0" in provenance


def test_the_sample_is_made_again_from_mnist(mnist_folder):
    made = make_sample(mnist_folder)
    with np.load(module.SAMPLE, allow_pickle=False) as shipped:
        assert set(shipped) == set(made)
        for name, array in made.items():
            assert shipped[name].dtype == array.dtype
            np.testing.assert_array_equal(shipped[name], array, err_msg=name)


def test_the_sample_is_never_overwritten(tmp_path, mnist_folder):
    out = tmp_path / "sample.npz"
    command = (
        "-m",
        "keras_impl.data.mnist",
        "--make-sample",
        str(mnist_folder),
        "--out",
        str(out),
    )
    first = run_python(*command)
    assert first.returncode == 0, first.stderr
    with np.load(out) as again, np.load(module.SAMPLE) as shipped:
        np.testing.assert_array_equal(again["x_test"], shipped["x_test"])
    before = out.read_bytes()
    second = run_python(*command)
    assert second.returncode == 2
    assert f"--out: expected a new file. Received: {out}, which exists" in second.stderr
    assert out.read_bytes() == before


def test_a_digit_too_rare_for_the_sample_is_an_error(tmp_path):
    folder = write_idx(tmp_path / "mnist", split="train")
    with pytest.raises(ValueError, match=r"train digits 0: expected 600 or more. Received: 1"):
        make_sample(folder)


# --- Canvases -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", DIGIT_MODES)
def test_a_canvas_is_its_patches_at_its_boxes(mode):
    for index in range(200):
        made = canvas(FLAT, mode, seed=1, index=index)
        assert (made.image.dtype, made.image.shape) == (np.uint8, (CANVAS, CANVAS))
        assert (made.boxes.dtype, made.labels.dtype) == (np.float32, np.int32)
        assert made.boxes.shape == (len(made.labels), 4)
        assert 1 <= made.labels.min() <= made.labels.max() <= 10
        greys = GREYS[made.labels - 1]  # label is digit + 1
        painted = (masks(made) * greys[:, None, None]).max(axis=0)
        np.testing.assert_array_equal(made.image, painted, err_msg=f"canvas {index}")


def test_one_digit_keeps_its_size_and_its_pixels():
    digits = load_digits("test")
    known = {
        image.tobytes(): label for image, label in zip(digits.images, digits.labels, strict=True)
    }
    for index in range(50):
        made = canvas(digits, "1", seed=2, index=index)
        ((x0, y0, x1, y1),) = pixels(made)
        assert (x1 - x0, y1 - y0) == (PATCH, PATCH)
        patch = made.image[y0:y1, x0:x1]
        assert known[patch.tobytes()] + 1 == made.labels[0]
        assert made.image.sum() == patch.sum(), "something is outside the box"


def test_one_digit_reaches_every_corner():
    corners = np.array([pixels(canvas(FLAT, "1", 3, index))[0, :2] for index in range(3000)])
    for axis, name in enumerate("xy"):
        seen = corners[:, axis]
        assert (seen.min(), seen.max()) == (0, CANVAS - PATCH), name
        # Uniform on 0..196: mean 98, standard error 56.9 / sqrt(3000) = 1.04.
        assert abs(seen.mean() - 98) < 5 * 1.04, name


def test_many_digits_have_the_promised_counts_and_sizes():
    made = [canvas(FLAT, "1-10", 4, index) for index in range(1000)]
    counts = np.bincount([len(one.labels) for one in made], minlength=11)
    assert len(counts) == 11
    assert counts[0] == 0
    # Uniform: 100 each, deviation 9.5; the fullest canvases lose some digits to crowding.
    assert np.all(np.abs(counts[1:] - 100) < 5 * 9.5), counts
    boxes = np.concatenate([pixels(one) for one in made])
    sides = boxes[:, 2:] - boxes[:, :2]
    np.testing.assert_array_equal(sides[:, 0], sides[:, 1])
    assert (sides.min(), sides.max()) == (21, 70)
    assert 0 <= boxes.min() <= boxes.max() <= CANVAS
    assert set(np.concatenate([one.labels for one in made]).tolist()) == set(range(1, 11))


def test_digits_overlap_by_an_iou_of_a_tenth_at_most():
    highest = 0.0
    for index in range(150):
        made = canvas(FLAT, "1-10", 5, index)
        inside = masks(made).reshape(len(made.labels), -1)
        for one, other in itertools.combinations(inside, 2):
            both, either = int((one & other).sum()), int((one | other).sum())
            assert 10 * both <= either, f"canvas {index}: {both} of {either} pixels"
            highest = max(highest, both / either)
    assert highest > 0.08, "no digits came close: the limit was not tested"


@pytest.mark.parametrize(
    ("a", "b", "too_much"),
    [
        ((0, 0, 11), (9, 0, 11), False),  # 22 of 220 pixels: a tenth, exactly
        ((0, 0, 11), (8, 0, 11), True),  # 33 of 209
        ((0, 0, 10), (0, 0, 31), True),  # inside, 100 of 961
        ((0, 0, 10), (0, 0, 32), False),  # inside, 100 of 1024
        ((0, 0, 10), (10, 0, 10), False),  # side by side
        ((5, 5, 10), (0, 0, 5), False),  # corner to corner
        ((0, 0, 10), (50, 2, 10), False),
    ],
)
def test_overlap_is_decided_in_whole_numbers(a, b, too_much):
    assert canvases._overlap(*a, *b) == canvases._overlap(*b, *a) == too_much


def test_a_digit_without_a_place_is_left_out(monkeypatch):
    monkeypatch.setattr(canvases, "FACTORS", (8.0, 8.0))  # each digit fills the canvas
    for index in range(20):
        made = canvas(FLAT, "1-10", 6, index)
        assert pixels(made).tolist() == [[0, 0, CANVAS, CANVAS]]


def test_sizes_are_interpolated(monkeypatch):
    monkeypatch.setattr(canvases, "FACTORS", (2.0, 2.0))
    half = np.zeros((1, PATCH, PATCH), np.uint8)
    half[:, :, PATCH // 2 :] = 255
    made = canvas(Digits(half, np.array([1]), "half white"), "1-10", seed=1, index=8)
    ((x0, y0, x1, y1),) = pixels(made)  # one digit alone
    rows = made.image[y0:y1, x0:x1]
    # Centres of the two middle columns lie a quarter of a pixel from the edge between the halves:
    # 255 / 4 and 3 * 255 / 4.
    expected = np.repeat([0, 64, 191, 255], [27, 1, 1, 27])
    np.testing.assert_array_equal(rows, np.tile(expected, (56, 1)))


def test_fifty_corners_are_tried():
    class Counting:
        calls = 0

        def integers(self, *_, **__):
            self.calls += 1
            return np.zeros(2, int)

    counting = Counting()
    assert canvases._find_place(28, [(0, 0, 28)], counting) is None
    assert counting.calls == 50


def test_both_is_a_fair_coin():
    made = [canvas(FLAT, "both", 7, index) for index in range(2000)]
    sizes = [pixels(one)[:, 2:] - pixels(one)[:, :2] for one in made]
    single = sum(size.tolist() == [[PATCH, PATCH]] for size in sizes)
    # Half, and the 1 in 20 x 1 in 49 of the others that look the same: 1002, deviation 22.
    assert abs(single - 1002) < 5 * 22.4


def test_real_digits_lie_inside_their_boxes_and_have_ink():
    digits = load_digits("test")
    for index in range(100):
        made = canvas(digits, "1-10", 8, index)
        inside = masks(made)
        assert not made.image[~inside.any(axis=0)].any(), f"canvas {index}: ink outside the boxes"
        for box, mask in zip(pixels(made), inside, strict=True):
            assert made.image[mask].max() > 100, f"canvas {index}: no ink in {box}"


@pytest.mark.parametrize("mode", DIGIT_MODES)
def test_a_canvas_depends_on_mode_seed_and_index_only(mode):
    digits = load_digits("test")
    series = [canvas(digits, mode, 9, index) for index in range(5)]
    alone = canvas(digits, mode, 9, 3)
    for name, one, other in zip(Canvas._fields, alone, series[3], strict=True):
        np.testing.assert_array_equal(one, other, err_msg=name)
    others = [*series[:3], series[4], canvas(digits, mode, 10, 3)]
    assert not any(np.array_equal(alone.image, other.image) for other in others)


def test_the_series_is_the_one_the_results_in_the_docs_are_of():
    # Changes with NumPy's generators or with `compose`: then metrics written down before
    # are of other canvases, and must be measured again.
    made = canvas(FLAT, "1-10", seed=1, index=3)
    assert pixels(made).tolist() == [
        [71, 118, 99, 146],
        [137, 40, 180, 83],
        [88, 115, 154, 181],
        [36, 64, 98, 126],
        [139, 93, 165, 119],
    ]
    assert made.labels.tolist() == [1, 10, 6, 3, 6]


# --- Batches ------------------------------------------------------------------------------


def test_collate_pads_with_zeros_and_minus_one():
    made = [canvas(FLAT, "1-10", 11, index) for index in range(8)]
    images, boxes, labels = collate(made)
    assert (images.shape, boxes.shape, labels.shape) == ((8, 224, 224), (8, 10, 4), (8, 10))
    assert (images.dtype, boxes.dtype, labels.dtype) == (np.uint8, np.float32, np.int32)
    for row, one in enumerate(made):
        count = len(one.labels)
        np.testing.assert_array_equal(images[row], one.image)
        np.testing.assert_array_equal(boxes[row, :count], one.boxes)
        np.testing.assert_array_equal(labels[row, :count], one.labels)
        assert not boxes[row, count:].any()
        assert (labels[row, count:] == -1).all()


def test_collate_errors():
    crowded = canvas(FLAT, "1-10", 0, 0)
    with pytest.raises(ValueError, match=r"Received: 2, and canvas 1 has 9"):
        collate([canvas(FLAT, "1", 0, 0), crowded], objects=2)
    with pytest.raises(ValueError, match=r"canvases: expected 1 or more. Received: 0"):
        collate([])


def test_normalise_maps_each_byte_to_its_place():
    every = np.arange(256, dtype=np.uint8)
    found = normalise(every)
    assert found.dtype == np.float32
    assert (found[0], found[255]) == (-1, 1)
    # One rounding each of the reciprocal, the product (up to 2) and the difference.
    expected = np.arange(256) / 127.5 - 1
    assert np.abs(found - expected).max() <= 2 * 3 * 2.0**-24
    with pytest.raises(ValueError, match=r"images: expected uint8. Received: float32"):
        normalise(found)


def test_batch_images_gives_three_equal_channels():
    images = np.random.default_rng(0).integers(256, size=(2, 5, 4)).astype(np.uint8)
    found = batch_images(images)
    assert (found.shape, found.dtype) == ((2, 5, 4, 3), np.float32)
    for channel in range(3):
        np.testing.assert_array_equal(found[..., channel], normalise(images))
    with pytest.raises(ValueError, match=r"images: expected \(B, H, W\). Received: \(5, 4\)"):
        batch_images(images[0])


@pytest.mark.parametrize(
    ("count", "batch", "drop_remainder", "sizes"),
    [(8, 4, False, [4, 4]), (7, 3, False, [3, 3, 1]), (7, 3, True, [3, 3]), (1, 5, False, [1])],
)
def test_a_data_set_is_its_canvases_in_order(count, batch, drop_remainder, sizes):
    digits = load_digits("test")
    stream = dataset(digits, "1-10", count, batch, 12, first=20, drop_remainder=drop_remainder)
    static = batch if len(set(sizes)) == 1 and sizes[0] == batch else None
    images, objects = stream.element_spec
    assert images.shape.as_list() == [static, CANVAS, CANVAS, 3]
    assert objects["boxes"].shape.as_list() == [static, 10, 4]
    assert objects["labels"].shape.as_list() == [static, 10]
    assert len(stream) == len(sizes)
    for _ in range(2):  # each iteration is the same
        index = 20
        for (images, objects), size in zip(stream.as_numpy_iterator(), sizes, strict=True):
            made = collate([canvas(digits, "1-10", 12, index + i) for i in range(size)])
            index += size
            assert images.dtype == np.float32
            np.testing.assert_array_equal(images, batch_images(made.images))
            np.testing.assert_array_equal(objects["boxes"], made.boxes)
            np.testing.assert_array_equal(objects["labels"], made.labels)


def test_a_data_set_without_end_goes_on_where_the_numbered_one_would():
    endless = dataset(FLAT, "both", None, 3, 13).as_numpy_iterator()
    numbered = dataset(FLAT, "both", 6, 3, 13, first=30).as_numpy_iterator()
    for (one, _), (other, _) in zip(itertools.islice(endless, 10, 12), numbered, strict=True):
        np.testing.assert_array_equal(one, other)


def test_room_for_one_object_is_enough_for_one_digit():
    _, objects = next(dataset(FLAT, "1", 2, 2, 0, objects=1).as_numpy_iterator())
    assert (objects["boxes"].shape, objects["labels"].shape) == ((2, 1, 4), (2, 1))


BAD_ARGUMENTS = {
    "no batch": ({"drop_remainder": True}, r"num_images: expected 2 or more. Received: 1"),
    "room": ({"mode": "both", "objects": 9}, r"objects: expected 10 or more. Received: 9"),
}


@pytest.mark.parametrize(("changed", "message"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS)
def test_bad_arguments_of_a_data_set_are_errors(changed, message):
    arguments = {"mode": "1", "num_images": 1, "batch": 2, "seed": 0} | changed
    with pytest.raises(ValueError, match=message):
        dataset(FLAT, **arguments)


def test_digits_are_composed_without_tensorflow():
    code = (
        "import sys; from keras_impl.data.canvases import canvas;"
        "from keras_impl.data.mnist import load_digits;"
        "canvas(load_digits('test'), 'both', 0, 0);"
        "print(sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    done = run_python("-c", code)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
