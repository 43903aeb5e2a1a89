"""Training that starts from the pretrained backbone: the same function, until it learns."""

from __future__ import annotations

import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from keras_impl.data.canvases import batch_images, canvas
from keras_impl.data.mnist import load_digits
from keras_impl.models.ssd import SSD
from keras_impl.training import curves, digits as training
from keras_impl.training.curves import draw_runs
from keras_impl.training.digits import digit_model, train_digits, warm_start
from keras_impl.training.recipe import Recipe
from keras_impl.weights.npz import read_weights
from keras_impl.weights.published import weights_file
from reference_numpy.mobilenet_v2 import TAPS, mobilenet_v2_features


class Silent:
    """Nobody watches."""

    def begin(self, recipe, done, source):
        self.done = done

    def step(self, epoch, step, logs):
        pass

    def epoch(self, row):
        pass


@pytest.fixture(scope="module")
def images():
    digits = load_digits("test")
    return batch_images(np.stack([canvas(digits, "1-10", 1, index).image for index in range(8)]))


@pytest.fixture(scope="module")
def arrays(keras_home):
    return read_weights(weights_file("oidv4"))[1]


@pytest.fixture(scope="module")
def warm(arrays, images):
    """A digit model with that backbone, and what was taken over."""
    keras.utils.set_random_seed(0)
    model = digit_model(Recipe(alpha=1.0, init="oidv4"))
    return model, warm_start(model, arrays, [images[:4], images[4:]])


def taps_of(model, images, training):
    look = keras.Model(model.input, [model.get_layer(name).output for name in TAPS.values()])
    return [np.asarray(one) for one in look(images, training=training)]


def test_backbone_and_extra_maps_are_taken_and_heads_are_not(warm):
    model, taken = warm
    left = {weight.path for weight in model.weights} - set(taken)
    assert left
    assert all(name.startswith("head_") for name in left), left
    assert not [name for name in taken if name.startswith("head_")], "those of other anchors"
    assert len(taken) == len(set(taken))


def test_in_inference_it_is_the_pretrained_function_exactly(warm, arrays, images):
    """Canvases the statistics were not taken on are no exception."""
    model, _ = warm
    others = images[:2, ::-1].copy()
    for given in (images[:2], others):
        wanted = mobilenet_v2_features(given, arrays)
        for found, stride in zip(taps_of(model, given, False), TAPS, strict=True):
            scale = np.abs(wanted[stride]).max()
            assert scale > 1
            np.testing.assert_allclose(found, wanted[stride], atol=3e-5 * scale)


def test_in_training_it_is_about_the_same(warm, images):
    """With statistics of the batch instead; without calibration the maps are others altogether."""
    model, _ = warm
    quiet = taps_of(model, images, False)
    for found, wanted in zip(taps_of(model, images, True), quiet, strict=True):
        assert np.abs(found - wanted).mean() < 0.1 * np.abs(wanted).mean()


def test_without_calibration_training_would_begin_elsewhere(arrays, images):
    model = digit_model(Recipe(alpha=1.0, init="oidv4"))
    taken = warm_start(model, arrays, [images])
    unfolded = training.unfold(arrays)
    for weight in model.weights:
        if weight.path in taken:
            weight.assign(unfolded[weight.path])
    quiet, loud = (taps_of(model, images, mode)[1] for mode in (False, True))
    assert np.abs(loud - quiet).mean() > 0.5 * np.abs(quiet).mean()


def test_nothing_that_fits_is_refused(images):
    model = digit_model(Recipe())
    with pytest.raises(ValueError, match=r"arrays: expected kernels of this network\. Received: n"):
        warm_start(model, {"other/kernel": np.zeros((1, 1, 1, 1), np.float32)}, [images])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"init": "imagenet"},
            r"init: expected one of 'random', 'oidv4'. Received: 'imagenet'",
        ),
        (
            {"init": "oidv4"},
            "alpha: expected 1, the width of init 'oidv4'. Received: 0.35",
        ),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**change)


@pytest.mark.thorough
def test_a_run_starts_from_it_and_goes_on(keras_home, tmp_path, monkeypatch):
    """Steps and validation, which take their time and are tested elsewhere, are left out."""
    started, quality = [], SimpleNamespace(map=0.5, ap50=0.5, ap75=0.5)
    begin = training.warm_start
    monkeypatch.setattr(training, "warm_start", lambda *given: started.append(begin(*given)))
    monkeypatch.setattr(training, "evaluate_digits", lambda *given: quality)
    logs = dict.fromkeys(("loss", "class_loss", "box_loss"), 1.0)
    monkeypatch.setattr(
        SSD, "fit", lambda *given, callbacks, **options: callbacks[0].on_train_batch_end(0, logs)
    )
    recipe = Recipe(alpha=1.0, init="oidv4", epochs=1, images=4, batch=2, validation=1)
    train_digits(tmp_path / "run", recipe, Silent())

    assert len(started) == 1
    config, arrays = read_weights(tmp_path / "run" / "weights.npz")
    assert config["alpha"] == 1
    mine = read_weights(weights_file("oidv4"))[1]
    for name in ("Conv1/kernel", "block_10_depthwise/kernel", "extra_2_conv/kernel"):
        np.testing.assert_array_equal(arrays[name], mine[name])
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["init"] == "oidv4"

    # What goes on does not start again, and does not need the detector any more.
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "elsewhere"))
    train_digits(tmp_path / "run", recipe, Silent())
    assert len(started) == 1


def test_a_run_of_before_there_was_a_choice_goes_on(tmp_path):
    """Its recipe.json says nothing of where it started."""
    recipe = Recipe(epochs=1, images=2, batch=2, validation=1)
    folder = tmp_path / "run"
    assert training._open_run(folder, recipe, "here") == 0
    record = json.loads((folder / "recipe.json").read_text())
    del record["init"]
    (folder / "recipe.json").write_text(json.dumps(record))
    assert training._open_run(folder, recipe, "here") == 0
    with pytest.raises(ValueError, match="init random → oidv4"):
        training._open_run(
            folder,
            Recipe(epochs=1, images=2, batch=2, validation=1, alpha=1.0, init="oidv4"),
            "here",
        )


def test_runs_are_drawn_beside_each_other(tmp_path, capsys):
    row = dict.fromkeys(curves.COLUMNS, 0.5)
    for name in ("cold", "warm"):
        (tmp_path / name).mkdir()
        training._write_log(tmp_path / name, [{**row, "epoch": 1, "images": 100}])
    runs = [str(tmp_path / name) for name in ("cold", "warm")]
    curves._main([*runs, "--out", str(tmp_path / "both.png")])
    assert (tmp_path / "both.png").read_bytes()[:4] == b"\x89PNG"
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="runs: expected a run with a finished epoch"):
        draw_runs([tmp_path / "empty"], tmp_path / "none.png")
    with pytest.raises(SystemExit):
        curves._main([str(tmp_path / "empty"), "--out", str(tmp_path / "none.png")])
    assert "expected a run with a finished epoch" in capsys.readouterr().err
