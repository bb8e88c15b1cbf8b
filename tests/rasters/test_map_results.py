"""Results on maps are readable by other programs: rasterio, pyogrio and geopandas."""

import csv
import io
import json
import warnings
import zipfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePath

import cv2
import numpy as np
import pytest
from helpers import ROOT, call_tool
from PIL import Image

from sclip_mmseg import InputError, apis
from sclip_mmseg.apis.writers import (
    Item,
    MapItem,
    Record,
    build_writers,
    check_size,
    finish_all,
    write_all,
)
from sclip_mmseg.apis.writers import overlay as overlays
from sclip_mmseg.apis.writers import polygons as polygon_writers
from sclip_mmseg.apis.writers.base import ClassInfo
from sclip_mmseg.rasters import labels as label_rasters
from sclip_mmseg.rasters import polygons as traced
from sclip_mmseg.rasters.grid import Grid
from sclip_mmseg.rasters.labels import write_label_raster
from sclip_mmseg.rasters.reading import open_raster
from sclip_mmseg.rasters.result import SegmentedMap

rasterio = pytest.importorskip('rasterio')
geopandas = pytest.importorskip('geopandas')
pyogrio = pytest.importorskip('pyogrio')
shapely = pytest.importorskip('shapely')
pyproj = pytest.importorskip('pyproj')
rasterize = pytest.importorskip('rasterio.features').rasterize
Affine, from_origin = rasterio.Affine, pytest.importorskip('rasterio.transform').from_origin
GroundControlPoint = rasterio.control.GroundControlPoint

UTM, NORTH_UP = 'EPSG:25832', from_origin(346000.0, 5648000.0, 0.5, 0.5)
SIZE = HEIGHT, WIDTH = 120, 170
CORNERS = [
    GroundControlPoint(row, column, 346000 + column / 2, 5648000 - row / 2)
    for row in (0, HEIGHT)
    for column in (0, WIDTH)
]
PLACES = {
    'north up': dict(crs=UTM, transform=NORTH_UP),
    'south up': dict(crs=UTM, transform=Affine(0.5, 0, 346000.0, 0, 0.5, 5648000.0)),
    'rotated': dict(crs=UTM, transform=NORTH_UP * Affine.rotation(20)),
    'degrees': dict(crs='EPSG:4326', transform=from_origin(6.81, 50.96, 7e-6, 4.5e-6)),
    'feet': dict(crs='EPSG:2263', transform=from_origin(980000.0, 200000.0, 2.0, 2.0)),
    'web': dict(crs='EPSG:3857', transform=from_origin(760000.0, 6600000.0, 1.0, 1.0)),
    'gcps': dict(gcps=CORNERS, crs=UTM),
    'no crs': dict(transform=NORTH_UP),
    'nowhere': {},
}
ON_EARTH = [name for name in PLACES if name not in ('no crs', 'nowhere')]
VECTORS = 'gpkg', 'geojson', 'fgb'
NAMES, IDS = ('sheep', 'cow: brown/white', 'naïve café', 'grass'), (7, 0, 200, 30)
CLASSES = [
    ClassInfo(each, name, [name], (each, 10 * n, 99))
    for n, (each, name) in enumerate(zip(IDS, NAMES))
]


@dataclass
class Made:
    """A map, and what was found on it; its labels with ids as they are to be written."""

    item: MapItem
    ids: np.ndarray
    confidence: np.ndarray


def reader(values):
    return lambda block: values[block.top : block.bottom, block.left : block.right]


def blobs(classes, size=SIZE):
    """Blobs with holes, specks and parts that touch at corners, and no data left and above."""
    noise = np.random.default_rng(0).random((classes, *size)).astype(np.float32)
    smooth = np.stack([cv2.blur(layer, (9, 9)) + layer / 30 for layer in noise])
    labels = smooth.argmax(0).astype(np.uint8 if classes <= 255 else np.uint16)
    labels[:20] = labels[:, :13] = 255 if classes <= 255 else 65535
    return labels


