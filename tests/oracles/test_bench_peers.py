"""The peers of the benchmarks do what they are timed for; the yardstick is the reference.

Each runs in a process of its own, which leaves its results in a file: torchvision after TensorFlow
in one process crashes, and here nothing but NumPy is imported. Where a peer decides by a
rule of its own, the reference is asked by that rule.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import keras_impl
from keras_impl.benchmark.correctness import check_targets
from keras_impl.benchmark.peers import PEERS, decoder, installed, matcher
from keras_impl.benchmark.peers.kinds import Found, Matched
from reference_numpy.anchors import make_anchors
from reference_numpy.conventions import CANONICAL, SSD_MOBILENET300, AnchorLayout
from reference_numpy.detection import detect
from reference_numpy.targets import assign_targets
from reference_numpy.testing import cases
from reference_numpy.testing.workloads import MatchingWorkload, decoding_workload, matching_workload

LIMIT = 300  # seconds

# Anchors and objects whose overlaps are often equal, and whose best anchors are often the same.
EXACT = AnchorLayout(
    "exact", (64, 64), ((8, 8), (4, 4), (1, 1)), (0.125, 0.5, 0.5, 2.0), ((4.0, 0.25),) * 3
)


def coarse(seed):
    generator, anchors = np.random.default_rng(seed), make_anchors(EXACT, np.float32)
    return MatchingWorkload(*cases.random_objects(generator, 40, 12, 10, np.float32), anchors)


def eightfold(work):
    return work._replace(anchors=np.tile(work.anchors, (8, 1)))


MATCHING = {
    **{
        f"{batch} x {objects}": matching_workload(SSD_MOBILENET300, batch, objects)
        for batch, objects in ((4, 1), (4, 8), (3, 100), (2, 0))
    },
    **{f"coarse {seed}": coarse(seed) for seed in range(5)},
    # Every anchor eight times: more than the yardstick takes at once, and equal ones far apart.
    "coarse, eightfold": eightfold(coarse(5)),
    # Another one's results must be forgotten by now.
    "4 x 8 again": matching_workload(SSD_MOBILENET300, 4, 8),
}
# Heads of the Open Images detector mean this; what is kept is the canonical choice.
SIGMOID = CANONICAL.replace(class_loss="sigmoid", code_order="yxhw", size_epsilon=1e-8)
DECODING = {
    "realistic": (decoding_workload(SSD_MOBILENET300, 3, 8), CANONICAL),
    "hard": (decoding_workload(SSD_MOBILENET300, 2, 8, num_classes=5, load="hard"), CANONICAL),
    "sigmoid": (decoding_workload(SSD_MOBILENET300, 3, 8), SIGMOID),
}

PROCESS = """
import sys
import numpy as np
from keras_impl.benchmark.peers import decoder, matcher
from reference_numpy.conventions import CANONICAL

name, given, path = sys.argv[1:]
sigmoid = CANONICAL.replace(class_loss="sigmoid", code_order="yxhw", size_epsilon=1e-8)
found, made = {}, {}
with np.load(given) as file:
    for load in dict.fromkeys(key.rpartition("/")[0] for key in file):
        first, second, anchors = (file[f"{load}/{place}"] for place in range(3))
        operation, _, which = load.partition("/")
        if operation == "matching":
            key = (first.shape[1], len(anchors))
            call = made.get(key) or made.setdefault(key, matcher(name, anchors, first.shape[1]))
            images = [call(first, second)]
        else:
            call = decoder(name, anchors, sigmoid if which == "sigmoid" else CANONICAL)
            images = call(first, second)
        again = call(first, second)
        again = [again] if operation == "matching" else again
        for index, image in enumerate(images):
            for place, part in enumerate(image):
                if part is None:  # the objects, which a matcher need not return
                    continue
                assert type(part) is np.ndarray, type(part)
                assert np.array_equal(part, again[index][place]), "another result the second time"
                found[f"{load}/{index}/{place}"] = part.copy()
