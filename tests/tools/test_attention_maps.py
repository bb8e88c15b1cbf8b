"""`tools/analysis_tools/attention_maps.py` as a user runs it."""

import numpy as np
import pytest
import torch
from helpers import ROOT, call_tool, config_path, load_config, run_tool, seeded_clip
from mmseg.registry import MODELS
from PIL import Image

from sclip_mmseg.models import View
from sclip_mmseg.visualization.attention import patch_index, point_attention, to_image

TOOL = ROOT / 'tools/analysis_tools/attention_maps.py'


@pytest.fixture
def image(voc_root):
    return voc_root / 'VOCdevkit/VOC2012/JPEGImages/image_0.jpg'  # 120 wide, 90 high


@pytest.mark.parametrize('method, total', [('clip', 1), ('maskclip', 1), ('sclip', 2)])
def test_weights_of_a_token_sum_to(clip_path, method, total):
    cfg = load_config(f'{method}_vit-b16_voc20', clip_path)
    encoder = MODELS.build(cfg.model.image_encoder)
    view = View(torch.randn(1, 3, 64, 96))
    _, tokens = encoder.method.prepare(encoder.tower, view, None)
    weights = encoder.method.token_weights(tokens)
    assert weights.shape == (1, 2, 25, 25)
    assert encoder.attention_map(view, None).shape == (1, 4, 6, 4, 6)
    torch.testing.assert_close(weights.sum(-1), torch.full((1, 2, 25), float(total)))


def test_maskclip_attends_to_the_point(clip_path, image):
    cfg = load_config('maskclip_vit-b16_voc20', clip_path)
    [first, last] = point_attention(cfg, str(image), [(0, 0), (119, 89)], short_side=96)
    assert first.shape == (90, 120)
    assert first[:14, :14].min() > 0.9 and first[20:].max() == 0
    assert last[-14:, -14:].min() > 0.9 and last[:-20].max() == 0


def test_a_method_of_whole_images_gets_regions(clip_path, dino_path, image):
    cfg = load_config('ovstitcher_vit-b16_voc20', clip_path)
    cfg.model.image_encoder.proxy.checkpoint = dino_path
    cfg.model.image_encoder.method.blocks = (1,)
    [weights] = point_attention(cfg, str(image), [(60, 40)], short_side=96)
    assert weights.shape == (90, 120) and weights.min() >= 0 < weights.std()


@pytest.mark.parametrize(
    'point, patch',
    [
        ((0, 0), (0, 0)),
        ((119, 0), (0, 7)),
        ((0, 89), (5, 0)),
        ((119, 89), (5, 7)),
        ((60, 45), (3, 4)),
    ],
)
def test_patch_index(point, patch):
    # 6 x 8 patches; the last rows and columns of pixels are seen by no patch.
    assert patch_index(point, size=(90, 120), resized=(100, 133), patch=16) == patch


def test_pixels_beyond_the_last_patch_get_its_value():
    maps = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    fine = to_image(maps, patch=2, resized=(5, 6), size=(5, 6))
    assert fine[0, :, 0].tolist() == [1, 1, 3, 3, 3]
    assert fine[0, 0].tolist() == [1, 1, 2, 2, 2, 2]


def test_image_of_all_methods(image, tmp_path):
    clip = tmp_path / 'deep.pt'
    torch.save(seeded_clip(layers=10, width=64), clip)
    out = tmp_path / 'new/maps.png'
    arguments = ('--points', '10,20', '100.5,80', '--clip', clip, '--short-side', 64, '--out', out)
    run_tool(TOOL, image, *arguments, cwd=tmp_path)
    figure = np.array(Image.open(out).convert('RGB'))
    assert figure.shape[0] > 2 * 90 and 990 <= figure.shape[1] <= 1000
    assert figure.std() > 10


@pytest.fixture
def message(image, clip_path):
    """Run the tool and return the message that it exits with."""

    def run(*arguments, path=image, points=('10,20',)):
        config = config_path('clip_vit-b16_voc20')
        argv = [path, '--points', *points, '--configs', config, '--clip', clip_path, *arguments]
        line = call_tool(TOOL, *argv, check=False).stdout.splitlines()[-1]
        assert line.startswith('error: ')
        return line

    return run


def test_bad_input(message, tmp_path):
    outside = 'is outside the image of 120×90 pixels'
    assert f'--points 120,20 {outside}' in message(points=['1,1', '120,20'])
    assert f'--points nan,2 {outside}' in message(points=['nan,2'])
    assert '--points 7 must be X,Y' in message(points=['7'])
    assert 'absent.jpg does not exist' in message(path=tmp_path / 'absent.jpg')
    assert f'{tmp_path} is a folder: name an image' in message(path=tmp_path)
    (tmp_path / 'broken.jpg').write_bytes(b'rubbish')
    assert 'broken.jpg cannot be read as an image' in message(path=tmp_path / 'broken.jpg')
    assert 'nothing.py does not exist' in message('--configs', 'nothing.py')
    assert 'must end in .png' in message('--out', tmp_path / 'maps')
    assert 'less than a patch' in message('--short-side', '8')
    assert '--width 0 must be positive' in message('--width', '0')
    assert '--short-side 0 must be positive' in message('--short-side', '0')


def test_a_photograph_taken_upright(message, image, tmp_path):
    photo = Image.open(image)
    exif = photo.getexif()
    exif[0x0112] = 6  # turn by a quarter
    photo.save(tmp_path / 'upright.jpg', exif=exif)
    assert 'the image of 90×120 pixels' in message(path=tmp_path / 'upright.jpg', points=['95,0'])
