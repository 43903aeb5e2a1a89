"""Somebody else's weights: known to the byte, each used once, and nothing left of a wrong file."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from keras_impl._common import files
from keras_impl._common.files import check_sum, fetch
from keras_impl.cli import main
from keras_impl.weights import installing, published as published_
from keras_impl.weights.installing import import_litert, install
from keras_impl.weights.litert import litert_name, read_litert
from keras_impl.weights.npz import load_model, read_weights, unfold
from keras_impl.weights.published import OIDV4, read_published, weights_file
from reference_numpy.conventions import PRESETS

interpreters = pytest.importorskip("ai_edge_litert.interpreter")


@pytest.fixture
def empty_home(tmp_path, monkeypatch):
    """A home for Keras with nothing in it."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []


@contextlib.contextmanager
def served(body: bytes, *, length: int | None = None, status: int = 200) -> Iterator[str]:
    """An address on this machine where a body can be had."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            with contextlib.suppress(OSError):  # a reader that has had enough
                self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/file.tflite"
        finally:
            server.shutdown()
            thread.join()


# --- The weights --------------------------------------------------------------------------


def test_72_kernels_and_72_biases_each_exactly_once(published, model):
    arrays = read_litert(published.read_bytes())

    tensors = interpreters.Interpreter(str(published))
    tensors.allocate_tensors()
    stored = [one for one in tensors.get_tensor_details() if one["dtype"] == np.float16]
    assert len(stored) == len(arrays) == 144, "no tensor is left over and none is used twice"
    assert sum(name.endswith("/kernel") for name in arrays) == 72
    assert sum(name.endswith("/bias") for name in arrays) == 72
    assert set(arrays) == {weight.path for weight in model.weights}
    assert sum(value.size for value in arrays.values()) == 4_951_996

    # Every stored number is there again, whatever the axes are called (and -0 is 0).
    def digest(values: np.ndarray) -> str:
        return hashlib.sha256((np.sort(values.ravel()) + np.float32(0)).tobytes()).hexdigest()

    mine = sorted(map(digest, arrays.values()))
    theirs = sorted(digest(tensors.get_tensor(one["index"]).astype("f4")) for one in stored)
    assert mine == theirs


@pytest.mark.parametrize(
    ("tensor", "name"),
    [
        ("FeatureExtractor/MobilenetV2/Conv/Conv2D", "Conv1"),
        ("FeatureExtractor/MobilenetV2/Conv_1/BatchNorm/FusedBatchNormV3", "Conv_1"),
        ("FeatureExtractor/MobilenetV2/expanded_conv/project/Conv2D", "expanded_conv_project"),
        # Folded with others, it is the first that says what it is.
        (
            "FeatureExtractor/MobilenetV2/expanded_conv_16/depthwise/BatchNorm/FusedBatchNormV3;"
            "FeatureExtractor/MobilenetV2/expanded_conv_1/depthwise/depthwise",
            "block_16_depthwise",
        ),
        ("FeatureExtractor/MobilenetV2/expanded_conv_2/add", "block_2_add"),
        ("FeatureExtractor/MobilenetV2/layer_19_1_Conv2d_2_1x1_256/Conv2D", "extra_1_squeeze"),
        ("FeatureExtractor/MobilenetV2/layer_19_2_Conv2d_5_3x3_s2_128/Relu6;x", "extra_4_conv"),
        ("BoxPredictor_3/BoxEncodingPredictor/BiasAdd;y", "head_3_deltas"),
        ("BoxPredictor_0/ClassPredictor/Conv2D", "head_0_logits"),
        ("BoxPredictor_5/Reshape_1", None),
        ("normalized_input_image_tensor", None),
    ],
)
def test_what_a_tensor_is_called_here(tensor, name):
    assert litert_name(tensor) == name


class FakeInterpreter:
    """One that holds a tensor of a name, twice."""

    name = ""

    def __init__(self, **options):
        pass

    def allocate_tensors(self):
        pass

    def get_tensor_details(self):
        one = {"name": self.name, "dtype": np.float16, "shape": (3,), "index": 0}
        return [one, {**one, "index": 1}]

    def get_tensor(self, index):
        return np.zeros(3, np.float16)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("FeatureExtractor/MobilenetV2/Conv/Conv2D", "expected Conv1/bias once"),
        ("FeatureExtractor/ResNet/Conv/Conv2D", "expected a known tensor. Received: 'FeatureExtr"),
    ],
)
def test_a_tensor_twice_or_of_no_known_name_is_refused(published, monkeypatch, name, message):
    monkeypatch.setattr(interpreters, "Interpreter", FakeInterpreter)
    monkeypatch.setattr(FakeInterpreter, "name", name)
    with pytest.raises(ValueError, match=message):
        read_litert(published.read_bytes())


def test_the_weights_file_holds_the_same_numbers_and_what_the_network_is(published, keras_home):
    config, arrays = read_weights(weights_file("oidv4"))
    for name, value in read_litert(published.read_bytes()).items():
        np.testing.assert_array_equal(arrays[name], value)
    assert config["class_names"] == list(OIDV4.class_names)
    assert config["batch_norm_momentum"] is None
    model = import_litert(published)
    assert model.convention == PRESETS["tf_od_ssd_mobilenet_v2"]
    assert json.loads(json.dumps(model.get_config())) == config
    assert names_in(keras_home / "models") == sorted([OIDV4.file.name, OIDV4.weights.name])


def test_labels_are_those_of_the_label_map(require_data):
    lines = require_data("data/oidv4/object_detection_oidv4_labelmap.txt").read_text().split("\n")
    assert lines[0] == "???", "background"
    assert tuple(line for line in lines[1:] if line) == OIDV4.class_names


def test_training_gets_normalisations_that_change_nothing(model, keras_home):
    images = np.random.default_rng(0).uniform(-1, 1, (1, 300, 300, 3)).astype(np.float32)
    trainable = load_model(weights_file("oidv4"), batch_norm_momentum=0.99)
    assert len(trainable.trainable_weights) > len(model.trainable_weights)
    assert "bn_Conv1/gamma" in {weight.path for weight in trainable.weights}
    before, after = (one(images, training=False) for one in (model, trainable))
    for name in ("deltas", "logits"):
        scale = np.abs(before[name]).max()
        np.testing.assert_allclose(after[name], before[name], atol=1e-5 * scale)


def test_a_head_keeps_its_bias_when_it_is_unfolded():
    made = unfold({"head_0_logits/bias": np.ones(3, np.float32)})
    assert list(made) == ["head_0_logits/bias"]


# --- Files that are not it ----------------------------------------------------------------


def spoilt(published: Path, how: str) -> bytes:
    data = published.read_bytes()
    return {
        "cut": data[:-1],
        "longer": data + b"\0",
        "one bit": data[:5000] + bytes([data[5000] ^ 1]) + data[5001:],
        "empty": b"",
        "a letter": b"Dear reader,",
    }[how]


@pytest.mark.parametrize("how", ["cut", "longer", "one bit", "empty", "a letter"])
def test_another_file_is_refused_and_leaves_nothing(
    published, tmp_path, empty_home, monkeypatch, how, capsys
):
    path = tmp_path / "given.tflite"
    path.write_bytes(spoilt(published, how))
    monkeypatch.setattr(
        interpreters,
        "Interpreter",
        lambda **options: pytest.fail("a foreign file was parsed"),
    )

    with pytest.raises(ValueError, match=r"^file: expected .* Received: .*given\.tflite"):
        install(OIDV4, path)

    assert names_in(empty_home) == []
    assert main(["weights", "oidv4", "--file", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("ssd: error: --file: expected ")
    assert err.count("\n") == 1
    assert names_in(empty_home) == []


def test_a_missing_file_is_named(tmp_path, empty_home, capsys):
    with pytest.raises(FileNotFoundError, match="expected a file"):
        install(OIDV4, tmp_path)
    assert main(["weights", "oidv4", "--file", str(tmp_path / "gone")]) == 2
    assert "--file: expected a file. Received:" in capsys.readouterr().err
    assert names_in(empty_home) == []


def test_a_file_of_the_users_becomes_the_detector(published, empty_home, capsys):
    assert main(["weights", "oidv4", "--file", str(published)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert OIDV4.sha256 in out
    assert "Apache-2.0" in out
    assert str(OIDV4.weights) in out
    assert "Coffee cup" in out
    assert names_in(empty_home) == sorted(["models", OIDV4.file.name, OIDV4.weights.name])
    assert OIDV4.file.read_bytes() == published.read_bytes()


def test_other_bytes_are_never_parsed(monkeypatch):
    monkeypatch.setattr(
        interpreters, "Interpreter", lambda **options: pytest.fail("foreign bytes were parsed")
    )
    with pytest.raises(
        ValueError, match=r"file: expected 9987728 bytes\. Received: the bytes given"
    ):
        read_litert(b"TFL3")


def test_a_full_disk_leaves_nothing(published, empty_home, monkeypatch):
    def full(path, data):
        if path == OIDV4.file:
            raise OSError("No space left on device")
        files.write_file(path, data)

    monkeypatch.setattr(installing, "write_file", full)
    with pytest.raises(OSError, match="No space left"):
        install(OIDV4, published)
    assert names_in(empty_home) == ["models"]


def test_a_published_file_in_the_cache_is_checked_each_time(published, empty_home):
    with pytest.raises(FileNotFoundError, match="`ssd weights oidv4` fetches it"):
        read_published()
    OIDV4.file.parent.mkdir(parents=True)
    OIDV4.file.write_bytes(spoilt(published, "one bit"))
    with pytest.raises(ValueError, match="file: expected SHA-256"):
        read_published()
    OIDV4.file.write_bytes(published.read_bytes())
    assert read_published() == published.read_bytes()


def test_keras_is_not_needed_to_install_it(published, tmp_path, run_python):
    code = (
        "from keras_impl.cli import main;"
        f"raise SystemExit(main(['weights', 'oidv4', '--file', {str(published)!r}]))"
    )
    done = run_python(code, without=["tensorflow", "keras"], KERAS_HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    assert "mobilenetv2_ssd_oidv4.npz" in done.stdout


# --- Downloads ----------------------------------------------------------------------------


def test_a_download_is_checked_and_kept(published, empty_home):
    body, came = published.read_bytes(), []
    with served(body) as url:
        path = install(OIDV4._replace(url=url), advance=came.append)
    assert sum(came) == len(body)
    assert path.is_file()
    assert names_in(empty_home) == sorted(["models", "file.tflite", path.name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": 404}, "download: http.* could not be fetched: HTTP Error 404"),
        ({"length": 30_000_000}, "(could not be fetched|cut short)"),
    ],
)
def test_a_download_that_fails_leaves_nothing(published, empty_home, change, message):
    failure = pytest.raises((ConnectionError, ValueError), match=message)
    with served(published.read_bytes()[:1000], **change) as url, failure:
        install(OIDV4._replace(url=url))
    assert names_in(empty_home) == []


def test_nobody_there_is_said_in_one_line(empty_home, monkeypatch, capsys):
    with served(b"") as url:
        pass  # and now there is nobody
    monkeypatch.setattr(published_, "OIDV4", OIDV4._replace(url=url))
    assert main(["weights", "oidv4"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"ssd: error: download: {url} could not be fetched: ")
    assert err.count("\n") == 1
    assert names_in(empty_home) == []


def test_no_more_is_read_than_is_expected(empty_home):
    came = []
    with served(b"x" * 300_000) as url, pytest.raises(ValueError, match=r"100 bytes\. .* more"):
        fetch(url, "0" * 64, 100, came.append)
    assert sum(came) == 101


def test_a_download_that_takes_forever_is_ended(monkeypatch):
    monkeypatch.setattr(files, "DEADLINE", 0.0)
    with served(b"x" * 10) as url, pytest.raises(ConnectionError, match="more than 0 seconds"):
        fetch(url, "0" * 64, 10)


def test_a_silent_server_is_not_waited_for_forever(monkeypatch):
    monkeypatch.setattr(files, "PATIENCE", 0.2)
    failure = pytest.raises((ConnectionError, ValueError), match=r"not be fetched|cut short")
    with served(b"x" * 10, length=100) as url, failure:
        fetch(url, "0" * 64, 100)


def test_sums_by_hand():
    empty = hashlib.sha256(b"").hexdigest()
    assert check_sum(b"", empty, 0, "here") == b""
    with pytest.raises(ValueError, match=r"expected 1 bytes\. Received: here, fewer: it is cut"):
        check_sum(b"", empty, 1, "here")
    with pytest.raises(ValueError, match=r"expected SHA-256 0+\. Received: here, e3b0c44"):
        check_sum(b"", "0" * 64, 0, "here")
    for place in (0, 8, 63):  # one digit is another
        other = f"{int(empty[place], 16) ^ 1:x}"
        with pytest.raises(ValueError, match="expected SHA-256"):
            check_sum(b"", empty[:place] + other + empty[place + 1 :], 0, "here")


# --- Without it ---------------------------------------------------------------------------


def test_a_detector_that_is_not_there_says_how_to_get_it(empty_home, capsys, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"oidv4 is not on this machine; `ssd weights oidv4`"
    ):
        weights_file("oidv4")
    with pytest.raises(
        ValueError, match=r"model: expected one of digits, oidv4\. Received: 'yolo'"
    ):
        weights_file("yolo")
    image = tmp_path / "a.png"
    image.write_bytes(b"")
    for command in (
        ["detect", str(image), "--model", "oidv4", "--out", str(tmp_path / "o")],
        ["export", "--model", "oidv4", "--format", "litert", "--out", str(tmp_path / "o.tflite")],
        ["parity", "--photos", str(image)],
        ["parity", "--trace", str(image)],
        ["train", "digits", "--init", "oidv4", "--out", str(tmp_path / "run")],
    ):
        assert main(command) == 2
        err = capsys.readouterr().err.splitlines()
        assert len(err) == 1, command
        assert "`ssd weights oidv4` fetches it" in err[0]
    assert names_in(tmp_path) == ["a.png"]


def test_the_weights_file_is_enough_for_numpy(keras_home, photographs, run_python):
    """No TensorFlow, no Keras, no LiteRT: the reference finds the cat alone."""
    code = (
        "from keras_impl import load_detector, open_image;"
        "detector = load_detector('oidv4', 'numpy');"
        f"(found,) = detector.detect([open_image({str(photographs['chelsea'])!r})]);"
        "print([detector.class_names[one.label] for one in found])"
    )
    done = run_python(code, without=["tensorflow", "keras", "ai_edge_litert"])
    assert (done.stdout, done.stderr) == ("['Cat']\n", "")