def make_map(folder, place, classes=CLASSES, labels=None, size=SIZE):
    labels = blobs(len(classes), size) if labels is None else labels
    path = folder / 'in.tif'
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with rasterio.open(
            path, 'w', 'GTiff', *size[::-1], 3, dtype='uint8', **PLACES[place]
        ) as file:
            file.write(np.full((3, *size), 120, np.uint8))
    confidence = np.random.default_rng(1).random(size, np.float32)
    raster = open_raster(path)
    inside = labels[labels < len(classes)].astype(np.int64)
    counts = np.bincount(inside, minlength=len(classes)).tolist()
    found = SegmentedMap(path, raster.grid, counts, reader(labels), reader(confidence))
    out = folder / 'out'
    out.mkdir()
    ids = np.full(65536, 255 if max(each.id for each in classes) < 255 else 65535, np.uint16)
    ids[: len(classes)] = [each.id for each in classes]
    item = MapItem(path, PurePath('in'), out, raster, found, classes)
    return Made(item, ids[labels], confidence)


def write(made, formats, **options):
    """Write all files of a map; gives its folder."""
    writers = build_writers(formats, options)
    record = write_all(writers, made.item)
    stored = Record(**json.loads(json.dumps(asdict(record))))
    finish_all(writers, [stored], made.item.classes, made.item.out)
    return made.item.out


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Reduce the size of blocks, so that small maps have several."""
    monkeypatch.setattr(label_rasters, '_BLOCK', 64)
    monkeypatch.setattr(traced, '_STRIP', 21)


@pytest.mark.parametrize('place', PLACES)
def test_label_raster_lies_where_its_map_does(tmp_path, place):
    made = make_map(tmp_path, place)
    out = write(made, 'labels')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with rasterio.open(tmp_path / 'in.tif') as map_, rasterio.open(out / 'in_labels.tif') as f:
            assert (f.read(1) == made.ids).all()
            assert (f.crs, f.transform, f.shape) == (map_.crs, map_.transform, map_.shape)
            assert [p.asdict() for p in f.gcps[0]] == [p.asdict() for p in map_.gcps[0]]
            assert f.gcps[1] == map_.gcps[1]
            assert (f.nodata, f.dtypes, f.profile['compress']) == (255, ('uint8',), 'deflate')
            assert f.profile['tiled']
    assert {path.name for path in out.iterdir()} == {
        *('in_labels.tif', 'in_labels.tif.aux.xml', 'classes.json', 'areas.csv')
    }


def test_label_raster_has_colours_names_and_overviews(tmp_path):
    made = make_map(tmp_path, 'north up', size=(700, 300), labels=blobs(4, (700, 300)))
    path = write(made, 'labels') / 'in_labels.tif'
    with rasterio.open(path) as file:
        assert file.colorinterp[0].name == 'palette'
        assert [file.colormap(1)[each.id][:3] for each in CLASSES] == [c.color for c in CLASSES]
        assert file.overviews(1) == [2, 4]
        smaller = file.read(1, out_shape=(350, 150))
        assert set(np.unique(smaller)) <= {*IDS, 255}
        pytest.importorskip('rasterio.shutil').copy(
            file, tmp_path / 'as_gdal_reads_it.vrt', driver='VRT'
        )
    text = (tmp_path / 'as_gdal_reads_it.vrt').read_text(encoding='utf-8')
    names = [part.split('<')[0] for part in text.split('<Category>')[1:]]
    assert len(names) == 201
    assert [names[each.id] for each in CLASSES] == list(NAMES)


def test_many_classes_need_16_bits(tmp_path):
    classes = [ClassInfo(n, f'class {n}', [], (n % 256, n // 256, 7)) for n in range(300)]
    made = make_map(tmp_path, 'north up', classes)
    with rasterio.open(write(made, 'labels') / 'in_labels.tif') as file:
        assert (file.nodata, file.dtypes) == (65535, ('uint16',))
        assert (file.read(1) == made.ids).all()
        assert file.colormap(1)[299][:3] == (43, 1, 7)


def test_large_ids_need_16_bits(tmp_path):
    classes = [ClassInfo(n, f'class {n}', [], (1, 2, 3)) for n in (1, 255)]
    made = make_map(tmp_path, 'north up', classes)
    with rasterio.open(write(made, 'labels') / 'in_labels.tif') as file:
        assert file.nodata == 65535
        assert (file.read(1) == made.ids).all()


def test_255_classes_fit_in_8_bits(tmp_path):
    classes = [ClassInfo(n, f'class {n}', [], (1, 2, 3)) for n in range(255)]
    made = make_map(tmp_path, 'north up', classes)
    with rasterio.open(write(made, 'labels') / 'in_labels.tif') as file:
        assert (file.nodata, file.dtypes) == (255, ('uint8',))
        assert (file.read(1) == made.ids).all()


def test_pixels_without_data_take_no_disk_space(tmp_path):
    size = 2000, 2000
    made = make_map(tmp_path, 'north up', labels=np.full(size, 255, np.uint8), size=size)
    path = tmp_path / 'labels.tif'
    write_label_raster(path, made.item.found.grid, CLASSES, made.item.found.labels)
    assert path.stat().st_size < 20_000


def test_interrupted_label_raster_leaves_the_one_before(tmp_path):
    made = make_map(tmp_path, 'north up')
    path = write(made, 'labels') / 'in_labels.tif'
    before = path.read_bytes()

    def read(block):
        if block.top:
            raise KeyboardInterrupt
        return made.item.found.labels(block)

    with pytest.raises(KeyboardInterrupt):
        write_label_raster(path, made.item.found.grid, CLASSES, read)
    assert path.read_bytes() == before
    assert not [each for each in path.parent.iterdir() if each.name.startswith('.')]


@pytest.mark.parametrize('suffix', ['gpkg', 'fgb', 'geojson'])
@pytest.mark.parametrize('place', ON_EARTH)
def test_polygons_are_those_of_the_label_map(tmp_path, place, suffix):
    made = make_map(tmp_path, place)
    kind = {'gpkg': 'geopackage'}.get(suffix, suffix)
    out = write(made, f'labels,{kind}')
    path = out / f'in_polygons.{suffix}'
    assert pyogrio.list_layers(path).tolist() == [['in_polygons', 'Polygon']]
    found = geopandas.read_file(path)
    grid = made.item.raster.grid
    assert found.crs == ('EPSG:4326' if suffix == 'geojson' else grid.crs)
    assert {*found.columns} == {'class', 'id', 'area_m2', 'confidence', 'geometry'}
    assert found['id'].map(dict(zip(IDS, NAMES))).equals(found['class'])
    assert shapely.coverage_is_valid(found.geometry) or suffix == 'geojson'
    back = found.to_crs(grid.crs)
    transform = grid.transform or NORTH_UP
    shapes = zip(back.geometry, found['id'])
    drawn = rasterize(shapes, SIZE, fill=255, transform=transform, dtype='uint8')
    assert (drawn == made.ids).all()
    with open(out / 'areas.csv', newline='', encoding='utf-8') as file:
        table = {row['class']: row for row in csv.DictReader(file)}
    for name, sum_ in found.groupby('class')['area_m2'].sum().items():
        assert float(table[name]['area_m2']) == pytest.approx(sum_, rel=1e-6)
        assert float(table[name]['hectares']) == pytest.approx(sum_ / 1e4, rel=1e-4)
    pixels = (made.ids != 255).sum()
    assert sum(int(row['pixels']) for row in table.values()) == pixels
    expected = {'degrees': None, 'web': None, 'feet': 4 * 0.3048006096**2}.get(place, 0.25)
    if expected:
        assert found['area_m2'].sum() == pytest.approx(expected * pixels, rel=1e-6)
    else:
        geod = pyproj.Geod(ellps='WGS84')
        whole = back.to_crs('EPSG:4326').geometry
        area = sum(abs(geod.geometry_area_perimeter(each)[0]) for each in whole)
        assert found['area_m2'].sum() == pytest.approx(area, rel=1e-5)


def test_confidence_of_polygons_is_the_mean_of_their_pixels(tmp_path):
    made = make_map(tmp_path, 'north up')
    found = geopandas.read_file(write(made, 'geopackage') / 'in_polygons.gpkg')
    numbers = range(1, len(found) + 1)
    ids = rasterize(zip(found.geometry, numbers), SIZE, transform=NORTH_UP, dtype='int32')
    means = [made.confidence[ids == number].mean(dtype=np.float64) for number in numbers]
    assert np.allclose(found['confidence'], means, atol=1e-6)


@pytest.mark.parametrize('place', ['north up', 'degrees'])
def test_simplified_polygons_share_their_borders(tmp_path, place):
    made = make_map(tmp_path, place)
    exact = geopandas.read_file(write(made, 'geopackage') / 'in_polygons.gpkg')
    out = write(made, 'geopackage', **{'geopackage.simplify': 2})
    found = geopandas.read_file(out / 'in_polygons.gpkg')
    assert shapely.coverage_is_valid(found.geometry)
    assert found.geometry.is_valid.all()
    assert found['area_m2'].sum() == pytest.approx(exact['area_m2'].sum(), rel=1e-6)
    vertices = [shapely.get_num_coordinates(each.geometry.values).sum() for each in (exact, found)]
    assert vertices[1] < 0.7 * vertices[0]


def test_small_polygons_are_left_out(tmp_path):
    made = make_map(tmp_path, 'north up')
    exact = geopandas.read_file(write(made, 'geopackage') / 'in_polygons.gpkg')
    out = write(made, 'geopackage', **{'geopackage.min_area': 5})
    found = geopandas.read_file(out / 'in_polygons.gpkg')
    assert len(found) == (exact['area_m2'] >= 5).sum() < len(exact)


@pytest.mark.parametrize('place', ['no crs', 'nowhere'])
def test_polygons_without_crs_are_in_pixels(tmp_path, place):
    made = make_map(tmp_path, place)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always', UserWarning)
        out = write(made, 'geopackage,geojson')
    assert {str(each.message) for each in said} == {
        f'without a CRS, polygons in .{suffix} are in pixels: {made.item.path}'
        for suffix in ('gpkg', 'geojson')
    }
    for suffix in ('gpkg', 'geojson'):
        found = geopandas.read_file(out / f'in_polygons.{suffix}')
        assert 'area_m2' not in found
        drawn = rasterize(zip(found.geometry, found['id']), SIZE, fill=255, dtype='uint8')
        assert (drawn == made.ids).all()
        assert found['pixels'].sum() == (made.ids != 255).sum()
    assert 'area_m2' not in (out / 'areas.csv').read_text()


@pytest.mark.parametrize(
    'place',
    [
        dict(crs='EPSG:4326', transform=from_origin(179.9996, 50.96, 7e-6, 4.5e-6)),
        dict(crs='EPSG:3857+5773', transform=from_origin(760000.0, 6600000.0, 1.0, 1.0)),
        dict(crs='EPSG:3395', transform=from_origin(760000.0, 6600000.0, 1.0, 1.0)),
        dict(crs='EPSG:4326', transform=from_origin(6.81, 90.3, 0.01, 0.01)),
    ],
    ids=['antimeridian', 'heights', 'mercator', 'pole'],
)
def test_areas_at_odd_places(tmp_path, place, monkeypatch):
    monkeypatch.setitem(PLACES, 'odd', place)
    made = make_map(tmp_path, 'odd')
    out = write(made, 'geopackage')
    _, _, _, (areas,) = pyogrio.raw.read(out / 'in_polygons.gpkg', columns=['area_m2'])
    with open(out / 'areas.csv', newline='', encoding='utf-8') as file:
        total = sum(float(row['area_m2']) for row in csv.DictReader(file))
    assert areas.sum() == pytest.approx(total, rel=1e-6)
    if place['crs'] != 'EPSG:4326':  # which stretches by 1.59 there
        assert total / (made.ids != 255).sum() == pytest.approx(1 / 1.59**2, rel=0.01)


def test_ground_control_points_that_place_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(PLACES, 'odd', dict(gcps=CORNERS[:2], crs=UTM))
    made = make_map(tmp_path, 'odd')
    with pytest.warns(UserWarning, match='are in pixels'):
        out = write(made, 'labels,geopackage')
    with rasterio.open(out / 'in_labels.tif') as file:
        assert len(file.gcps[0]) == 2
    assert 'pixels' in pyogrio.read_info(out / 'in_polygons.gpkg')['fields']


def test_ground_control_points_without_crs_are_kept(tmp_path):
    path = tmp_path / 'labels.tif'
    made = make_map(tmp_path, 'nowhere')
    write_label_raster(
        path, replace(made.item.found.grid, gcps=(*CORNERS,)), CLASSES, made.item.found.labels
    )
    with rasterio.open(path) as file:
        assert len(file.gcps[0]) == 4


def test_polygons_of_a_local_crs(tmp_path, monkeypatch):
    local = 'LOCAL_CS["site",UNIT["metre",1]]'
    monkeypatch.setitem(PLACES, 'odd', dict(crs=local, transform=NORTH_UP))
    out = write(make_map(tmp_path, 'odd'), 'geopackage,geojson')
    [feature, *_] = json.loads((out / 'in_polygons.geojson').read_text())['features']
    assert feature['geometry']['coordinates'][0][0][0] > 346000


@pytest.mark.parametrize('name', ['a;b', "it's [x] 100%", 'a?b', 'a#b=c', 'zip', 'ü {}'])
def test_results_of_odd_names(tmp_path, name):
    made = make_map(tmp_path, 'north up')
    made.item = replace(made.item, name=PurePath(name))
    out = write(made, 'labels,geopackage,geojson,fgb,confidence,overlay')
    ends = 'labels.tif', 'confidence.tif', 'overlay.jpg', *(f'polygons.{each}' for each in VECTORS)
    assert all((out / f'{name}_{end}').is_file() for end in ends)


def test_geojson_follows_its_standard(tmp_path):
    out = write(make_map(tmp_path, 'north up'), 'geojson')
    content = json.loads((out / 'in_polygons.geojson').read_text(encoding='utf-8'))
    assert content['type'] == 'FeatureCollection'
    assert 'crs' not in content
    for feature in content['features']:
        outer, *holes = feature['geometry']['coordinates']
        assert all(6 < x < 8 and 50 < y < 52 for x, y in outer)
        assert isinstance(feature['id'], int)  # else GDAL takes that of the class
        assert shapely.is_ccw(shapely.LinearRing(outer))
        assert not any(shapely.is_ccw(shapely.LinearRing(hole)) for hole in holes)


def test_map_without_any_data(tmp_path):
    made = make_map(tmp_path, 'north up', labels=np.full(SIZE, 255, np.uint8))
    formats = 'overlay,labels,geopackage,geojson,fgb,confidence'
    out = write(made, formats, **{'geopackage.simplify': 1})
    for suffix in ('gpkg', 'geojson', 'fgb'):
        assert geopandas.read_file(out / f'in_polygons.{suffix}').empty
    with rasterio.open(out / 'in_labels.tif') as file:
        assert (file.read(1) == 255).all()
    with open(out / 'areas.csv', newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert {(row['pixels'], float(row['share']), float(row['area_m2'])) for row in rows} == {
        ('0', 0, 0)
    }


def test_label_raster_says_how_its_map_was_read(tmp_path):
    made = make_map(tmp_path, 'north up')
    raster = open_raster(made.item.path, bands='3,2,1', stretch='5,200.5')
    made.item = replace(made.item, raster=raster)
    with rasterio.open(write(made, 'labels') / 'in_labels.tif') as file:
        tags = file.tags()
    assert (tags['SCLIP_BANDS'], tags['SCLIP_STRETCH']) == ('3,2,1', '5.0,200.5')


def test_several_formats_of_polygons_are_traced_once(tmp_path, monkeypatch):
    calls, find = [], polygon_writers.find_polygons
    monkeypatch.setattr(
        polygon_writers, 'find_polygons', lambda *given: calls.append(given) or find(*given)
    )
    made = make_map(tmp_path, 'north up')
    out = write(made, 'geopackage,geojson,fgb', **{'fgb.min_area': 5})
    assert [given[1:] for given in calls] == [(0, 0), (0, 5)]
    found = [geopandas.read_file(out / f'in_polygons.{suffix}') for suffix in VECTORS]
    assert len(found[0]) == len(found[1]) > len(found[2])


def test_confidence_raster(tmp_path):
    made = make_map(tmp_path, 'north up')
    out = write(made, 'confidence')
    inside = made.ids != 255
    with rasterio.open(out / 'in_confidence.tif') as file:
        values = file.read(1)
        assert (file.nodata, file.transform) == (0, NORTH_UP)
    assert ((values == 0) == ~inside).all()
    assert np.abs(values[inside] / 255 - made.confidence[inside]).max() <= 1 / 255
    [_, [_, mean, below]] = csv.reader((out / 'confidence.csv').read_text().splitlines())
    assert float(mean) == pytest.approx(made.confidence[inside].mean(), abs=1e-5)
    assert float(below) == pytest.approx((made.confidence[inside] < 0.5).mean(), abs=1e-5)


@pytest.mark.parametrize(('longest', 'size'), [(4096, (170, 120)), (50, (50, 35))])
def test_overlay_is_a_preview(tmp_path, monkeypatch, longest, size):
    monkeypatch.setattr(overlays, 'LONGEST', longest)
    made = make_map(tmp_path, 'north up')
    out = write(made, 'overlay', **{'overlay.legend': 'none', 'overlay.names': False})
    image = Image.open(out / 'in_overlay.jpg')
    assert image.size == size
    bare = np.asarray(image)[: size[1] // 12, : size[0] // 18].astype(int)
    assert np.abs(bare - 120).max() <= 4  # nothing is painted where there is no data


def test_formats_of_images_take_maps(tmp_path):
    pytest.importorskip('pycocotools')
    classes = [each if each.id else replace(each, name='cow') for each in CLASSES]  # without ':'
    made = make_map(tmp_path, 'north up', classes)
    out = write(made, 'coco,masks,yolo,cvat,labelstudio')
    with zipfile.ZipFile(out / 'cvat.zip') as archive:
        mask = Image.open(io.BytesIO(archive.read('SegmentationClass/in.png'))).convert('RGB')
    assert ((np.asarray(mask) == 0).all(-1) == (made.ids == 255)).all()
    content = json.loads((out / 'coco.json').read_text())
    areas = {each['category_id']: each['area'] for each in content['annotations']}
    for each in CLASSES:
        here = made.ids == each.id
        assert areas[each.id + 1] == here.sum()
        [path] = (out / 'in_masks').glob(f'{each.id}_*.png')
        assert ((np.asarray(Image.open(path)) > 0) == here).all()


def test_polygons_of_an_image_are_in_pixels(tmp_path):
    labels = blobs(4)
    labels[labels == 255] = 1
    scores = np.random.default_rng(1).random((4, *SIZE), np.float32)
    image = np.full((*SIZE, 3), 120, np.uint8)
    result = apis.Segmentation(labels.astype(np.int64), scores, NAMES, [[1, 2, 3]] * 4, IDS)
    item = Item(Path('in.jpg'), PurePath('in'), tmp_path, image, result)
    writers = build_writers('fgb')
    records = [write_all(writers, item)]
    with pytest.warns(UserWarning, match=r'polygons in \.fgb are in pixels: in\.jpg'):
        finish_all(writers, records, result.classes, tmp_path)
    found = geopandas.read_file(tmp_path / 'in_polygons.fgb')
    assert found.crs is None
    drawn = rasterize(zip(found.geometry, found['id']), SIZE, dtype='uint8')
    assert (drawn == np.array(IDS)[labels]).all()


@pytest.mark.parametrize('option', ['simplify', 'min_area'])
@pytest.mark.parametrize('value', [-1, 'two', True])
def test_sizes_of_polygons_are_checked(option, value):
    with pytest.raises(InputError, match=f'{option}={value!r}'):
        build_writers('geopackage', {f'geopackage.{option}': value})


def test_simplify_and_min_area_need_polygons(tmp_path):
    image = ROOT / 'data/toy/VOCdevkit/VOC2012/JPEGImages/toy_000003.jpg'
    for option in ('--simplify', '--min-area'):
        words = image, '--classes', 'a; b', option, 2, '--format', 'labels', '--out', tmp_path
        output = call_tool(ROOT / 'tools/demo.py', *words, check=False).stdout
        assert output == f'error: {option}: add one of geopackage, geojson, fgb to --format\n'


def test_maps_too_large_for_a_format_are_refused_first():
    writers = build_writers('labels,overlay,confidence,masks')
    check_size(writers, Path('a.tif'), Grid(10000, 10000))
    with pytest.raises(InputError, match=r'b\.tif has more than 178 .* too many for masks: leave'):
        check_size(writers, Path('b.tif'), Grid(30000, 30000))


def test_a_map_segmented_in_python_is_saved_as_one(tmp_path):
    made = make_map(tmp_path, 'north up')
    write(made, 'labels,fgb,confidence')
    scores = np.where(np.arange(4)[:, None, None] == 2, made.confidence, 0)
    image, labels = np.full((*SIZE, 3), 120, np.uint8), blobs(4).astype(np.int64)
    about = NAMES, [[*each.color] for each in CLASSES], IDS, None, image, 'in.tif'
    result = apis.Segmentation(labels, scores, *about, made.item.raster.grid)
    assert sum(result.areas.values()) == pytest.approx(1)
    result.save(tmp_path / 'saved', 'overlay,labels,masks,fgb,confidence')
    for name in ('in_labels.tif', 'in_confidence.tif', 'in_polygons.fgb'):
        saved, other = (tmp_path / folder / name for folder in ('saved', 'out'))
        if name.endswith('.fgb'):
            assert geopandas.read_file(saved).equals(geopandas.read_file(other))
            continue
        with rasterio.open(saved) as one, rasterio.open(other) as two:
            assert one.profile == two.profile
            assert (one.read() == two.read()).all()
