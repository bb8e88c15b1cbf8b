"""Contact sheets of evaluated images: image, ground truth and predictions in columns."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..old_names import old_arguments
from ..utils.files import open_atomically
from ..visualization import stack, titled, with_legend
from .comparison import Comparison
from .result_images import ResultImages

PER_SHEET = 12
MOST = 60  # images
_WIDTH = 320  # pixels per column


@old_arguments(pictures='images')
def write_contact_sheets(comparison: Comparison, images: ResultImages, folder: Path) -> list[Path]:
    """Draw at most 60 images, evenly spaced, 12 per sheet.

    Args:
        comparison: The results.
        images: Images, labels and predictions of these results.
        folder: An existing folder.

    Returns:
        The files, ``contact_sheet_1.jpg`` and so on.
    """
    count = min(len(comparison.images), MOST)
    chosen = np.linspace(0, len(comparison.images) - 1, count).astype(int).tolist()
    files: list[Path] = []
    for start in range(0, count, PER_SHEET):
        files.append(folder / f'contact_sheet_{len(files) + 1}.jpg')
        places = chosen[start : start + PER_SHEET]
        write_contact_sheet(files[-1], images, comparison, places)
    return files


@old_arguments(pictures='images')
def write_contact_sheet(
    path: Path, images: ResultImages, comparison: Comparison, places: Sequence[int]
) -> None:
    """Draw a row per image, with columns for image, ground truth and predictions.

    Args:
        path: The JPEG to write.
        images: Images, labels and predictions of the results.
        comparison: The results.
        places: Indices of the images.
    """
    rows = []
    for place in places:
        name, class_names = comparison.images[place], comparison.class_names
        layers, shown = images.layers(name, _WIDTH, class_names)
        row = titled(layers)
        if shown:
            row = with_legend(row, shown, class_names, images.palette)
        words = comparison.describe_image(place)
        rows += [titled({words: np.full((1, row.shape[1], 3), 255, np.uint8)}), row]
    sheet = Image.fromarray(stack(rows))
    with open_atomically(path) as file:
        sheet.save(file, 'JPEG', quality=90, subsampling=0)
