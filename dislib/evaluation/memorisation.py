"""Does a model repeat its training images? The nearest of them to each picture, against the nearest held-out image.

A model that learnt the style is as near to images it never saw as to those it saw: "nearer to training" is one half.
A model that copies is nearer to those it saw. After Meehan and others 2020, a three-sample test of data copying.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import DislibError
from ..images.images import as_picture
from .bands import block_bootstrap
from .judge import image_features

if TYPE_CHECKING:
    from .judge import Judge

SIDE = 32  # px of the thumbnails that are compared as pixels


class Copying(NamedTuple):
    """How much closer a set of pictures is to the training images than to held-out ones, by one measure of distance.

    `share (with low and high)`: of the pictures, nearer to training than to held out; one half is no copying.
    `nearest (n,)`: index of each picture's nearest training image; `distance (n,)`: how far it is.
    `usual`: median distance of a held-out image to its nearest training image: what "near" means here.
    """

    share: float
    low: float
    high: float
    nearest: np.ndarray
    distance: np.ndarray
    usual: float


def copying(pictures, training, held_out, judge: Judge | None = None) -> Copying:
    """Compare pictures with the images that a model was trained on, and with as many it was not.

    Args:
        pictures: list of PIL pictures that the model made.
        training: list of its training images.
        held_out: list of as many images of the same kind; more would be nearer by their number alone.
        judge: compares by angles of its projected features, which see the content; None compares thumbnails, by the
            root of the mean squared difference in grey levels.

    Returns:
        Copying.

    Raises:
        DislibError: no pictures, or not as many held-out images as training images.
    """
    if not pictures or not training or len(training) != len(held_out):
        raise DislibError(
            f"got {len(pictures)} pictures, {len(training)} training and {len(held_out)} held-out images; pass pictures,"
            " and as many held-out as training images"
        )
    look, far = _measures(judge)
    made, seen, unseen = look(pictures), look(training), look(held_out)
    to_seen, to_unseen = far(made, seen), far(made, unseen)
    nearer = np.where(to_seen.min(1) == to_unseen.min(1), 0.5, to_seen.min(1) < to_unseen.min(1))
    share = block_bootstrap(lambda rows: float(nearer[rows].mean()), range(len(nearer)))
    usual = float(np.median(far(unseen, seen).min(1)))
    return Copying(*share, to_seen.argmin(1), to_seen.min(1), usual)


def distances(pictures, images, judge=None):
    """How far each picture is from each image, `(pictures, images)`; `judge` as for `copying`."""
    look, far = _measures(judge)
    return far(look(pictures), look(images))


def _measures(judge):
    if judge is None:
        return _thumbnails, _pixel_distances
    return lambda images: image_features(images, judge, kind="projected"), _angles


def _thumbnails(images):
    small = [np.asarray(as_picture(image, i).resize((SIDE, SIDE)), np.float32) for i, image in enumerate(images)]
    return np.stack([pixels.ravel() for pixels in small])


def _pixel_distances(a, b):
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    return np.sqrt(np.maximum(squared, 0) / a.shape[1])


def _angles(a, b):
    return np.degrees(np.arccos(np.clip(a @ b.T, -1, 1)))
