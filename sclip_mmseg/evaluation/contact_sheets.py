"""Contact sheets of an evaluation's images: image, truth, and a column per prediction."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..utils.files import write_atomically
from ..visualization import stack, titled, with_legend
from .confusion import image_scores
from .pictures import Pictures
from .report import describe_image
from .result import Result

PER_SHEET = 12
MOST = 60  # images
_WIDTH = 320  # of each picture


def write_contact_sheets(
    results: Mapping[str, Result], pictures: Pictures, folder: Path
) -> list[Path]:
    """Draw the images of results, at most 60 spread over all of them, 12 a sheet.

    Args:
        results: Name → result, all of the same images.
        pictures: Of these results.
        folder: Exists.

    Returns:
        The files, ``contact_sheet_1.jpg`` and so on.
    """
    first = next(iter(results.values()))
    scores = {name: dict(zip(r.images, image_scores(r).tolist())) for name, r in results.items()}
    count = min(len(first.images), MOST)
    chosen = np.linspace(0, len(first.images) - 1, count).astype(int).tolist()
    files: list[Path] = []
    for start in range(0, count, PER_SHEET):
        words = {}
        for index in chosen[start : start + PER_SHEET]:
            image = first.images[index]
            words[image] = describe_image(image, {name: scores[name][image] for name in results})
        files.append(folder / f'contact_sheet_{len(files) + 1}.jpg')
        write_contact_sheet(files[-1], pictures, words, first.class_names)
    return files


def write_contact_sheet(
    path: Path, pictures: Pictures, names: Mapping[str, str], class_names: Sequence[str]
) -> None:
    """Draw images below one another: the image, its truth, and a column per prediction.

    Args:
        path: Of the JPEG.
        pictures: What is shown.
        names: Name of an image → what is written above it.
        class_names: K names.
    """
    rows = []
    for name, words in names.items():
        layers, shown = pictures.layers(name, _WIDTH, class_names)
        row = titled(layers)
        if shown:
            row = with_legend(row, shown, class_names, pictures.palette)
        rows += [titled({words: np.full((1, row.shape[1], 3), 255, np.uint8)}), row]
    content = io.BytesIO()
    Image.fromarray(stack(rows)).save(content, 'JPEG', quality=90, subsampling=0)
    write_atomically(path, content.getvalue())
