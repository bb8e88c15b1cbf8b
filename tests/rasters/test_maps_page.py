"""The commands of docs/maps.md do what the page says, in their order, on a part of its map."""

import csv
import shlex

import pytest
from helpers import ROOT, call_tool
from test_commands import commands

rasterio = pytest.importorskip('rasterio')
pyogrio = pytest.importorskip('pyogrio')

PAGE, TOY = 'docs/maps.md', 'data/toy/toy_clip.safetensors'
LINES = [line for line in commands(PAGE) if not line.startswith('pip ')]
SIZE = 130, 200  # of the part
SMALL = (
    'test_pipeline.1.scale=(2048,112)',
    'model.test_cfg.crop_size=112',
    'model.test_cfg.stride=112',
)


@pytest.fixture
def clone(tmp_path):
    """A folder with the toy CLIP, and a part of the map with its corner without data."""
    for kind in ('images', 'labels'):
        (tmp_path / f'data/toy/map/{kind}').mkdir(parents=True)
        name = f'data/toy/map/{kind}/island.tif'
        window = rasterio.windows.Window(0, 60, *SIZE[::-1])
        with rasterio.open(ROOT / name) as file:
            values, mask = file.read(window=window), file.dataset_mask(window=window)
            about = dict(crs=file.crs, transform=file.window_transform(window), nodata=file.nodata)
        kinds = dict(driver='GTiff', count=len(values), dtype='uint8', photometric='rgb')
        kinds |= {} if len(values) == 3 else dict(photometric='minisblack')
        sizes = dict(height=SIZE[0], width=SIZE[1])
        with rasterio.open(tmp_path / name, 'w', **about, **kinds, **sizes) as file:
            file.write(values)
            if len(values) == 3:
                file.write_mask(mask)
    (tmp_path / TOY).symlink_to(ROOT / TOY)
    return tmp_path


def test_commands_of_the_page(clone, whole_configs):
    outputs = []
    for line in LINES:
        program, *words = shlex.split(line)
        assert program == 'sclip'
        if words[0] == 'evaluate':
            words += ['--cfg-options', *SMALL]
        result = call_tool(ROOT / 'sclip_mmseg/cli/__main__.py', *words, cwd=clone)
        outputs.append(result.stdout)
    names = {path.name for path in (clone / 'segmented').iterdir()}
    assert names >= {
        *('island_overlay.jpg', 'island_labels.tif', 'island_polygons.gpkg', 'areas.csv')
    }
    with rasterio.open(clone / 'segmented/island_labels.tif') as file:
        assert (file.shape, file.crs.to_epsg(), file.read(1)[0, 0]) == (SIZE, 25832, 255)
    about = pyogrio.read_info(clone / 'segmented/island_polygons.gpkg')
    assert {*about['fields']} == {'class', 'id', 'area_m2', 'confidence'}
    with open(clone / 'segmented/areas.csv', newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert {row['class'] for row in rows} == {
        'background',
        'sheep',
        'bottle',
        'cow',
        'television',
        'sofa',
    }
    assert all(float(row['area_m2']) == int(row['pixels']) / 4 for row in rows)
    assert 'become 0 to 255' in outputs[1]
    for folder in ('evaluated', 'evaluated/polygons'):
        assert (clone / folder / 'results.md').is_file()
