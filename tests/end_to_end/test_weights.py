"""Weights in a file that holds only numbers, and the weights that are shipped."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from keras_impl.data.mnist import load_digits
from keras_impl.detector.detector import load_detector
from keras_impl.models.ssd import SSD
from keras_impl.training.evaluation import evaluate_digits
from keras_impl.weights import npz as weights
from keras_impl.weights.npz import CONFIG, load_model, load_weights, read_weights, save_weights
from keras_impl.weights.published import DIGITS

EMPTY = np.array("{}")


@pytest.fixture(scope="module")
def model():
    return SSD("digits224", num_classes=10, alpha=0.35)


def npz(path: Path, **arrays: object) -> Path:
    """An archive of arrays, whatever they are."""
    np.savez(path, **{name: np.asarray(value) for name, value in arrays.items()})
    return path


# --- Out and in ---------------------------------------------------------------------------


def test_a_model_comes_back_as_it_was(model, tmp_path):
    image = np.random.default_rng(0).uniform(-1, 1, (1, 224, 224, 3)).astype(np.float32)
    save_weights(model, tmp_path / "w.npz")
    again = load_model(tmp_path / "w.npz")
    assert again.get_config() == model.get_config()
    assert len(again.weights) == len(model.weights)
    for one, other in zip(again.weights, model.weights, strict=True):
        assert one.path == other.path
        np.testing.assert_array_equal(one, other)
    before, after = model(image), again(image)
    np.testing.assert_array_equal(before["logits"], after["logits"])


def test_the_same_weights_are_the_same_file(model, tmp_path):
    for name in ("a.npz", "b.npz"):
        save_weights(model, tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_half_precision_halves_the_file_and_rounds(model, tmp_path):
    save_weights(model, tmp_path / "whole.npz")
    save_weights(model, tmp_path / "half.npz", np.float16)
    sizes = [(tmp_path / name).stat().st_size for name in ("whole.npz", "half.npz")]
    assert sizes[1] < 0.6 * sizes[0]
    config, arrays = read_weights(tmp_path / "half.npz")
    assert config["num_classes"] == 10
    for variable in model.weights:
        stored, exact = arrays[variable.path], np.asarray(variable)
        assert stored.dtype == np.float32
        np.testing.assert_array_equal(stored, exact.astype(np.float16).astype(np.float32))


def test_every_name_is_kerass_own(model, tmp_path):
    save_weights(model, tmp_path / "w.npz")
    with np.load(tmp_path / "w.npz", allow_pickle=False) as stored:
        assert set(stored.files) == {variable.path for variable in model.weights} | {CONFIG}
        assert "block_1_expand/kernel" in stored.files


@pytest.mark.parametrize(
    ("number", "dtype", "words"),
    [(np.nan, np.float32, "finite in float32"), (1e6, np.float16, "finite in float16")],
)
def test_numbers_that_do_not_fit_are_not_written(model, tmp_path, number, dtype, words):
    variable = model.get_layer("Conv1").kernel
    before = np.asarray(variable).copy()
    spoilt = before.copy()
    spoilt.flat[0] = number
    variable.assign(spoilt)
    try:
        with pytest.raises(ValueError, match=rf"Conv1/kernel: expected numbers that are {words}"):
            save_weights(model, tmp_path / "w.npz", dtype)
    finally:
        variable.assign(before)
    assert list(tmp_path.iterdir()) == []


def test_a_name_without_its_suffix_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.npz\. Received: .*w\.h5"):
        save_weights(model, tmp_path / "w.h5")


def test_an_old_file_survives_a_failure(model, tmp_path, monkeypatch):
    (tmp_path / "w.npz").write_text("old")

    def full(*arguments, **options):
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="No space left"):
        save_weights(model, tmp_path / "w.npz")
    assert (tmp_path / "w.npz").read_text() == "old"


# --- Files of others ----------------------------------------------------------------------


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected a file\. Received: .*gone\.npz"):
        load_model(tmp_path / "gone.npz")
    with pytest.raises(FileNotFoundError, match="expected a file"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": np.ones(2)}, CONFIG),
        ({CONFIG: "{"}, "Expecting property name"),
        ({CONFIG: "[1]"}, "config.json is a list"),
        ({CONFIG: EMPTY, "x": np.array([None], object)}, "allow_pickle"),
        ({CONFIG: EMPTY, "x": np.array(["a"])}, "x holds <U1"),
        ({CONFIG: EMPTY, "x": np.array([1j])}, "x holds complex128"),
        ({CONFIG: EMPTY, "x": np.array([np.nan])}, "x holds numbers that are not finite"),
        ({CONFIG: EMPTY, "x": np.array([1e300])}, "x holds numbers that are not finite"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_archives_are_refused(tmp_path, arrays, words):
    path = npz(tmp_path / "w.npz", **arrays)
    with pytest.raises(ValueError, match=r"written by this program\. Received: .*w\.npz") as caught:
        read_weights(path)
    assert words in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"Dear reader,", b"PK\x03\x04" + bytes(60)])
def test_what_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "w.npz").write_bytes(content)
    with pytest.raises(ValueError, match="written by this program"):
        load_model(tmp_path / "w.npz")


def test_a_damaged_archive_is_a_value_error(tmp_path):
    generator = np.random.default_rng(0)
    kernel = generator.normal(size=(20, 30)).astype(np.float32)
    files = []
    for save in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        save(buffer, **{CONFIG: EMPTY, "a/kernel": kernel})
        files.append(buffer.getvalue())
    refused = 0
    for whole in files:
        for length in range(0, len(whole), 101):
            (tmp_path / "w.npz").write_bytes(whole[:length])
            with pytest.raises(ValueError, match="written by this program"):
                read_weights(tmp_path / "w.npz")
        for _ in range(400):
            damaged = bytearray(whole)
            for place in generator.integers(0, len(whole), 3):
                damaged[place] = generator.integers(256)
            (tmp_path / "w.npz").write_bytes(damaged)
            try:
                read_weights(tmp_path / "w.npz")
            except ValueError:
                refused += 1
    assert refused > 600


def test_an_archive_that_claims_more_than_memory_holds_is_refused(tmp_path):
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (9000000000000,), }"
    array = b"\x93NUMPY\x01\x00\x76\x00" + header.ljust(117) + b"\n"
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("x.npy", array)
    with pytest.raises(ValueError, match="written by this program"):
        read_weights(tmp_path / "w.npz")


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "LARGEST", 1000)
    path = npz(tmp_path / "w.npz", **{CONFIG: EMPTY, "x": np.zeros(1000)})
    with pytest.raises(ValueError, match="bytes of arrays, more than 1000"):
        read_weights(path)
    # Compressed, it is smaller than the limit.
    np.savez_compressed(path, **{CONFIG: EMPTY, "x": np.zeros(1000)})
    assert path.stat().st_size < 1000
    with pytest.raises(ValueError, match="bytes of arrays, more than 1000"):
        read_weights(path)


def detection_with(config, **fields):
    return {**config["convention"], "detection": {**config["convention"]["detection"], **fields}}


@pytest.mark.parametrize("backend", ["numpy", "keras"])
@pytest.mark.parametrize("whole", [False, True], ids=["no arrays", "all arrays"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda config: {"num_classes": 10**9}, "num_classes"),
        (lambda config: {"num_classes": 10**400}, "num_classes"),
        (lambda config: {"alpha": 64}, "alpha"),
        (lambda config: {"layout": {"feature_maps": [[10**5, 10**5]] * 6}}, "feature_maps"),
        (lambda config: {"layout": {"feature_maps": [[1, 1]] * 99, "scales": [1] * 100}}, "maps"),
        (lambda config: {"layout": {"image_size": [10**6, 10**6]}}, "image_size"),
        (lambda config: {"layout": {"image_size": [10**400, 1]}}, "image_size"),
        (lambda config: {"layout": {"aspect_ratios": [[2.0] * 10**6] * 6}}, "characters"),
        (lambda config: {"convention": detection_with(config, max_detections=10**9)}, "max_det"),
        (lambda config: {"convention": detection_with(config, iou_threshold=10**400)}, "iou_thr"),
    ],
)
def test_a_configuration_that_asks_for_all_memory_is_refused(
    tmp_path, change, words, whole, backend
):
    """Before anything is built: this test would be killed for its memory."""
    config, arrays = read_weights(DIGITS)
    changed = change(config)
    if "layout" in changed:
        layout, maps = {**config["layout"], **changed["layout"]}, changed["layout"]
        if len(maps.get("feature_maps", ())) == 99:
            layout["aspect_ratios"] = [[]] * 99
        changed["layout"] = layout
    text = json.dumps({**config, **changed})
    path = npz(tmp_path / "w.npz", **{CONFIG: text}, **(arrays if whole else {}))
    with pytest.raises(ValueError, match="weights: expected ") as caught:
        load_detector(path, backend)
    assert words in str(caught.value) or not whole
    assert len(str(caught.value)) < 600 + len(str(path))


# --- Another network ----------------------------------------------------------------------


def test_weights_of_another_network_are_refused_and_change_nothing(model, other_network):
    before = [np.asarray(variable).copy() for variable in model.weights]
    with pytest.raises(ValueError, match=r"weights: expected head_.* of shape .* Received: "):
        load_weights(model, other_network)
    for old, variable in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(variable, old)


def test_variables_too_few_are_refused(model, tmp_path, seven):
    _, arrays = read_weights(seven)
    arrays.pop("Conv1/kernel")
    arrays["Conv2/kernel"] = np.ones(3)
    path = npz(tmp_path / "w.npz", **{CONFIG: json.dumps(model.get_config())}, **arrays)
    with pytest.raises(ValueError, match=r"names differ in 2, such as Conv1/kernel"):
        load_model(path)


@pytest.mark.parametrize(
    "change", [{"num_classes": 0}, {"layout": 7}, {"colour": "red"}, {"alpha": "wide"}]
)
def test_an_unknown_configuration_is_refused(model, tmp_path, change):
    config = json.dumps(model.get_config() | change)
    path = npz(tmp_path / "w.npz", **{CONFIG: config, "x": np.zeros(10**6)})
    with pytest.raises(ValueError, match=r"configuration of a known network\. Received: .*w\.npz"):
        load_model(path)


# --- The shipped weights ------------------------------------------------------------------


def test_the_shipped_weights_are_small():
    assert weights.DIGITS.stat().st_size <= 4 * 2**20


@pytest.fixture(scope="module")
def shipped():
    return load_model()


@pytest.mark.parametrize(("mode", "images"), [("1", 64), ("1-10", 32)])
def test_the_shipped_weights_find_digits_they_never_saw(shipped, mode, images):
    result = evaluate_digits(shipped, load_digits("test"), mode, images, seed=5)
    # A sample of the canvases on which the documented numbers were measured.
    assert result.ap50 > 0.95, result
    assert result.map > 0.85, result
