"""Evaluation on maps: pixels without data are ignored, and labels must match the map's grid."""

from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT
from mmseg.registry import DATASETS
from PIL import Image

from sclip_mmseg import InputError
from sclip_mmseg.benchmark.own_images import evaluate_methods, make_config
from sclip_mmseg.cli import check_data
from sclip_mmseg.datasets.folder import find_problems
from sclip_mmseg.datasets.folder.layout import OwnImages
from sclip_mmseg.datasets.images import check_images, check_sizes
from sclip_mmseg.engine import loader_workers
from sclip_mmseg.evaluation import Result, evaluate
from sclip_mmseg.rasters.reading import Raster, read_pixels

rasterio = pytest.importorskip('rasterio')
geopandas = pytest.importorskip('geopandas')
shapely = pytest.importorskip('shapely')
shapes_of = pytest.importorskip('rasterio.features').shapes
from_origin = pytest.importorskip('rasterio.transform').from_origin

TOY = ROOT / 'data/toy'
CLASSES = '3: sheep, lamb; 1: cow; 9: sea'
UTM, PLACE = 'EPSG:25832', from_origin(346000.0, 5648000.0, 0.5, 0.5)
SIZE = 60, 80


def write_tif(path, values, crs=UTM, transform=PLACE, **more):
    """Write bands ``[C, H, W]`` or ``[H, W]``."""
    values = values if values.ndim == 3 else values[None]
    path.parent.mkdir(exist_ok=True)
    about = dict(count=len(values), dtype=values.dtype.name, crs=crs, transform=transform)
    with rasterio.open(path, 'w', 'GTiff', *values.shape[:0:-1], **about, **more) as file:
        file.write(values)


@pytest.fixture
def ids():
    """Ids of classes, 0 being no data."""
    ids = np.full(SIZE, 3, np.uint8)
    ids[:, 50:], ids[30:, :20], ids[:8, :9] = 9, 1, 0
    return ids


@pytest.fixture
def data(tmp_path):
    """The folders of images and labels, with one image."""
    image = np.random.default_rng(0).integers(1, 256, (3, *SIZE), np.uint8)
    write_tif(tmp_path / 'images/a.tif', image, photometric='rgb')
    return OwnImages(tmp_path / 'images', tmp_path / 'labels')


def load(data, classes=CLASSES, **more):
    cfg = {**data.dataset(), 'classes': classes, **more}
    return DATASETS.build(cfg)


def problems(data, **more):
    return find_problems(load(data, **more)).problems


def classes_of(data, **more):
    dataset = load(data, **more)
    return dataset.reader.read(dataset.get_data_info(0)).classes


def expected(ids):
    return np.select([ids == 3, ids == 1, ids == 9], [0, 1, 2], 255)


@pytest.mark.parametrize('dtype', ['uint8', 'int16', 'int32', 'float32'])
def test_no_data_of_a_label_raster_is_ignored(data, ids, dtype):
    write_tif(data.labels / 'a.tif', ids.astype(dtype), nodata=0)
    assert (classes_of(data) == expected(ids)).all()
    assert problems(data) == []


def test_labels_without_georeference_fit_by_size(data, ids):
    data.labels.mkdir()
    Image.fromarray(np.where(ids == 0, 255, ids)).save(data.labels / 'a.png')
    assert problems(data) == []


@pytest.mark.parametrize(
    ('crs', 'transform', 'words'),
    [
        ('EPSG:25833', PLACE, ('EPSG:25833', 'EPSG:25832')),
        (UTM, from_origin(346010.0, 5648000.0, 0.5, 0.5), ('origin 346010, ', 'origin 346000, ')),
        (UTM, from_origin(346000.0, 5648000.0, 0.25, 0.25), ('of 0.25, -0.25', 'of 0.5, -0.5')),
        (None, PLACE, ('no CRS', 'EPSG:25832')),
    ],
)
def test_labels_on_another_grid_are_one_line(data, ids, crs, transform, words):
    write_tif(data.labels / 'a.tif', ids, crs, transform, nodata=0)
    [line] = problems(data)
    assert line.startswith(f'label {data.labels / "a.tif"} lies on another grid than its image')
    assert all(word in line for word in words)


def test_rounding_of_a_transform_is_the_same_grid(data, ids):
    moved = from_origin(346000.0 + 1e-5, 5648000.0, 0.5 + 1e-9, 0.5)
    write_tif(data.labels / 'a.tif', ids, transform=moved, nodata=0)
    assert problems(data) == []


def polygons(ids, column='class', values=None, crs=UTM):
    """A frame of the polygons of ids, with names of classes."""
    shapes = shapes_of(ids, mask=ids > 0, transform=PLACE)
    names = values or {3: 'Lamb', 1: 'cow', 9: 'sea'}
    found = [(names[int(value)], shapely.geometry.shape(shape)) for shape, value in shapes]
    words, geometry = zip(*found)
    return geopandas.GeoDataFrame({column: words}, geometry=list(geometry), crs=UTM).to_crs(crs)


