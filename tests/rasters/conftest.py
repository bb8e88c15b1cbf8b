"""Maps that several tests read."""

import runpy
import sys

import numpy as np
import pytest
from paths import ROOT, SHARED

IMAGE_FILE = ROOT / 'data/toy/VOCdevkit/VOC2012/JPEGImages/toy_000003.jpg'


@pytest.fixture(scope='session')
def shared_maps(tmp_path_factory):
    """A file of each kind in ``cases/maps``, of :data:`IMAGE_FILE`."""
    pytest.importorskip('rasterio')
    maker = SHARED / 'cases/maps/make_maps.py'
    if not maker.exists():
        pytest.skip('cases/maps is not here')
    folder = tmp_path_factory.mktemp('maps')
    arguments, sys.argv = sys.argv, [str(maker), str(IMAGE_FILE), str(folder)]
    try:
        runpy.run_path(str(maker))
    finally:
        sys.argv = arguments
    return folder


@pytest.fixture
def make_map(tmp_path):
    """Writes a small GeoTIFF of bands ``[C, H, W]`` with tags, and gives its path."""
    rasterio = pytest.importorskip('rasterio')

    def write(bands, tags=(), name='map.tif', mask=None, **profile):
        bands = np.asarray(bands)
        count, height, width = bands.shape
        known = dict(driver='GTiff', crs='EPSG:25832', count=count, dtype=bands.dtype.name)
        place = dict(transform=rasterio.transform.from_origin(346000, 5648000, 0.5, 0.5))
        sizes = dict(width=width, height=height)
        with rasterio.open(tmp_path / name, 'w', **{**known, **place, **sizes, **profile}) as file:
            if tags:
                file.colorinterp = [rasterio.enums.ColorInterp[tag] for tag in tags]
            file.write(bands)
            if mask is not None:
                file.write_mask(mask)
        return tmp_path / name

    return write
