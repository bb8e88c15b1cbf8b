import multiprocessing
import sys
import time

import numpy as np
import pytest
from helpers import ROOT, call_tool, config_path, run_tool
from PIL import Image

from sclip_mmseg import InputError
from sclip_mmseg.apis.region_maps import make_region_maps
from sclip_mmseg.regions import Felzenszwalb, RegionFiles

TOOL = ROOT / 'tools/make_region_masks.py'


@pytest.fixture
def folder(voc_root):
    return voc_root / 'VOCdevkit/VOC2012/JPEGImages'


def _load(path):
    with np.load(path) as arrays:
        return arrays['instance_mask']


def test_a_folder(folder, tmp_path):
    out = tmp_path / 'maps'
    output = run_tool(TOOL, folder, '--out', out, '--nproc', 2).stdout
    assert '3 maps made, 0 existed' in output
    assert sorted(path.name for path in out.iterdir()) == [f'image_{i}.npz' for i in range(3)]
    for index, size in enumerate([(90, 120), (130, 100), (100, 100)]):
        ids = _load(out / f'image_{index}.npz')
        assert ids.shape == size and np.issubdtype(ids.dtype, np.integer)
        assert np.unique(ids).tolist() == list(range(1, ids.max() + 1))
        pixels = np.array(Image.open(folder / f'image_{index}.jpg'))
        assert (ids == Felzenszwalb()(pixels)).all()
        RegionFiles(f'{out}/{{stem}}.npz').load(f'image_{index}.jpg', size)


def test_options_are_the_generator_s(folder, tmp_path):
    arguments = (TOOL, folder, '--nproc', 1, '--out')
    call_tool(*arguments, tmp_path / 'fine', '--options', 'scale=1', 'min_size=2')
    call_tool(*arguments, tmp_path / 'rough', '--options', 'scale=1000')
    fine, rough = (_load(tmp_path / name / 'image_0.npz').max() for name in ('fine', 'rough'))
    assert fine > rough


def test_a_benchmark(voc_root):
    config = config_path('corrclip_vit-b16_voc20')
    arguments = (TOOL, config, '--nproc', 1, '--options', 'scale=200')
    output = call_tool(*arguments, env={'SCLIP_DATA_ROOT': str(voc_root)}).stdout
    pattern = f'{voc_root}/region_masks/voc/{{stem}}.npz'
    assert f'{pattern}: 3 maps made' in output
    RegionFiles(pattern).check([f'image_{index}.jpg' for index in range(3)])


@pytest.mark.parametrize('damage', ['cut', 'empty', 'text', 'size', 'floats', 'absent'])
def test_whole_maps_are_kept_and_others_made_again(folder, tmp_path, damage):
    arguments = (TOOL, folder, '--out', tmp_path, '--nproc', 1)
    call_tool(*arguments)
    maps = [tmp_path / f'image_{index}.npz' for index in range(3)]
    before = [path.read_bytes() for path in maps]
    # The user's own map of the last image.
    np.savez(maps[2], instance_mask=np.ones((100, 100), np.uint16))
    kept = maps[2].read_bytes()
    if damage == 'absent':
        maps[1].unlink()
    elif damage in ('size', 'floats'):
        shape, dtype = ((9, 9), int) if damage == 'size' else ((130, 100), float)
        np.savez(maps[1], instance_mask=np.ones(shape, dtype))
    else:
        content = {'cut': before[1][:-40], 'empty': b'', 'text': b'no map'}[damage]
        maps[1].write_bytes(content)
    assert '1 maps made, 2 existed' in call_tool(*arguments).stdout
    assert (_load(maps[1]) == Felzenszwalb()(np.array(Image.open(folder / 'image_1.jpg')))).all()
    assert maps[0].read_bytes() == before[0] and maps[2].read_bytes() == kept


def test_images_turned_by_their_exif_data(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (40, 20)).save(tmp_path / 'a.jpg', exif=exif)
    arguments = (TOOL, tmp_path, '--out', tmp_path / 'maps', '--nproc', 1)
    call_tool(*arguments)
    assert _load(tmp_path / 'maps/a.npz').shape == (40, 20)  # upright, as the loader has it
    assert '0 maps made, 1 existed' in call_tool(*arguments).stdout


class _Slow:
    """Takes a while with one image, recognised by its size, and says that it has started."""

    def __init__(self, size, begun):
        self.size, self.begun = size, begun

    def __call__(self, image):
        if image.shape[:2] == self.size:
            self.begun.touch()
            time.sleep(120)
        return np.ones(image.shape[:2], np.int32)


