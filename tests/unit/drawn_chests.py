"""Chests that are alike as people are, and what exports do to a picture of one."""

from __future__ import annotations

import cv2
import numpy as np

Picture = np.ndarray


def chest(seed: int, rows: int = 240, columns: int = 260) -> Picture:
    """A body with two lungs, as everyone has them, and vessels of one's own; uint8."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    image = 200.0 * ((x / 0.9) ** 2 + (y / 0.8) ** 2 < 1)
    for side in (-0.42, 0.42):
        image[((x - side) / 0.3) ** 2 + (y / 0.55) ** 2 < 1] = 60
    vessels = cv2.GaussianBlur(random.normal(size=(rows, columns)), (0, 0), 5)
    image[image == 60] += 900 * vessels[image == 60]
    image[image >= 150] += 150 * vessels[image >= 150]
    return np.clip(image + random.normal(0, 2, image.shape), 0, 255).astype(np.uint8)


def resized(picture: Picture, factor: float) -> Picture:
    return cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def recompressed(picture: Picture, quality: int = 30) -> Picture:
    return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE)


def figure(picture: Picture) -> Picture:
    """The picture as an exported figure: white paper, a frame, tick labels (as the files of khan2020 are)."""
    rows, columns = picture.shape
    top, left = rows // 10, columns // 8
    paper = np.full((rows + 3 * top, columns + 2 * left), 255, np.uint8)
    paper[top : top + rows, left : left + columns] = picture
    cv2.rectangle(paper, (left - 1, top - 1), (left + columns, top + rows), 0, 1)
    for tick in range(1, 6):
        cv2.putText(paper, str(100 * tick), (2, top + tick * rows // 6), cv2.FONT_HERSHEY_SIMPLEX, 0.3, 0, 1)
    return paper


def letterboxed(picture: Picture) -> Picture:
    return np.pad(picture, ((30, 40), (80, 60)))
