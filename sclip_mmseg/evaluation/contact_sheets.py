"""Contact sheets of an evaluation's images: image, truth, and a column per prediction."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..utils.files import write_atomically
from ..visualization import stack, titled, with_legend
from .comparison import Comparison
from .pictures import Pictures

PER_SHEET = 12
MOST = 60  # images
_WIDTH = 320  # of each picture


def write_contact_sheets(comparison: Comparison, pictures: Pictures, folder: Path) -> list[Path]:
    """Draw the images of results, at most 60 spread over all of them, 12 a sheet.

    Args:
        comparison: The results.
        pictures: Images, labels and predictions of these results.
        folder: Exists.

    Returns:
        The files, ``contact_sheet_1.jpg`` and so on.
    """
    count = min(len(comparison.images), MOST)
    chosen = np.linspace(0, len(comparison.images) - 1, count).astype(int).tolist()
    files: list[Path] = []
    for start in range(0, count, PER_SHEET):
        files.append(folder / f'contact_sheet_{len(files) + 1}.jpg')
        places = chosen[start : start + PER_SHEET]
        write_contact_sheet(files[-1], pictures, comparison, places)
    return files


def write_contact_sheet(
    path: Path, pictures: Pictures, comparison: Comparison, places: Sequence[int]
) -> None:
    """Draw images below one another: the image, its truth, and a column per prediction.

    Args:
        path: The JPEG to write.
        pictures: What is shown.
        comparison: The results.
        places: Indices of the images among those of the results.
    """
    rows = []
    for place in places:
        name, class_names = comparison.images[place], comparison.class_names
        layers, shown = pictures.layers(name, _WIDTH, class_names)
        row = titled(layers)
        if shown:
            row = with_legend(row, shown, class_names, pictures.palette)
        words = comparison.describe_image(place)
        rows += [titled({words: np.full((1, row.shape[1], 3), 255, np.uint8)}), row]
    content = io.BytesIO()
    Image.fromarray(stack(rows)).save(content, 'JPEG', quality=90, subsampling=0)
    write_atomically(path, content.getvalue())
