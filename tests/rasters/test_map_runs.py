"""Maps are segmented block by block with the same labels as in one piece, and resumed."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from test_reading import ARGUMENTS, SAME

from sclip_mmseg import InputError, apis
from sclip_mmseg.apis import blocks, maps, shrinking
from sclip_mmseg.apis.one_file import FileSegmenter
from sclip_mmseg.apis.segment import to_data
from sclip_mmseg.apis.sizes import resize_steps, working_size
from sclip_mmseg.rasters.detecting import has_georeference, is_map
from sclip_mmseg.rasters.reading import open_raster
from sclip_mmseg.utils.errors import HalfOverflow
from sclip_mmseg.utils.images import decode_image

rasterio = pytest.importorskip('rasterio')
RGB = 'red', 'green', 'blue'
SMALL = {'model.test_cfg.crop_size': 112, 'model.test_cfg.stride': 56}
CLASSES = ['sky', 'grass', 'water']
GROUND = np.random.default_rng(0).integers(1, 256, (12, 15, 3), np.uint8)
GROUND = cv2.resize(GROUND, (300, 240), interpolation=cv2.INTER_CUBIC).transpose(2, 0, 1)


@pytest.fixture
def run(clip_path, tmp_path):
    """Segment maps; gives label maps, and what was said."""

    def run(*paths, out='out', **kwargs):
        said = []
        kwargs = {**dict(clip=clip_path, device='cpu', method='sclip', formats='labels'), **kwargs}
        options = {**SMALL, **kwargs.pop('cfg_options', {})}
        apis.segment_files(
            *([*paths], CLASSES),
            **dict(out=tmp_path / out, on_progress=said.append, cfg_options=options, **kwargs),
        )
        found = []
        for path in paths:
            with rasterio.open(tmp_path / out / f'{Path(path).stem}_labels.tif') as file:
                found.append(file.read(1))
        return found, '\n'.join(said)

    return run


@pytest.fixture(scope='module')
def model(clip_path):
    return apis.build_segmentor(
        CLASSES, method='sclip', clip=clip_path, device='cpu', cfg_options=SMALL
    )


@pytest.mark.parametrize('size', ['native', None, 0.7])
def test_blocks_have_the_labels_of_the_image(make_map, model, monkeypatch, size):
    path, cfg = make_map(GROUND, RGB), model.cfg
    monkeypatch.setattr(model, '_cfg', cfg)
    cfg.test_pipeline = resize_steps(cfg.test_pipeline, size)
    expected = apis.segment(model, path).labels
    image = np.ascontiguousarray(GROUND.transpose(1, 2, 0))
    assert (apis.segment(model, image, channels='rgb').labels == expected).all()
    for rows in (70, 1000):
        segmenter = blocks.BlockSegmenter(model, open_raster(path), with_confidence=True)
        parts = [segmenter.segment(slice(top, min(top + rows, 240))) for top in range(0, 240, rows)]
        labels, confidence = map(np.concatenate, zip(*parts))
        assert (labels == expected).all()
        assert (confidence > 0.33).all() and (confidence <= 1).all()


def test_a_stopped_run_is_resumed_by_blocks(make_map, run, monkeypatch):
    monkeypatch.setattr(maps, 'ROWS', 64)
    path = make_map(GROUND, RGB)
    [expected], _ = run(path, size='native', out='whole')
    segment, seen = blocks.BlockSegmenter.segment, []

    def stop(self, rows):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(rows)
        return segment(self, rows)

    monkeypatch.setattr(blocks.BlockSegmenter, 'segment', stop)
    with pytest.raises(KeyboardInterrupt):
        run(path, size='native')
    seen[:] = [None] * 10
    with pytest.raises(InputError, match='cannot resume'):
        run(path, size='native', resume=True, stretch='5,200')
    [labels], _ = run(path, size='native', resume=True)
    assert (labels == expected).all()
    assert [rows.start for rows in seen[10:]] == [128, 192]


def test_a_map_whose_blocks_are_missing_is_segmented_again(make_map, run, monkeypatch, tmp_path):
    path = make_map(GROUND, RGB)
    monkeypatch.setattr(FileSegmenter, 'finish_map', lambda *given: 'stopped')
    with pytest.raises(InputError, match='stopped'):
        run(path, resume=True)
    [blocks_of_map] = (tmp_path / 'out/.sclip/maps').iterdir()
    (blocks_of_map / 'labels').unlink()  # as where a run ended while it removed them
    monkeypatch.undo()
    [labels], _ = run(path, resume=True)
    assert (labels < 3).all()


def test_all_kinds_of_maps_give_the_same_labels(shared_maps, model):
    reference = apis.segment(model, shared_maps / 'rgb8.tif', size=112).labels
    for stem in SAME:
        path = shared_maps / f'{stem}.tif'
        labels = apis.segment(model, path, size=112, **ARGUMENTS.get(path.name, {})).labels
        with rasterio.open(path) as file:
            valid = file.dataset_mask() != 0
        assert (labels[~valid] == 255).all()
        least = 0.999 if stem == 'rgb16_reflectance' else 1  # rounded
        assert not valid.all() or (labels == reference).mean() >= least, stem


def test_what_lies_under_no_data_does_not_matter(shared_maps, run):
    paths = [shared_maps / f'{stem}.tif' for stem in ('nodata_collar', 'alpha', 'mask_inside')]
    first, *others = run(*paths, size='native')[0]
    assert (first[:40] == 255).all() and (first[40:, 30:] != 255).all()
    assert all((labels == first).all() for labels in others)


def test_a_map_without_data_is_reported_and_not_encoded(make_map, run, monkeypatch):
    monkeypatch.setattr('sclip_mmseg.models.CLIPSegmentor._encode', None)
    [labels], said = run(make_map(np.zeros_like(GROUND), RGB, nodata=0))
    assert (labels == 255).all()
    assert 'has no data: nothing is classified' in said


def test_methods_that_need_the_whole_image_are_refused(make_map, run, model):
    bands = GROUND.copy()
    bands[:, :50] = 0
    path = make_map(bands, RGB, nodata=0)
    options = {'model.refine': dict(type='PAMR', num_steps=1)}
    [labels], said = run(path, cfg_options=options)
    assert 'segmented as one image, not block by block: model.refine sees the whole image' in said
    assert (labels[:50] == 255).all() and (labels[50:] < 3).all()


def test_a_stretch_is_chosen_once_and_reported(make_map, run):
    said = run(make_map(GROUND.astype(np.uint16) * 9, RGB))[1]
    low, high = np.percentile(GROUND * 9.0, [2, 98])
    assert f'values from {low:g} to {high:g} become 0 to 255, percentiles 2 and 98' in said


def test_images_that_overflow_float16_are_segmented_again(make_map, run, monkeypatch, tmp_path):
    path, models = make_map(GROUND, RGB), []
    [expected], _ = run(path, out='whole')
    segment = blocks.BlockSegmenter.segment

    def overflow(self, rows):
        models.append(self.model)
        if self.model is models[0]:
            raise HalfOverflow('of float16')
        return segment(self, rows)

    monkeypatch.setattr(blocks.BlockSegmenter, 'segment', overflow)
    [labels], _ = run(path, precision='fp16')
    assert (labels == expected).all() and len(models) == 2
    assert not [*tmp_path.glob('out/.sclip/maps/*')]


@pytest.mark.slow
def test_processes_share_a_map(make_map, run, monkeypatch):
    ground = np.tile(GROUND, (1, 6, 1))
    path = make_map(ground, RGB, nodata=0)
    [expected], _ = run(path, size='native')
    [labels], _ = run(path, size='native', processes=2, out='shared')
    assert (labels == expected).all()


@pytest.mark.parametrize('shape', [(240, 300), (57, 1234), (999, 31), (11, 7)])
@pytest.mark.parametrize('size', [None, 'native', 0.5, '0.31', 100, '64'])
def test_the_working_size_is_that_of_the_pipeline(model, shape, size):
    steps = resize_steps(model.cfg.test_pipeline, size)
    expected = working_size(steps, shape)
    image = np.zeros((*shape, 3), np.uint8)
    assert to_data(model, image, None, None, size)['inputs'][0].shape[1:] == expected


@pytest.mark.parametrize('size', ['huge', '0', '-1', 'inf', ''])
def test_sizes_are_checked(model, size):
    with pytest.raises(InputError, match='--size'):
        resize_steps(model.cfg.test_pipeline, size)


def test_strong_reduction_is_reported_once(model, monkeypatch):
    image = np.zeros((1400, 1500, 3), np.uint8)
    with pytest.warns(UserWarning, match='at 336 of its 1,400 rows.*about 67 pixels.* would take'):
        apis.segment(model, image, channels='rgb')
    said = []
    monkeypatch.setattr(shrinking.warnings, 'warn', lambda text, **kwargs: said.append(text))
    apis.segment(model, image, channels='rgb')
    apis.segment(model, image[:700], channels='rgb', size=100)
    assert not said


def test_maps_are_recognised_by_their_headers(make_map, tmp_path):
    plain, drawn = tmp_path / 'plain.tif', tmp_path / 'drawn.png'
    for path in (plain, drawn):
        Image.fromarray(GROUND[0]).save(path)
    assert has_georeference(make_map(GROUND, RGB))
    assert has_georeference(make_map(GROUND, RGB, name='big.tif', BIGTIFF='YES'))
    assert not has_georeference(plain) and not has_georeference(drawn)
    assert is_map(plain, asked=True) and not is_map(drawn, asked=True)
    (tmp_path / 'drawn.pgw').write_text('1\n0\n0\n-1\n0\n0\n')
    assert has_georeference(drawn)
    assert not has_georeference(tmp_path / 'missing.tif')
    loud = tmp_path / 'LOUD.JPG'
    assert not has_georeference(loud)
    for beside, text in (('LOUD.jgw', '1\n0'), ('LOUD.JPG.aux.xml', '<PAMDataset><GCPList/>')):
        (tmp_path / beside).write_text(text)
        assert has_georeference(loud)
        (tmp_path / beside).unlink()


def test_without_the_extra_a_map_names_it(make_map, run, monkeypatch):
    path = make_map(GROUND, RGB)
    monkeypatch.setattr('sclip_mmseg.rasters.detecting.reads_maps', lambda: False)
    with pytest.raises(InputError, match=r"pip install 'sclip_mmseg\[maps\]'"):
        run(path)


def test_bands_without_effect_are_reported(make_map, run, tmp_path):
    plain = tmp_path / 'plain.png'
    Image.fromarray(GROUND[0]).save(plain)
    with pytest.warns(UserWarning, match=r'--bands.* only apply to .*plain\.png$'):
        apis.segment_folder([plain, make_map(GROUND, RGB)], CLASSES, out=tmp_path, bands='3,2,1')


def test_opencv_is_silent_about_unknown_tags(tmp_path, capfd):
    path = tmp_path / 'odd.tif'
    Image.fromarray(GROUND[0]).save(path, tiffinfo={65000: 'hello'})
    assert decode_image(path.read_bytes())[0] is not None
    assert 'Unknown field' not in capfd.readouterr().err


def test_a_damaged_map_is_left_out(shared_maps, run, tmp_path):
    with pytest.raises(InputError, match='1 of 2 not segmented: .*cut_short.tif is damaged'):
        run(shared_maps / 'cut_short.tif', shared_maps / 'tiny.tif')
    assert (tmp_path / 'out/tiny_labels.tif').exists()
