"""Maps are read as 8-bit RGB, with a mask of pixels without data."""

import numpy as np
import pytest

from sclip_mmseg.rasters.detecting import has_georeference
from sclip_mmseg.rasters.grid import Block
from sclip_mmseg.rasters.reading import FILL, open_raster, parse_bands, parse_stretch
from sclip_mmseg.utils.errors import InputError

pytest.importorskip('rasterio')
RGB = 'red', 'green', 'blue'
PIXELS = np.random.RandomState(0).randint(1, 256, (3, 9, 14)).astype(np.uint8)
IMAGE = PIXELS.transpose(1, 2, 0)

ARGUMENTS = {
    'rgb16_full.tif': dict(stretch='0,65535'),
    'rgb16_reflectance.tif': dict(stretch='300,3360'),
    'float01.tif': dict(stretch='0,1'),
    'float_nan.tif': dict(stretch='0,1'),
    'bgrn8_untagged.tif': dict(bands='3,2,1'),
    'eight_bands16.tif': dict(bands='5,6,7', stretch='0,2550'),
}
SAME = (
    *'rgb8 tiled_deflate bands_separate rgbn8 bgrn8_tagged nodata_collar alpha'.split(),
    *'mask_inside rotated geographic south_up no_crs gcps rgb16_full'.split(),
    *'rgb16_reflectance float01 float_nan bgrn8_untagged eight_bands16'.split(),
)


def test_all_kinds_of_files_give_the_same_ground(shared_maps):
    reference = open_raster(shared_maps / 'rgb8.tif').read()[0]
    for name in [*(f'{stem}.tif' for stem in SAME), 'world_file.png']:
        image, valid = open_raster(shared_maps / name, **ARGUMENTS.get(name, {})).read()
        assert (image[valid] == reference[valid]).all(), name
        holds_none = name.split('.')[0] in ('nodata_collar', 'alpha', 'mask_inside', 'float_nan')
        assert valid.all() != holds_none, name
    image, valid = open_raster(shared_maps / 'all_nodata.tif').read()
    assert not valid.any() and (image == FILL).all()


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('bgrn8_untagged', '--bands.*1 gray uint8, 2 undefined uint8'),
        ('eight_bands16', '--bands.*8 undefined uint16'),
        ('two_bands', '--bands.*1 gray uint8, 2 undefined'),
        ('palette', 'save it with its colours'),
        ('cut_short', 'is damaged'),
    ],
)
def test_files_that_cannot_be_used_say_why(shared_maps, name, words):
    with pytest.raises(InputError, match=words):
        open_raster(shared_maps / f'{name}.tif').read()


def test_a_part_is_that_of_the_whole(make_map):
    with open_raster(make_map(PIXELS, RGB, tiled=True, blockxsize=16, blockysize=16)) as raster:
        image, valid = raster.read(Block(2, 3, 7, 13))
        assert (image == IMAGE[2:7, 3:13]).all() and valid.all()
        assert raster.read(size=(3, 7))[0].shape == (3, 7, 3)


@pytest.mark.parametrize('value', [0, 77])
def test_what_has_no_data_is_filled(make_map, value):
    bands = PIXELS.copy()
    bands[:, 0] = value
    bands[0, 1] = value  # in one band alone
    image, valid = open_raster(make_map(bands, RGB, nodata=value)).read()
    assert not valid[0].any() and valid[1:].all()
    assert (image[0] == FILL).all()


def test_nan_is_no_data_without_a_warning(make_map):
    bands = (PIXELS / 255).astype(np.float32)
    bands[1, 0] = np.nan
    image, valid = open_raster(make_map(bands, RGB), stretch='0,1').read()
    assert not valid[0].any() and (image[1:] == IMAGE[1:]).all()


def test_percentiles_are_of_all_valid_pixels(make_map):
    bands = PIXELS.astype(np.uint16) * 10
    bands[:, 0] = 65535
    raster = open_raster(make_map(bands, RGB, nodata=65535))
    expected = np.percentile(bands[:, 1:], [2, 98])
    assert raster.stretch == pytest.approx(expected)
    assert open_raster(make_map(bands, RGB), stretch='P0,P100').stretch == (10, 65535)


