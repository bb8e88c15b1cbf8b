"""The commands and the code of docs/own_dataset.md do what the page says, on two images."""

import json
import re
import shlex

import numpy as np
import pytest
from helpers import ROOT, call_tool
from PIL import Image
from test_commands import commands

PAGE = 'docs/own_dataset.md'
TOY = 'data/toy/toy_clip.safetensors'
SMALL = [
    *('--cfg-options', 'test_pipeline.1.scale=(2048,112)', 'model.test_cfg.crop_size=112'),
    'model.test_cfg.stride=112',
]
NAMES = 'toy_000001', 'toy_000003'

pytestmark = [
    pytest.mark.usefixtures('whole_configs'),
    pytest.mark.filterwarnings('ignore:no label has'),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with what the page takes for granted, and two images of the toy benchmark."""
    voc, mine = 'data/toy/VOCdevkit/VOC2012', tmp_path / 'my'
    for path in ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation'):
        (tmp_path / voc / path).mkdir(parents=True)
    for path in ('images', 'labels', 'masks'):
        (mine / path).mkdir(parents=True)
    (tmp_path / TOY).symlink_to(ROOT / TOY)
    colors = np.array([[9, 9, 9], [255, 0, 0], [0, 255, 0]], np.uint8)
    for name in NAMES:
        with Image.open(ROOT / voc / f'JPEGImages/{name}.jpg') as image:
            for target in (tmp_path / voc / 'JPEGImages', mine / 'images'):
                image.save(target / f'{name}.jpg')
        with Image.open(ROOT / voc / f'SegmentationClass/{name}.png') as label:
            label.save(tmp_path / voc / f'SegmentationClass/{name}.png')
            ids = np.array(label) % 3
        Image.fromarray(ids.astype(np.uint8)).save(mine / f'labels/{name}.png')
        Image.fromarray(colors[ids]).save(mine / f'masks/{name}.png')
    (tmp_path / voc / 'ImageSets/Segmentation/val.txt').write_text('\n'.join(NAMES))
    [classes] = re.findall(r'```none\n(.*?)```', (ROOT / PAGE).read_text(), re.S)
    (mine / 'classes.txt').write_text(classes)
    (mine / 'labelmap.txt').write_text('sky:9,9,9::\ngrass:255,0,0::\nsheep:0,255,0::\n')
    sizes = [Image.open(mine / f'images/{name}.jpg').size for name in NAMES]
    box = [[0, 0, 50, 0, 50, 20, 0, 20]]
    content = dict(
        images=[
            dict(id=i, file_name=f'{name}.jpg', width=sizes[i][0], height=sizes[i][1])
            for i, name in enumerate(NAMES)
        ],
        annotations=[dict(image_id=0, category_id=1, segmentation=box)],
        categories=[dict(id=1, name='sheep'), dict(id=2, name='cow')],
    )
    (mine / 'instances.json').write_text(json.dumps(content))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _run(command, folder):
    words = shlex.split(command)
    target = words[words.index('>') + 1] if '>' in words else None
    words = words[: words.index('>')] if target else words
    if words[0] == 'python':
        run = call_tool(ROOT / words[1], *words[2:], cwd=folder)
    else:
        more = []
        if words[1] == 'evaluate':
            more = [*([] if '--clip' in words else ['--clip', TOY]), *SMALL]
        run = call_tool(ROOT / 'sclip_mmseg/cli/__main__.py', *words[1:], *more, cwd=folder)
    if target:
        (folder / target).write_text(run.stdout)
    return run.stdout


def test_commands(folder):
    """The commands run in the order of the page."""
    pytest.importorskip('pycocotools')
    shown = list(commands(PAGE))
    assert len(shown) == 7
    first, toy, masks, coco, check, printed, tested = shown
    output = _run(first, folder)
    assert all(f'| {name} | ' in output for name in ('sclip', 'scclip', 'naclip'))
    for name in ('results.md', 'contact_sheet_1.jpg', 'comparison/report.html'):
        assert (folder / 'evaluated' / name).is_file()
    assert (folder / 'evaluated/naclip/predictions/toy_000001.png').is_file()
    _run(f'{toy} --out toy', folder)  # the page has two examples, and one default folder
    assert 'voc21, 56 names' in (folder / 'toy/results.md').read_text()
    mIoU = re.compile(r'\| sclip \| ([\d.]+) \|')
    assert '| sheep | ' in _run(masks, folder)
    assert '| background | ' in _run(coco, folder)
    assert '3 of 3 classes occur' in _run(check, folder)
    assert (folder / 'checked/images.png').is_file()
    _run(printed, folder)
    assert f'mIoU: {mIoU.findall(output)[0]}' in _run(tested, folder)


def test_python(folder):
    [code] = re.findall(r'```python\n(.*?)```', (ROOT / PAGE).read_text(), re.S)
    names = {}
    exec(code, names)
    assert names['results']['sclip'].mIoU > 5
