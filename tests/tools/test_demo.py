import errno
import tempfile

import numpy as np
import pytest
from helpers import ROOT, call_tool, run_tool
from PIL import Image

from sclip_mmseg.regions import Felzenszwalb

SMALL = ('model.test_cfg.crop_size=112', 'model.test_cfg.stride=56')


@pytest.fixture
def folder(voc_root):
    return voc_root / 'VOCdevkit/VOC2012/JPEGImages'


def _demo(folder, clip_path, tmp_path, *arguments, run=call_tool, **kwargs):
    return run(
        *(ROOT / 'tools/demo.py', folder, '--clip', clip_path, '--out', tmp_path / 'out'),
        *('--device', 'cpu', *arguments, '--cfg-options', *SMALL),
        cwd=tmp_path,
        **kwargs,
    ).stdout


def test_a_folder(folder, clip_path, tmp_path):
    classes = 'sky, clouds; grass; cat'
    arguments = ('--classes', classes, '--background')
    output = _demo(folder, clip_path, tmp_path, *arguments, run=run_tool)
    for index, size in enumerate([(90, 120), (130, 100), (100, 100)]):
        labels = np.array(Image.open(tmp_path / f'out/image_{index}_labels.png'))
        assert labels.shape == size
        assert labels.max() <= 3
        overlay = Image.open(tmp_path / f'out/image_{index}_overlay.jpg')
        assert overlay.width > size[1]
        assert f'image_{index}.jpg: ' in output
    assert 'Traceback' not in output


def test_a_file_of_classes(folder, clip_path, tmp_path):
    (tmp_path / 'classes.txt').write_text('sky\ncat, kitten\n')
    output = _demo(folder / 'image_0.jpg', clip_path, tmp_path, '--classes', 'classes.txt')
    assert 'image_0.jpg: ' in output


@pytest.mark.parametrize(
    'name, classes, message',
    [
        ('absent.jpg', 'cat', 'absent.jpg does not exist'),
        ('image_0.jpg', 'cat;;dog', 'class 2 has an empty query'),
        ('image_0.jpg', 'absent.txt', 'absent.txt does not exist'),
        ('image_0.jpg', 'sky, cat, grass', "error: every pixel would be 'sky', the only class"),
    ],
)
def test_bad_input(folder, clip_path, tmp_path, name, classes, message):
    output = _demo(folder / name, clip_path, tmp_path, '--classes', classes, check=False)
    assert message in output.splitlines()[-1]
    assert 'Traceback' not in output


def test_a_background_file_that_is_an_image(folder, clip_path, tmp_path):
    arguments = ('--classes', 'cat', '--background', folder / 'image_0.jpg')
    output = _demo(folder, clip_path, tmp_path, *arguments, check=False)
    assert output.startswith('error: --background takes words, not')


@pytest.mark.parametrize('out', ['file', 'file/below', 'read-only'])
def test_a_folder_that_cannot_be_written_to(folder, tmp_path, monkeypatch, out):
    (tmp_path / 'file').touch()
    if out == 'read-only':  # a mode would not stop root

        def refuse(dir):
            raise OSError(errno.EROFS, 'Read-only file system', str(dir))

        monkeypatch.setattr(tempfile, 'TemporaryFile', refuse)
    arguments = ('--classes', 'cat; sky', '--out', tmp_path / out)
    output = _demo(folder, 'absent.pt', tmp_path, *arguments, check=False)
    assert output.startswith(f'error: cannot write to {tmp_path / out} (')
    assert output.count('\n') == 1 and 'name another folder' in output


def test_no_image(clip_path, tmp_path):
    output = _demo(tmp_path, clip_path, tmp_path, '--classes', 'cat', check=False)
    assert 'no image or video below' in output


def test_folders_are_kept_apart(folder, clip_path, tmp_path):
    for name in ('a', 'b'):
        (tmp_path / 'in' / name).mkdir(parents=True)
        (tmp_path / 'in' / name / 'x.jpg').write_bytes((folder / 'image_0.jpg').read_bytes())
    for _ in range(2):  # results below the images are not segmented in turn
        output = call_tool(
            *(ROOT / 'tools/demo.py', tmp_path / 'in', '--clip', clip_path, '--device', 'cpu'),
            *('--out', tmp_path / 'in/out', '--classes', 'cat;sky', '--cfg-options', *SMALL),
        ).stdout
        assert output.count('x.jpg: ') == 2
    assert len(list((tmp_path / 'in/out').rglob('*_labels.png'))) == 2


def test_one_name_twice(folder, clip_path, tmp_path):
    """Results keep the folders of their images."""
    for name in ('a', 'b'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'x.jpg').write_bytes((folder / 'image_0.jpg').read_bytes())
    out, options = tmp_path / 'out', ('--classes', 'cat; sky', '--clip', clip_path)
    paths = tmp_path / 'a/x.jpg', tmp_path / 'b/x.jpg'
    call_tool(ROOT / 'tools/demo.py', *paths, *options, '--out', out)
    for name in ('a', 'b'):
        assert (out / name / 'x_labels.png').is_file()


def test_regions_sharpen_outlines(folder, clip_path, tmp_path):
    def labels(*arguments):
        arguments = ('--classes', 'sky; grass; cat', *arguments)
        _demo(folder / 'image_0.jpg', clip_path, tmp_path, *arguments)
        return np.array(Image.open(tmp_path / 'out/image_0_labels.png'))

    plain, sharp = labels(), labels('--regions', 'felzenszwalb')
    regions = Felzenszwalb()(np.array(Image.open(folder / 'image_0.jpg')))
    assert (plain != sharp).any()
    for region in np.unique(regions)[1:]:
        assert len(np.unique(sharp[regions == region])) == 1
    arguments = ('--classes', 'cat; sky', '--regions', 'sam3')
    output = _demo(folder, clip_path, tmp_path, *arguments, check=False)
    assert output.splitlines()[-1].startswith(
        "error: 'sam3' is not a region generator: use one of felzensz"
    )