def test_a_palette_gives_its_colours(make_map):
    rasterio = pytest.importorskip('rasterio')
    path = make_map(PIXELS[:1] // 64, ['palette'])
    with rasterio.open(path, 'r+') as file:
        file.write_colormap(1, {0: (9, 8, 7, 255), 1: (1, 2, 3, 255), 2: (4, 5, 6, 255)})
    image = open_raster(path).read()[0]
    assert (image[PIXELS[0] // 64 == 1] == (1, 2, 3)).all()


def test_grey_and_reordered_bands(make_map):
    grey = open_raster(make_map(PIXELS[:1])).read()[0]
    assert (grey == PIXELS[0][..., None]).all()
    nir = np.concatenate([PIXELS[::-1], PIXELS[:1]])
    path = make_map(nir, ('blue', 'green', 'red', 'undefined'))
    assert (open_raster(path).read()[0] == IMAGE).all()
    assert (open_raster(path, bands=[4]).read()[0] == PIXELS[0][..., None]).all()
    with pytest.raises(InputError, match='bands=5 .--bands. is out of range: .* has 4 bands'):
        open_raster(path, bands='5')


@pytest.mark.parametrize(
    ('driver', 'suffix', 'options'),
    [
        ('VRT', 'vrt', {}),
        ('COG', 'tif', {}),
        ('JP2OpenJPEG', 'jp2', dict(QUALITY=100, REVERSIBLE='YES')),
    ],
)
def test_other_formats(make_map, tmp_path, driver, suffix, options):
    import rasterio.shutil

    bands = np.random.RandomState(1).randint(1, 256, (3, 70, 90)).astype(np.uint8)
    path = tmp_path / f'other.{suffix}'
    rasterio.shutil.copy(make_map(bands, RGB), path, driver=driver, **options)
    assert has_georeference(path)
    assert (open_raster(path).read()[0] == bands.transpose(1, 2, 0)).all()


def test_only_formats_that_are_allowed_are_read(make_map, tmp_path):
    import rasterio.shutil

    disguised = tmp_path / 'other.tif'
    rasterio.shutil.copy(make_map(PIXELS, RGB), disguised, driver='VRT')
    with pytest.raises(InputError, match='cannot be read as a map'):
        open_raster(disguised, driver='GTiff')


@pytest.mark.parametrize('text', ['1', '2,1', 'P2,98', 'P-1,P5', 'a,b', '1,2,3', '0,nan', ''])
def test_stretches_are_checked(text):
    with pytest.raises(InputError, match='--stretch'):
        parse_stretch(text)


@pytest.mark.parametrize('text', ['1,2', '0,1,2', 'red', '', '1.5,2,3'])
def test_bands_are_checked(text):
    with pytest.raises(InputError, match='--bands'):
        parse_bands(text)


def test_values_that_are_not_real_are_refused(make_map):
    with pytest.raises(InputError, match='complex64'):
        open_raster(make_map(PIXELS[:1].astype(np.complex64)))


def test_bands_of_several_types_are_refused(make_map, tmp_path):
    import rasterio.shutil

    path = tmp_path / 'mixed.vrt'
    rasterio.shutil.copy(make_map(PIXELS, RGB), path, driver='VRT')
    text = path.read_text()
    path.write_text(text.replace('dataType="Byte" band="2"', 'dataType="UInt16" band="2"'))
    with pytest.raises(InputError, match='different types .uint8, uint16, uint8'):
        open_raster(path)
    assert open_raster(path, bands='1').read()[0].shape == IMAGE.shape


def test_grey_may_have_few_bits_or_be_inverted(make_map):
    raster = open_raster(make_map(PIXELS[:1] // 16, nbits=4))
    assert (raster.read()[0] == (PIXELS[0] // 16 * 17)[..., None]).all()
    assert raster.stretch_words == ''
    image = open_raster(make_map(PIXELS[:1], photometric='miniswhite')).read()[0]
    assert (image == 255 - PIXELS[0][..., None]).all()


@pytest.mark.parametrize('value', [7, -1e30])
def test_one_value_alone_is_black(make_map, value):
    image, valid = open_raster(make_map(np.full((3, 9, 14), value, np.float32))).read()
    assert valid.all() and not image.any()