np.savez(path, **found)
"""


@pytest.fixture(scope="session")
def results(tmp_path_factory):
    """A function from a peer to what it gives for every load, by load."""
    folder = tmp_path_factory.mktemp("peers")
    given = {
        f"{operation}/{load}/{place}": part
        for operation, loads in (
            ("matching", MATCHING),
            ("decoding", {load: work for load, (work, _) in DECODING.items()}),
        )
        for load, work in loads.items()
        for place, part in enumerate(work)
    }
    known = {}

    def of(name):
        if not installed(name):
            pytest.skip(f"could not import {name}: it is not installed")
        if name not in known:
            operations = PEERS[name].operations
            inputs, outputs = folder / f"{name}-in.npz", folder / f"{name}-out.npz"
            chosen = {key: part for key, part in given.items() if key.startswith(operations)}
            np.savez(inputs, **chosen)
            packages = str(Path(keras_impl.__file__).parents[1])
            ended = subprocess.run(
                [sys.executable, "-c", PROCESS, name, str(inputs), str(outputs)],
                env={**os.environ, "PYTHONPATH": packages},
                capture_output=True,
                text=True,
                timeout=LIMIT,
                check=False,
            )
            assert ended.returncode == 0, ended.stderr
            with np.load(outputs) as file:
                known[name] = {key: file[key] for key in file}
        return known[name]

    return of


def matched(results, name, load):
    found = results(name)
    return Matched(*(found.get(f"matching/{load}/0/{place}") for place in range(3)))


def detected(results, name, load):
    found = results(name)
    return [
        Found(*(found[f"decoding/{load}/{image}/{place}"] for place in range(3)))
        for image in range(len(DECODING[load][0].deltas))
    ]


def who_does(operation):
    return [
        name for name, peer in PEERS.items() if operation in peer.operations and not peer.yardstick
    ]


# --- matching -------------------------------------------------------------------------------------


@pytest.mark.parametrize("load", [load for load in MATCHING if load != "2 x 0"])
def test_the_yardstick_is_the_reference(results, load):
    assert check_targets(matched(results, "numba", load), MATCHING[load], excuse=False) == 0


@pytest.mark.parametrize("name", ["numba", *who_does("matching")])
def test_images_without_objects_are_background(results, name):
    labels, deltas, objects = matched(results, name, "2 x 0")
    assert not labels.any()
    assert not deltas.any()
    assert objects is None or (objects == -1).all()


# Which of several objects gets the anchor that all like best.
FORCE = {"torchvision": "last", "keras_hub": "first", "keras_hub compiled": "first"}


def by_the_rule_of(name, boxes, labels, anchors):
    if name != "dali":
        return assign_targets(boxes, labels, anchors, force=FORCE[name])
    # Of equal overlaps it takes the last object and the last anchor: the reference in reverse.
    reverse = (part[::-1] for part in (boxes, labels, anchors))
    right = assign_targets(*reverse, force="first", positive_at=">", force_above=-1.0)
    return right._replace(labels=right.labels[::-1], deltas=right.deltas[::-1])


@pytest.mark.parametrize("load", [load for load in MATCHING if load.startswith("4 x")])
@pytest.mark.parametrize("name", who_does("matching"))
def test_a_peer_matches_as_the_reference_does_by_its_rule(results, name, load):
    found, work = matched(results, name, load), MATCHING[load]
    for image, (boxes, labels) in enumerate(zip(work.boxes, work.labels, strict=True)):
        real = labels > 0
        right = by_the_rule_of(name, boxes[real], labels[real], work.anchors)
        assert right.objects.max() >= 0
        if found.objects is not None:
            np.testing.assert_array_equal(found.objects[image], right.objects)
        np.testing.assert_array_equal(found.labels[image], right.labels)
        np.testing.assert_allclose(found.deltas[image], right.deltas, atol=2e-4)


@pytest.mark.parametrize("load", MATCHING)
@pytest.mark.parametrize("name", who_does("matching"))
def test_a_peer_gives_nearly_the_canonical_targets_on_every_load(results, name, load):
    found, work = matched(results, name, load), MATCHING[load]
    shape = (len(work.boxes), len(work.anchors))
    assert (found.labels.shape, found.deltas.shape) == (shape, (*shape, 4))
    assert np.isfinite(found.deltas).all()
    assert not found.deltas[found.labels == 0].any()
    if found.objects is not None:
        np.testing.assert_array_equal(found.labels > 0, found.objects >= 0)
    images = zip(work.boxes, work.labels, strict=True)
    right = np.stack([assign_targets(*image, work.anchors).labels for image in images])
    # On the coarse grid many objects like the same anchor best; among natural ones few do. DALI
    # decides equal overlaps, and those at the threshold, in another way: there most are.
    coarse, natural = (0.7, 0.06) if name == "dali" else (0.3, 0.05)
    share = coarse if load.startswith("coarse") else natural
    assert np.sum(found.labels != right) <= share * np.sum(right > 0)


# --- decoding -------------------------------------------------------------------------------------


@pytest.mark.parametrize("load", DECODING)
@pytest.mark.parametrize("name", who_does("decoding"))
def test_a_peer_detects_what_the_reference_detects(results, name, load):
    work, convention = DECODING[load]
    for image, found in enumerate(detected(results, name, load)):
        # Combined suppression cuts boxes to the image last, and then looks at all candidates.
        own = {"clip": "after", "candidates_per_class": None} if name == "tf_image" else {}
        right = detect(work.deltas[image], work.logits[image], work.anchors, convention, **own)
        assert len(right.labels) > 0
        # Equal scores, and such as differ in the last bit, may come in another order.
        assert sorted(found.labels) == sorted(right.labels)
        np.testing.assert_allclose(found.scores, right.scores, rtol=1e-4)
        clear = np.abs(np.diff(right.scores, prepend=2, append=-1)) > 1e-5
        clear = clear[:-1] & clear[1:]
        assert clear.any()
        np.testing.assert_array_equal(found.labels[clear], right.labels[clear])
        np.testing.assert_allclose(found.boxes[clear], right.boxes[clear], atol=1e-5)


# --- what is refused ------------------------------------------------------------------------------


def test_nothing_heavy_is_imported_to_find_out_what_is_there():
    heavy = ["cv2", "keras", "keras_hub", "numba", "nvidia", "openvino", "tensorflow", "torch"]
    code = f"""
import sys
from keras_impl.benchmark.peers import PEERS, installed
print([installed(name) for name in PEERS], set({heavy}) & set(sys.modules))
"""
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(Path(keras_impl.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert ended.stdout.strip() == f"{[installed(name) for name in PEERS]} set()", ended.stderr


def test_what_a_peer_does_not_do_is_refused():
    anchors = make_anchors(EXACT, np.float32)
    with pytest.raises(ValueError, match=r"\['torchvision', .*'numba'\], for matching"):
        matcher("opencv", anchors, 1)
    with pytest.raises(ValueError, match=r"for decoding. Received: 'numba'"):
        decoder("numba", anchors, CANONICAL)
    with pytest.raises(ValueError, match=r"expected one of .* Received: 'paz'"):
        installed("paz")


@pytest.mark.parametrize("overrides", [{"clip": "none"}, {"eta": 0.9}, {"background": "last"}])
def test_a_convention_that_no_peer_has_is_refused(overrides):
    with pytest.raises(ValueError, match="convention: expected"):
        decoder("torchvision", make_anchors(EXACT, np.float32), CANONICAL.replace(**overrides))
