#!/usr/bin/env python
"""Combine four toy images to a small map with labels: GeoTIFFs with georeference and no data."""

if __name__ == '__main__':  # before all imports, which take seconds
    from sclip_mmseg.utils.interrupt import end_at_once_if_interrupted

    end_at_once_if_interrupted()

from pathlib import Path

import numpy as np
import rasterio
from PIL import Image
from rasterio.transform import from_origin

TOY = Path(__file__).resolve().parents[2] / 'data/toy'
VOC = TOY / 'VOCdevkit/VOC2012'
NAMES = (('toy_000003', 'toy_000049'), ('toy_000036', 'toy_000022'))
PLACE = dict(crs='EPSG:25832', transform=from_origin(346000, 5648000, 0.5, 0.5))  # metres
TILES = dict(tiled=True, blockxsize=256, blockysize=256)


def main() -> None:
    """Write ``map/images/island.tif`` and ``map/labels/island.tif``."""
    image = _lay_out('JPEGImages', 'jpg')[..., :3].transpose(2, 0, 1)
    labels = _lay_out('SegmentationClass', 'png')
    rows, columns = np.indices(labels.shape)
    inside = columns + 2 * rows > 180  # a corner without data, like the edge of a satellite's swath
    about = dict(driver='GTiff', width=labels.shape[1], height=labels.shape[0], **PLACE, **TILES)
    for kind in ('images', 'labels'):
        (TOY / 'map' / kind).mkdir(parents=True, exist_ok=True)
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            *(TOY / 'map/images/island.tif', 'w'),
            **about,
            **dict(count=3, dtype='uint8', compress='jpeg', photometric='ycbcr', jpeg_quality=85),
        ) as file,
    ):
        file.write(image)
        file.write_mask(inside)
    labels[~inside] = 255
    about |= dict(count=1, dtype='uint8', compress='deflate', nodata=255)
    with rasterio.open(TOY / 'map/labels/island.tif', 'w', **about) as file:
        file.write(labels, 1)


def _lay_out(folder: str, suffix: str) -> np.ndarray:
    rows = [[np.asarray(Image.open(VOC / folder / f'{n}.{suffix}')) for n in row] for row in NAMES]
    return np.concatenate([np.concatenate(row, 1) for row in rows])


if __name__ == '__main__':
    main()
