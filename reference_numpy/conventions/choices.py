"""The choices in which SSD implementations differ, as fields of frozen dataclasses.

Every SSD has to choose its anchors, the object of each anchor, the code of a box, the negatives
that count and the detections to keep. The paper leaves some of this open, and implementations
differ. Here each choice is a field, and `reference_numpy` and `keras_impl` follow the fields.
`CANONICAL` has the defaults, `presets` the choices of known systems; docs/conventions.md gives the
reasons.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from numbers import Real
from typing import Any, Literal, get_type_hints

from reference_numpy.checks import check_number, check_types
from reference_numpy.conventions.layouts import SSD300, AnchorLayout

__all__ = [
    "CANONICAL",
    "IGNORE",
    "IGNORED",
    "PADDING",
    "UNMATCHED",
    "Coding",
    "Convention",
    "Detection",
    "Loss",
    "Matching",
    "Overlap",
    "revived",
]

# Integers that stand for "no object". As match indices, one for each anchor:
UNMATCHED = -1  # the anchor has no object: it is background
IGNORED = -2  # the anchor is neither object nor background: no loss counts it
# As labels:
PADDING = -1  # of a row that holds no object
IGNORE = -1  # of an anchor that no loss counts
MOST_DETECTIONS = 1_000_000


@dataclass(frozen=True)
class Overlap:
    """How IoU is computed, in matching and in suppression.

    Attributes:
        iou_epsilon: Added to the union.
        iou_offset: Added to every width and height, of boxes and of intersections; 1 if corners are
            inclusive pixels.
    """

    iou_epsilon: float = 0.0
    iou_offset: float = 0.0

    def __post_init__(self) -> None:
        """Validate the fields."""
        check_number(self.iou_epsilon, "iou_epsilon", 0, 1)
        check_number(self.iou_offset, "iou_offset", 0, 1)


@dataclass(frozen=True)
class Matching:
    """Which object an anchor is matched to (arXiv:1512.02325, section 2.2, "Matching strategy").

    Attributes:
        threshold: IoU from which an anchor that is not forced takes its best object.
        positive_at: Comparison with the threshold: ">=" or ">".
        force: How objects are forced on anchors, whatever the threshold. "bipartite": each object
            gets an anchor of its own, the largest IoU first. "last" or "first": each object takes
            its best anchor, and of several objects on one anchor the last or the first keeps it.
            "none": not at all.
        force_above: Objects are forced only at an IoU above this; -1 forces at any IoU, even 0.
        ignore_from: Anchors with an IoU from this up to the threshold are ignored, unless forced;
            None makes them background.
        crowd_by: Overlap with a crowd (or a difficult object) by which an anchor without an object
            is ignored: "iou"; "ioa", over the area of the anchor; or "none", never.
        crowd_overlap: Smallest such overlap.
    """

    threshold: float = 0.5
    positive_at: Literal[">=", ">"] = ">="
    force: Literal["bipartite", "last", "first", "none"] = "bipartite"
    force_above: float = 0.0
    ignore_from: float | None = None
    crowd_by: Literal["ioa", "iou", "none"] = "ioa"
    crowd_overlap: float = 0.5

    def __post_init__(self) -> None:
        """Validate the fields."""
        check_types(self)
        check_number(self.threshold, "threshold", 0, 1, open_below=True)
        check_number(self.force_above, "force_above", -1, 1)
        check_number(self.crowd_overlap, "crowd_overlap", 0, 1, open_below=True)
        if self.ignore_from is not None and not 0 <= self.ignore_from < self.threshold:
            raise ValueError(
                f"ignore_from: expected a number from 0 to below the threshold, "
                f"{self.threshold}, or None. Received: {self.ignore_from}"
            )
        if self.force == "bipartite" and self.force_above < 0:
            raise ValueError(
                "force_above: expected 0 or more with force 'bipartite', which never matches at "
                f"IoU 0. Received: {self.force_above}"
            )


@dataclass(frozen=True)
class Coding:
    """How the head outputs code boxes and classes (section 2.2, equation 2).

    Attributes:
        variances: Divisors of (tx, ty, tw, th), as in Caffe SSD.
        form: "log", as in the paper; or "difference", plain differences of centres and of sizes.
        code_order: "xywh" or "yxhw".
        size_epsilon: Added to the sizes of box and anchor before encoding.
        ratio_epsilon: Added to the ratio of sizes before its logarithm.
        largest_exponent: Upper limit of tw and th, times their variances, in decoding; None is no
            limit.
        degenerate: An object without width or height is an "error", counts as padding ("drop"), or
            is encoded like any other ("encode"), which needs an epsilon.
        background: Column of the background among the classes: "first" or "last".
    """

    variances: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)
    form: Literal["log", "difference"] = "log"
    code_order: Literal["xywh", "yxhw"] = "xywh"
    size_epsilon: float = 0.0
    ratio_epsilon: float = 0.0
    largest_exponent: float | None = None
    degenerate: Literal["error", "drop", "encode"] = "error"
    background: Literal["first", "last"] = "first"

    def __post_init__(self) -> None:
        """Validate the fields."""
        four = isinstance(self.variances, tuple | list) and len(self.variances) == 4
        if not four or not all(
            isinstance(one, Real) and 0 < one < float("inf") for one in self.variances
        ):
            raise ValueError(
                f"variances: expected four positive numbers. Received: {self.variances}"
            )
        check_types(self)
        for name in ("size_epsilon", "ratio_epsilon"):
            check_number(getattr(self, name), name, 0, 1)
        if self.largest_exponent is not None:
            check_number(self.largest_exponent, "largest_exponent", float("-inf"), float("inf"))
        epsilon = self.size_epsilon or self.ratio_epsilon
        if self.form == "difference" and (epsilon or self.largest_exponent is not None):
            raise ValueError(
                "form: expected 'log' with an epsilon or a largest_exponent, which differences "
                "do not use. Received: 'difference'"
            )
        if self.degenerate == "encode" and self.form == "log" and not epsilon:
            raise ValueError(
                "degenerate: expected 'error' or 'drop' without an epsilon, since the logarithm "
                "of 0 is infinite. Received: 'encode'"
            )


@dataclass(frozen=True)
class Loss:
    """The training loss (section 2.2, equation 1, and "Hard negative mining").

    Attributes:
        class_loss: "softmax" cross-entropy; or "sigmoid" cross-entropy or "focal" loss, summed over
            all columns with the background. Scores are a softmax or sigmoids accordingly.
        focal_alpha: Weight of the true column.
        focal_gamma: The larger, the less a well-predicted column counts.
        mining: Negatives are chosen in each "image" or in the whole "batch"; with "none" all count.
        negative_ratio: Negatives kept per positive.
        rounding: Rounding of ratio × positives: "down" or "up".
        min_negatives: Smallest number of negatives kept, even without positives.
        max_negatives: Largest number of negatives kept; None is no limit.
        mining_nms: IoU above which anchors suppress each other before mining, by their predicted
            boxes, the largest class loss first. Suppressed anchors are ignored. None is no
            suppression.
        normaliser: Divisor of both losses, with N the number of positives: "positives", max(1, N of
            the batch); "image", max(1, N of the image), then the mean over images; "mean", max(1, N
            of the batch) / images; or "anchors", the number of all anchors.
        box_over: Anchors in the box loss: "positives"; or "all" that are not ignored, with target 0
            for those without an object.
        box_weight: Weight of the box loss, relative to the class loss (alpha in equation 1).
    """

    class_loss: Literal["softmax", "sigmoid", "focal"] = "softmax"
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0
    mining: Literal["image", "batch", "none"] = "image"
    negative_ratio: float = 3.0
    rounding: Literal["down", "up"] = "down"
    min_negatives: int = 0
    max_negatives: int | None = None
    mining_nms: float | None = None
    normaliser: Literal["positives", "image", "mean", "anchors"] = "positives"
    box_over: Literal["positives", "all"] = "positives"
    box_weight: float = 1.0

    def __post_init__(self) -> None:
        """Validate the fields."""
        check_types(self)
        most = float("inf") if self.max_negatives is None else self.max_negatives
        if not (0 <= self.negative_ratio < float("inf") and 0 <= self.min_negatives <= most):
            raise ValueError(
                "negative_ratio, min_negatives, max_negatives: expected 0 or more, the minimum "
                f"not above the maximum. Received: {self.negative_ratio}, {self.min_negatives}, "
                f"{self.max_negatives}"
            )
        check_number(self.focal_alpha, "focal_alpha", 0, 1)
        if not (self.focal_gamma == 0 or 1 <= self.focal_gamma < float("inf")):
            raise ValueError(f"focal_gamma: expected 0, or 1 or more. Received: {self.focal_gamma}")
        if not 0 <= self.box_weight < float("inf"):
            raise ValueError(f"box_weight: expected 0 or more. Received: {self.box_weight}")
        if self.mining_nms is not None:
            check_number(self.mining_nms, "mining_nms", 0, 1)
            if self.mining != "image":
                raise ValueError(
                    "mining: expected 'image' with mining_nms, which suppresses per image. "
                    f"Received: {self.mining!r}"
                )
        limits = self.min_negatives, self.max_negatives
        if self.mining == "none" and limits != (0, None):
            raise ValueError(
                "mining: expected 'image' or 'batch' with min_negatives or max_negatives. "
                f"Received: 'none' with {limits}"
            )


@dataclass(frozen=True)
class Detection:
    """Which boxes are kept as detections (section 3.7, "Inference time").

    Attributes:
        score_threshold: Score threshold of candidates.
        score_at: Comparison with the score threshold: ">" or ">=".
        suppress_in: Boxes suppress each other within each "class"; or all together, each anchor
            with its best class only ("anchor").
        candidates_per_class: Number of best candidates of each class (or of all anchors) that enter
            suppression; None is all.
        iou_threshold: IoU with a kept box at which a candidate is suppressed.
        suppress_at: Comparison with the IoU threshold: ">" or ">=".
        ties: Order of equal scores: "lowest anchor", then lowest label; "lowest label", then lowest
            anchor; or "highest anchor", then lowest label.
        eta: Factor on the IoU threshold after each kept box, while the threshold is above one half.
        soft_sigma: Scores of boxes that overlap a kept box, but are not suppressed, are multiplied
            by exp(-IoU² / 2 soft_sigma). None leaves them alone.
        max_per_class: Largest number of detections of each class; None is no limit.
        max_detections: Largest number of detections of all classes; at most a million.
        clip: Boxes are clipped to the image "before" suppression, "after" it, or not ("none").
        drop_empty: Whether detections without area are dropped.
    """

    score_threshold: float = 0.01
    score_at: Literal[">", ">="] = ">"
    suppress_in: Literal["class", "anchor"] = "class"
    candidates_per_class: int | None = 400
    iou_threshold: float = 0.45
    suppress_at: Literal[">", ">="] = ">"
    ties: Literal["lowest anchor", "lowest label", "highest anchor"] = "lowest anchor"
    eta: float = 1.0
    soft_sigma: float | None = None
    max_per_class: int | None = None
    max_detections: int = 200
    clip: Literal["before", "after", "none"] = "before"
    drop_empty: bool = False

    def __post_init__(self) -> None:
        """Validate the fields."""
        check_types(self)
        check_number(self.iou_threshold, "iou_threshold", 0, 1)
        check_number(self.eta, "eta", 0, 1, open_below=True)
        if not self.score_threshold == self.score_threshold:
            raise ValueError("score_threshold: expected a number. Received: nan")
        for name in ("candidates_per_class", "max_per_class", "max_detections"):
            limit = getattr(self, name)
            if limit is not None and limit < 0:
                raise ValueError(f"{name}: expected 0 or more. Received: {limit}")
        if self.max_detections > MOST_DETECTIONS:
            raise ValueError(
                f"max_detections: expected at most {MOST_DETECTIONS}, for each of which there is "
                f"memory. Received: {self.max_detections}"
            )
        if self.suppress_in == "anchor" and self.max_per_class is not None:
            raise ValueError(
                "max_per_class: expected None where suppress_in is 'anchor'. "
                f"Received: {self.max_per_class}"
            )
        if self.suppress_in == "anchor" and self.ties == "lowest label":
            raise ValueError(
                "ties: expected 'lowest anchor' or 'highest anchor' where suppress_in is 'anchor'. "
                "Received: 'lowest label'"
            )
        if self.soft_sigma is not None:
            check_number(self.soft_sigma, "soft_sigma", 0, float("inf"), open_below=True)
            if self.eta < 1:
                raise ValueError(
                    "eta: expected 1 with a soft_sigma, which keeps the threshold as it is. "
                    f"Received: {self.eta}"
                )


_PARTS = ("overlap", "matching", "coding", "loss", "detection")


@dataclass(frozen=True)
class Convention:
    """All choices of one SSD.

    Attributes:
        name: Name of the convention.
        layout: Where the anchors are.
        overlap: How IoU is computed.
        matching: Which object an anchor is matched to.
        coding: How the head outputs code boxes and classes.
        loss: The training loss.
        detection: Which boxes are kept.

    Example:
        >>> CANONICAL.replace(threshold=0.4, variances=(1, 1, 1, 1)).matching.threshold
        0.4
    """

    name: str
    layout: AnchorLayout = SSD300
    overlap: Overlap = field(default_factory=Overlap)
    matching: Matching = field(default_factory=Matching)
    coding: Coding = field(default_factory=Coding)
    loss: Loss = field(default_factory=Loss)
    detection: Detection = field(default_factory=Detection)

    def __post_init__(self) -> None:
        """Validate the fields."""
        check_types(self)

    def replace(self, **overrides: Any) -> Convention:
        """Return a copy with single fields replaced.

        Unlike `dataclasses.replace`, it takes the fields of the parts; their names are unique. From
        Python 3.13 on, `copy.replace` does the same.

        Args:
            **overrides: Values by field, such as `iou_threshold=0.4`.

        Returns:
            A new convention.

        Raises:
            TypeError: No field has that name.
            ValueError: A value, or a combination of values, that is not allowed.
        """
        if not overrides:
            return self
        parts: dict[str, Any] = {
            name: overrides.pop(name) for name in ("name", "layout") if name in overrides
        }
        for part in _PARTS:
            group = getattr(self, part)
            mine = {
                one.name: overrides.pop(one.name) for one in fields(group) if one.name in overrides
            }
            if mine:
                parts[part] = replace(group, **mine)
        if overrides:
            wrong = next(iter(overrides))
            known = [one.name for part in _PARTS for one in fields(getattr(self, part))]
            near = "".join(
                f"; did you mean {name!r}?" for name in get_close_matches(wrong, known, 1)
            )
            raise TypeError(
                f"overrides: expected fields of a convention. Received: {wrong!r}{near}"
            )
        return replace(self, **parts)

    __replace__ = replace


def revived(kind: type, plain: Any) -> Any:
    """Rebuild a layout or convention from the output of `dataclasses.asdict`, also after JSON.

    Args:
        kind: `Convention`, `AnchorLayout`, or another dataclass of these modules.
        plain: Its fields by name. Missing fields keep their defaults.

    Returns:
        An instance of `kind`.

    Raises:
        TypeError: `plain` is not a mapping, or has a field that `kind` does not have.
        ValueError: A value that is not allowed.

    Example:
        >>> revived(Coding, {"variances": [1, 1, 1, 1]}).variances
        (1, 1, 1, 1)
    """

    def frozen(value: Any) -> Any:
        return tuple(map(frozen, value)) if isinstance(value, list | tuple) else value

    if not isinstance(plain, Mapping):
        raise TypeError(f"plain: expected fields by name. Received: {plain!r}")
    hints = get_type_hints(kind)
    for name in plain:
        if name not in hints:
            raise TypeError(f"plain: expected fields of {kind.__name__}. Received: {name!r}")
    return kind(
        **{
            key: revived(hints[key], value)
            if isinstance(value, dict) and key in hints
            else frozen(value)
            for key, value in plain.items()
        }
    )


CANONICAL = Convention("canonical")
