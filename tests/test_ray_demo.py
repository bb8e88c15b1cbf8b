"""The demo for Ray clusters gives what one process gives: its worker, without Ray."""

import importlib.util
import json
from collections import Counter

import numpy as np
import pytest
from helpers import ROOT
from PIL import Image

from sclip_mmseg import apis
from sclip_mmseg.apis import inputs

OPTIONS = {'model.test_cfg.crop_size': 112, 'model.test_cfg.stride': 56}


@pytest.fixture(scope='module')
def demo():
    pytest.importorskip('fsspec')
    spec = importlib.util.spec_from_file_location('ray_segment', ROOT / 'demo/ray_segment.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_files_are_those_of_a_folder_run(demo, tmp_path):
    for name in ('a.png', 'a.mp4', 'sub/b.JPG', '.c.png', '.d/e.png', 'a_overlay.jpg', 'n.txt'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name in ('f_labels/000000.png', 'f_masks/0_a.png', 'a_labels.png', 'g.cr2'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    files = inputs.find_media([tmp_path], Counter())
    names = inputs.output_names(files, [tmp_path])
    listed = demo.list_images(str(tmp_path))
    assert [(x['path'], x['name']) for x in listed] == [*zip(map(str, files), map(str, names))]
    assert [x['name'] for x in listed] == ['a.mp4', 'a.png', 'sub/b']


def test_a_worker_and_the_end(demo, clip_path, tmp_path):
    (tmp_path / 'in/sub').mkdir(parents=True)
    for index, name in enumerate(('a.png', 'a.jpg', 'sub/b.png')):
        blocks = np.random.default_rng(index).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(blocks).resize((60, 45)).save(tmp_path / 'in' / name)
    source = str(tmp_path / 'in')
    build = dict(classes=['sky', 'grass'], clip=clip_path, device='cpu', cfg_options=OPTIONS)
    apis.segment_files(source, out=tmp_path / 'one', **build)
    (tmp_path / 'in/bad.png').write_bytes(b'x')
    items = demo.list_images(source)
    work = demo.Segmenter(source, f'file://{tmp_path}/out', build, 'overlay,labels')
    batch = {key: [item[key] for item in items] for key in ('path', 'name')}
    rows = [json.loads(row) for row in work(batch)['row']]
    [skipped] = demo.finish(rows, str(tmp_path / 'out'), 'overlay,labels')
    assert f'{source}/bad.png cannot be read' in skipped
    assert _files(tmp_path / 'out') == _files(tmp_path / 'one')


def _files(folder):
    paths = (path for path in folder.rglob('*') if path.is_file() and '.sclip' not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}
