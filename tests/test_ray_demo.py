"""The demo for Ray clusters gives what one process gives: its worker, without Ray."""

import importlib.util
import json

import numpy as np
import pytest
from helpers import ROOT
from PIL import Image

from sclip_mmseg import apis

OPTIONS = {'model.test_cfg.crop_size': 112, 'model.test_cfg.stride': 56}


@pytest.fixture(scope='module')
def demo():
    pytest.importorskip('fsspec')
    spec = importlib.util.spec_from_file_location('ray_segment', ROOT / 'demo/ray_segment.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_worker_and_the_end(demo, clip_path, tmp_path):
    (tmp_path / 'in/sub').mkdir(parents=True)
    for index, name in enumerate(('a.png', 'a.jpg', 'sub/b.png')):
        blocks = np.random.default_rng(index).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(blocks).resize((60, 45)).save(tmp_path / 'in' / name)
    source = str(tmp_path / 'in')
    build = dict(classes=['sky', 'grass'], clip=clip_path, device='cpu', cfg_options=OPTIONS)
    apis.segment_files(source, out=tmp_path / 'one', **build)
    (tmp_path / 'in/bad.png').write_bytes(b'x')
    items = demo.list_pictures(source)
    work = demo.Segmenter(source, f'file://{tmp_path}/out', build, 'overlay,labels')
    batch = {key: [item[key] for item in items] for key in ('path', 'name')}
    rows = [json.loads(row) for row in work(batch)['row']]
    [skipped] = demo.finish(rows, str(tmp_path / 'out'), 'overlay,labels')
    assert f'{source}/bad.png cannot be read' in skipped
    assert _files(tmp_path / 'out') == _files(tmp_path / 'one')


def _files(folder):
    paths = (path for path in folder.rglob('*') if path.is_file() and '.sclip' not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}