@pytest.mark.parametrize('one_file', [False, True])
@pytest.mark.parametrize('suffix', ['gpkg', 'fgb', 'geojson', 'shp'])
def test_polygons_are_drawn_by_names(data, ids, one_file, suffix):
    data.labels.mkdir()
    path = data.labels / f'{"all" if one_file else "a"}.{suffix}'
    polygons(ids).to_file(path)
    if one_file:
        data = OwnImages(data.images, path)
    assert problems(data) == []
    assert (classes_of(data) == expected(ids)).all()


def test_polygons_are_drawn_by_ids_of_an_attribute_in_another_crs(data, ids):
    data.labels.mkdir()
    frame = polygons(ids, 'kind', {3: 3, 1: 1, 9: 9}, 'EPSG:4326')
    frame.to_file(data.labels / 'a.gpkg')
    data = OwnImages(data.images, data.labels, label_attribute='kind')
    assert (classes_of(data) == expected(ids)).all()
    [line] = problems(OwnImages(data.images, data.labels))
    assert "has no attribute 'class'" in line and 'of kind' in line


@pytest.mark.parametrize('three, left', [(3.0, float('nan')), ('3', None), (' LAMB ', '')])
def test_whole_numbers_are_ids_and_polygons_without_a_value_do_not_count(data, ids, three, left):
    data.labels.mkdir()
    polygons(ids, values={3: three, 1: left, 9: three}).to_file(data.labels / 'a.gpkg')
    assert problems(data) == []
    shown = np.where((ids == 3) | (ids == 9), 0, 255)
    assert (classes_of(data) == shown).all()


def test_polygons_of_no_class_are_one_line(data, ids):
    data.labels.mkdir()
    polygons(ids, values={3: 'sheep', 1: 'horse', 9: 'sea'}).to_file(data.labels / 'a.gpkg')
    [line] = problems(data)
    assert line.startswith(f"label {data.labels / 'a.gpkg'} has class 'horse' without a class: add")
    assert problems(data, ignored=['Horse']) == []
    assert (classes_of(data, ignored='horse')[ids == 1] == 255).all()


def test_uncovered_pixels_are_background_on_request(data, ids):
    data.labels.mkdir()
    polygons(ids).to_file(data.labels / 'a.gpkg')
    found = classes_of(data, background=True, classes='3: sheep, lamb; 1: cow; 9: sea')
    assert (found == np.select([ids == 3, ids == 1, ids == 9], [1, 2, 3], 0)).all()


def test_polygons_without_crs_are_one_line(data, ids):
    data.labels.mkdir()
    frame = polygons(ids).set_crs(None, allow_override=True)
    frame.to_file(data.labels / 'a.gpkg')
    [line] = problems(data)
    assert 'has no CRS, its image' in line and 'has EPSG:25832' in line


@pytest.fixture(scope='module')
def toy(tmp_path_factory):
    """A drawing with its label as PNG, and as a map that has other ids under no data."""
    voc, folder = TOY / 'VOCdevkit/VOC2012', tmp_path_factory.mktemp('toy')
    for kind in ('images', 'labels', 'maps', 'map_labels'):
        (folder / kind).mkdir()
    name = 'toy_000003'
    image = np.asarray(Image.open(voc / f'JPEGImages/{name}.jpg').convert('RGB'))
    ids = np.asarray(Image.open(voc / f'SegmentationClass/{name}.png')).copy()
    inside = np.full(ids.shape, 255, np.uint8)
    inside[:40] = inside[:, :30] = 0
    alpha = np.concatenate([image.transpose(2, 0, 1), inside[None]])
    write_tif(folder / f'maps/{name}.tif', alpha, photometric='rgb', alpha='yes')
    write_tif(folder / f'map_labels/{name}.tif', ids, nodata=255)
    filled = np.where(inside[..., None] > 0, image, np.uint8([123, 117, 104]))
    Image.fromarray(filled).save(folder / f'images/{name}.png')
    Image.fromarray(np.where(inside > 0, ids, 255).astype(np.uint8)).save(
        folder / f'labels/{name}.png'
    )
    return folder


def test_maps_have_the_numbers_of_their_images(toy, tmp_path, whole_configs):
    """In the images, pixels without data are filled as in maps, and ignored in the labels."""
    found = [
        evaluate_methods(
            OwnImages(toy / images, toy / labels),
            'voc21',
            ['sclip'],
            clip=str(TOY / 'toy_clip.safetensors'),
            out=tmp_path / images,
        )['sclip']
        for images, labels in (('images', 'labels'), ('maps', 'map_labels'))
    ]
    assert found[0].mIoU == found[1].mIoU
    for key in ('image_ptr', 'label', 'prediction', 'pixels'):
        assert (getattr(found[0], key) == getattr(found[1], key)).all()
    assert (tmp_path / 'maps/contact_sheet_1.jpg').is_file()