@pytest.mark.skipif(sys.platform == 'win32', reason='sends SIGKILL')
def test_killed_and_resumed(folder, tmp_path):
    slow = _Slow((100, 100), tmp_path / 'begun')
    pattern, images = str(tmp_path / '{stem}.npz'), sorted(folder.iterdir())
    fork = multiprocessing.get_context('fork')
    ended, workers = fork.Pipe(duplex=False)
    killed = fork.Process(target=make_region_maps, args=(images, pattern, slow, 2))
    killed.start()
    workers.close()
    first = [tmp_path / f'image_{index}.npz' for index in (0, 1)]
    end = time.monotonic() + 100
    while not ((tmp_path / 'begun').exists() and all(path.exists() for path in first)):
        assert time.monotonic() < end and killed.is_alive()
        time.sleep(0.05)
    killed.kill()
    assert ended.poll(60)  # nobody holds the other end: its workers have ended too
    assert not (tmp_path / 'image_2.npz').exists()
    output = call_tool(TOOL, folder, '--out', tmp_path, '--nproc', 2).stdout
    assert '1 maps made, 2 existed' in output
    assert _load(tmp_path / 'image_2.npz').shape == (100, 100)


@pytest.mark.parametrize('nproc', [1, 2])
def test_an_unreadable_image_does_not_stop_the_others(folder, tmp_path, nproc):
    (folder / 'a.jpg').write_text('no image')
    output = call_tool(TOOL, folder, '--out', tmp_path, '--nproc', nproc, check=False).stdout
    assert output.splitlines()[-1].startswith('error: 1 of 4 without region map: ')
    assert 'a.jpg cannot be read as an image' in output
    assert len(list(tmp_path.glob('*.npz'))) == 3


@pytest.mark.parametrize(
    'arguments, message',
    [
        (
            ('--generator', 'sam3'),
            "'sam3' is not a region generator: use one of felzenszwalb, sam2, sam",
        ),
        (
            ('--options', 'skale=2'),
            '--options skale: Felzenszwalb takes scale, sigma, min_size, short_side (did',
        ),
        (('--options', 'scale=-2'), 'scale=-2 must be a number, at least 0'),
    ],
)
def test_bad_arguments(folder, tmp_path, arguments, message):
    output = call_tool(TOOL, folder, '--out', tmp_path, *arguments, check=False).stdout
    assert output.startswith('error: ') and message in output
    assert not list(tmp_path.glob('*.npz'))


def test_nowhere_to_write_to(folder, tmp_path, voc_root):
    output = call_tool(TOOL, folder, check=False).stdout
    assert output.startswith('error: ') and 'does not say where region maps are' in output
    config = config_path('sclip_vit-b16_voc20')
    output = call_tool(TOOL, config, check=False, env={'SCLIP_DATA_ROOT': str(voc_root)}).stdout
    assert 'voc20.py does not say where region maps are: name a folder by --out' in output
    (tmp_path / 'file').touch()
    output = call_tool(TOOL, folder, '--out', tmp_path / 'file', check=False).stdout
    assert output.startswith('error: cannot write to')


def test_one_name_for_two_images(tmp_path):
    with pytest.raises(InputError, match=r'b/x\.png and .*a/x\.jpg would share a region map'):
        images = [tmp_path / 'a/x.jpg', tmp_path / 'b/x.png']
        make_region_maps(images, f'{tmp_path}/{{stem}}.npz', Felzenszwalb())
    with pytest.raises(InputError, match=r'as \.npz files, not as .*\.png'):
        make_region_maps(images, f'{tmp_path}/{{stem}}.png', Felzenszwalb())


@pytest.mark.parametrize('kind', ['deflated', 'method', 'cut', 'empty', 'array', 'size'])
def test_a_damaged_map_is_replaced(tmp_path, kind):
    path, target = tmp_path / 'a.png', tmp_path / 'maps/a.npz'
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    pattern = str(target.parent / '{stem}.npz')
    make_region_maps([path], pattern, Felzenszwalb())
    whole = target.read_bytes()
    content = bytearray(whole)
    if kind == 'deflated':
        content[80:120] = bytes(40)
    elif kind == 'method':
        content[content.rfind(b'PK\1\2') + 10] = 99
    elif kind == 'cut':
        content = content[:-30]
    elif kind == 'empty':
        content = b''
    target.write_bytes(content)
    if kind == 'array':
        np.savez(target, other=np.ones((40, 50), int))
    elif kind == 'size':
        np.savez(target, instance_mask=np.ones((41, 50), int))
    with pytest.raises(InputError, match=r'region map .*a\.npz'):
        RegionFiles(pattern).load(str(path), (40, 50))
    assert make_region_maps([path], pattern, Felzenszwalb()) == 1
    assert target.read_bytes() == whole
    assert make_region_maps([path], pattern, Felzenszwalb()) == 0


def test_a_map_that_claims_to_be_huge(tmp_path, monkeypatch):
    Image.new('L', (50, 40)).save(tmp_path / 'a.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 900)
    with pytest.raises(InputError, match=r'region map .*a\.png cannot be read: Image size'):
        RegionFiles(f'{tmp_path}/{{stem}}.png').load('a.jpg', (40, 50))
