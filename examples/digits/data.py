"""The handwritten digits that come with scikit-learn, as the network wants them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


def load() -> tuple[Images, Labels, Images, Labels]:
    """Training images and labels (1347), test images and labels (450).

    Images are float32 of shape (count, 1, 8, 8), with ink from 0 to 1; labels are 0 to 9. A quarter
    of the data is the test set, drawn once with each digit in its share (random_state=0).
    """
    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[:, np.newaxis]
    train_x, test_x, train_y, test_y = train_test_split(
        images, digits.target, test_size=0.25, stratify=digits.target, random_state=0
    )
    return train_x, train_y, test_x, test_y