def test_bands_of_16_bits(toy, tmp_path, capfd, whole_configs):
    """A map that OpenCV cannot read has the numbers of the same map with three bands of 8 bits."""
    with rasterio.open(toy / 'maps/toy_000003.tif') as file:
        red, green, blue, alpha = file.read().astype(np.uint16)
    values = np.stack([red, blue, blue, green, red]) * (alpha > 0)
    write_tif(tmp_path / 'images/toy_000003.tif', values, nodata=0)
    write_tif(tmp_path / 'rgb/toy_000003.tif', values[[0, 3, 1]].astype(np.uint8), nodata=0)
    options = dict(bands='1,4,2', stretch='0,255')
    data = OwnImages(tmp_path / 'images', toy / 'map_labels', **options)
    given = dict(clip=str(TOY / 'toy_clip.safetensors'), regions='felzenszwalb')
    first, second = (
        evaluate_methods(each, 'voc21', ['sclip'], out=tmp_path / name, oracles=True, **given)
        for name, each in (
            ('first', data),
            ('second', OwnImages(tmp_path / 'rgb', toy / 'map_labels', bands='1,2,3')),
        )
    )
    oracles = [Result.load(path) for path in sorted(tmp_path.rglob('oracle_regions.npz'))]
    for one, other in ((first['sclip'], second['sclip']), oracles):
        for key in ('image_ptr', 'label', 'prediction', 'pixels'):
            assert (getattr(one, key) == getattr(other, key)).all()
    assert (tmp_path / 'first/contact_sheet_1.jpg').is_file()
    cfg = make_config(data, 'voc21', 'sclip', **given)
    cfg.default_hooks.visualization.type = 'SegVisualizationHook'  # as in other configs
    evaluate(cfg, work_dir=tmp_path / 'work', show_dir=tmp_path / 'shown')
    [drawn] = Path(tmp_path, 'shown').rglob('*.png')
    assert drawn.name == 'test_toy_000003.tif_0.png'
    image = read_pixels(str(data.images / 'toy_000003.tif'), options)
    left = np.asarray(Image.open(drawn).convert('RGB'))[-len(image) :, : image.shape[1]]
    assert (left == image).mean() > 0.5  # the rest is painted
    arguments = dict(images=data.images, labels=data.labels, classes='voc21', **options)
    pairs = [(f'--{key}', str(value)) for key, value in arguments.items()]
    with pytest.raises(SystemExit, match='False'):  # no mistakes
        check_data.main([*sum(pairs, ()), '--out', str(tmp_path / 'checked')])
    assert (tmp_path / 'checked/images.png').is_file()
    assert 'TIFF' not in capfd.readouterr().err


def test_a_truncated_map_is_found_before_the_run(data, ids):
    write_tif(data.labels / 'a.tif', ids, nodata=0)
    path = data.images / 'a.tif'
    path.write_bytes(path.read_bytes()[:-99])
    dataset = load(data, pipeline=[dict(type='LoadImageFromFile')])
    with pytest.raises(InputError, match='a.tif is damaged'):
        check_images(dataset)


def test_a_check_reads_the_last_row_of_maps(data, ids, monkeypatch):
    write_tif(data.labels / 'a.tif', ids, nodata=0)
    write_tif(data.images / 'a.tif', np.ones((3, *SIZE), np.uint16), photometric='rgb')
    read, blocks = Raster._values, []
    monkeypatch.setattr(
        Raster,
        '_values',
        lambda self, block, size: (blocks.append(block), read(self, block, size))[1],
    )
    check_images(load(data, pipeline=[dict(type='LoadImageFromFile')]))
    assert [block.size for block in blocks] == [(1, SIZE[1])]


def test_sizes_of_maps_with_many_bands(data, ids, caplog):
    write_tif(data.labels / 'a.tif', ids, nodata=0)
    write_tif(data.images / 'a.tif', np.ones((8, *SIZE), np.uint8))  # Pillow reads at most 6 bands
    dataset = load(data, bands='1,2,3', pipeline=[dict(type='LoadImageFromFile')])
    with pytest.raises(InputError, match='a.tif is 80×60 pixels'):
        check_sizes(dataset, 64)
    assert loader_workers._bytes_per_image(dataset) == 11 * 60 * 80
    assert not caplog.records


@pytest.mark.parametrize('bend', [0, 0.01])
def test_polygons_are_drawn_by_ground_control_points(tmp_path, ids, bend):
    point, height = rasterio.control.GroundControlPoint, SIZE[0]
    points = [
        point(row, column, 346000 + column + bend * row**2, 5648000 - row)
        for row in (0, height / 2, height)
        for column in (0, 40, 80)
    ]
    image = np.full((3, *SIZE), 99, np.uint8)
    write_tif(tmp_path / 'images/a.tif', image, transform=None, gcps=points, photometric='rgb')
    data = OwnImages(tmp_path / 'images', tmp_path / 'labels.gpkg')
    left, right = (
        [(346000 + column + bend * row**2, 5648000 - row) for row in range(height + 1)]
        for column in (0, 50)
    )
    shape = shapely.Polygon([*left, *right[::-1]])
    geopandas.GeoDataFrame({'class': ['cow']}, geometry=[shape], crs=UTM).to_file(data.labels)
    classes = classes_of(data)
    assert (classes[:, :50] == 1).mean() > 0.98 and (classes[:, 51:] == 255).all()
