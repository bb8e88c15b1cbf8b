"""Trident's parts that the golden files do not reach."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import build_model, load_config, load_images, write_sam
from PIL import Image
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from sclip_mmseg import InputError, apis
from sclip_mmseg.evaluation.fingerprint import _flatten
from sclip_mmseg.models.methods import Trident
from sclip_mmseg.models.sam_refinement import Prompts, SAMRefinement, enlarge, to_sam
from sclip_mmseg.regions import CorrectionInputs, Felzenszwalb, majority_labels
from sclip_mmseg.towers.sam import SamTower, resized, to_multiples
from sclip_mmseg.visualization.attention import point_attention

pytest.importorskip('transformers')


@pytest.fixture(scope='module')
def sam_folder(tmp_path_factory):
    """A small seeded SAM in the layout of transformers."""
    return write_sam(tmp_path_factory.mktemp('sam'))


@pytest.fixture
def config(clip_path, dino_path, voc_root, sam_folder):
    def make(name='trident_vit-b16_voc21', **options):
        cfg = load_config(name, clip_path)
        cfg.model.image_encoder.proxy.checkpoint = dino_path
        cfg.model.image_encoder.sam.checkpoint = sam_folder
        cfg.model.test_cfg.update(crop_size=(96, 96), stride=(64, 64), prob_thd=0.0)
        cfg.test_pipeline[1].scale = (2048, 96)
        cfg.merge_from_dict(options)
        return cfg

    return make


@pytest.fixture
def paths(voc_root):
    return sorted((voc_root / 'VOCdevkit/VOC2012/JPEGImages').iterdir())[:2]


def test_both_layouts_of_sam_load(sam_folder, tmp_path):
    ours = SamTower(sam_folder)
    assert ours.model.mask_decoder.transformer.layers[0].layer_norm1.eps == 1e-5
    pixels = np.random.default_rng(0).integers(0, 256, (40, 64, 3), dtype=np.uint8)
    image = ours.encode(pixels)
    expected = ours.model.get_image_embeddings(_input(pixels))
    torch.testing.assert_close(image.embedding, expected, rtol=1e-4, atol=1e-4)
    assert image.grid == (40, 64) and image.size == (640, 1024)
    weights = ours.attention(image, 1, torch.arange(3))
    torch.testing.assert_close(weights.sum(1), torch.ones(3))
    junk = tmp_path / 'sam.pth'
    torch.save({'image_encoder.pos_embed': torch.zeros(1, 64, 64, 16)}, junk)
    with pytest.raises(InputError, match=r'sam\.pth is not a SAM in the layout of Meta'):
        SamTower(str(junk))


@pytest.mark.parametrize('name', ['facebook/sam', 'hf:facebook/sam', 'facebook/sam@v1'])
@pytest.mark.parametrize('weights', ['model__safetensors', 'pytorch_model__bin'])
def test_sam_by_its_name_on_the_hub(hub, sam_folder, name, weights):
    content = (Path(sam_folder) / 'model.safetensors').read_bytes()
    if weights == 'pytorch_model__bin':
        buffer = io.BytesIO()
        torch.save(load_tensors(content), buffer)
        content = buffer.getvalue()
    hub.put('facebook/sam', 'v1' if name.endswith('@v1') else 'main', **{weights: content})
    found, expected = (SamTower(source).model.state_dict() for source in (name, sam_folder))
    assert found.keys() == expected.keys()
    assert all(value.equal(expected[key]) for key, value in found.items())
    settings = dict(_flatten({'image_encoder': {'sam': {'checkpoint': name}}}))
    assert settings['image_encoder.sam.checkpoint'].startswith('SHA-256')


def test_a_sam_of_the_hub_that_is_none(hub):
    hub.put('org/clip', model__safetensors=save_tensors({'visual.proj': torch.ones(2)}))
    with pytest.raises(InputError, match=r'model\.safetensors is not a SAM in the layout of Meta'):
        SamTower('org/clip')
    with pytest.raises(InputError, match='hf:org/absent: .* has no such repository'):
        SamTower('org/absent')


def _input(pixels):
    resized = Image.fromarray(pixels).resize((1024, 640), Image.BILINEAR)
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    x = ((torch.from_numpy(np.array(resized)) - mean) / std).permute(2, 0, 1)[None]
    return torch.nn.functional.pad(x, (0, 0, 0, 384))


def test_what_is_missing_is_one_line(config, monkeypatch):
    cfg = config(**{'model.image_encoder.sam': None})
    with pytest.raises(InputError, match=r'Trident needs Segment Anything: set .*\.sam=dict'):
        build_model(cfg)
    cfg = config()
    cfg.model.image_encoder.sam = dict(checkpoint='/absent/sam.pth')
    with pytest.raises(InputError, match="checkpoint='/absent/sam.pth' is neither") as caught:
        build_model(cfg)
    assert '\n' not in str(caught.value)
    monkeypatch.setitem(sys.modules, 'transformers', None)
    with pytest.raises(InputError, match=r'pip install "sclip_mmseg\[sam\]"'):
        build_model(config())


@pytest.mark.parametrize(
    'size, expected',
    [
        ((448, 673), (464, 688)),
        ((336, 448), (336, 448)),
        ((240, 480), (336, 480)),
        ((333, 500), (352, 512)),
    ],
)
def test_images_are_of_whole_patches(size, expected):
    tower = type('Tower', (), dict(patch_size=16))
    assert Trident().working_size(tower, size, (336, 336)) == expected


def test_images_of_a_batch_do_not_mix(config, paths, device):
    cfg = config()
    model = build_model(cfg, device)
    together = model.test_step(load_images(cfg, paths))
    for path, sample in zip(paths, together):
        [alone] = model.test_step(load_images(cfg, [path]))
        torch.testing.assert_close(sample.seg_logits.data, alone.seg_logits.data, rtol=0, atol=1e-4)
        assert (sample.pred_sem_seg.data == alone.pred_sem_seg.data).float().mean() > 0.999


@pytest.mark.parametrize('halves', [False, True])
def test_a_mirrored_view_is_mirrored_for_sam(config, paths, halves, device):
    cfg = config('trident-coarse_vit-b16_voc21')
    cfg.model.image_encoder.method.halves = halves
    model = build_model(cfg, device)
    data = load_images(cfg, paths[:1])
    data['data_samples'][0].set_metainfo(dict(flip=True, flip_direction='horizontal'))
    seen = []
    encode = model.image_encoder.sam.encode
    model.image_encoder.sam.encode = lambda pixels: seen.append(pixels) or encode(pixels)
    model.test_step(load_images(cfg, paths[:1]))
    model.test_step(data)
    straight, flipped = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    whole = np.concatenate(straight, 1), np.concatenate(flipped, 1)
    assert len(straight) == 1 + halves
    assert np.abs(whole[0].astype(int) - whole[1][:, ::-1]).mean() < 2  # resized after mirroring


def test_own_images_need_no_region_maps(config, clip_path, dino_path, sam_folder, paths):
    options = {
        'model.image_encoder.proxy.checkpoint': dino_path,
        'model.image_encoder.sam.checkpoint': sam_folder,
        **{f'model.test_cfg.{key}': 96 for key in ('crop_size', 'stride')},
        'test_pipeline.1.scale': (2048, 96),
    }
    own = [['cat', 'dog'], False, 'trident', clip_path, 'cpu', options]
    result = apis.segment(apis.build_segmentor(*own), paths[0])
    assert result.labels.shape == Image.open(paths[0]).size[::-1]
    with pytest.raises(
        InputError, match='have no effect on trident, whose labels SAMRefinement corrects'
    ):
        apis.build_segmentor(*own, regions='felzenszwalb')
    own[2] = 'trident-coarse'
    plain, sharp = (
        torch.from_numpy(apis.segment(apis.build_segmentor(*own, regions=name), paths[0]).labels)
        for name in (None, 'felzenszwalb')
    )
    ids = torch.from_numpy(Felzenszwalb()(apis.read_image(paths[0])[..., ::-1])).long()
    assert sharp.equal(majority_labels(plain, ids))


def test_bfloat16_and_an_even_image_stay_finite(config, paths, device):
    cfg = config(**{'model.image_encoder.precision': 'bf16'})
    data = load_images(cfg, paths[:1])
    data['inputs'] = [torch.full_like(each, 127) for each in data['inputs']]
    [sample] = build_model(cfg, device).test_step(data)
    assert sample.seg_logits.data.isfinite().all()


class _Sam:
    """Draws the box of each region, sure of some."""

    def __init__(self, quality):
        self.quality = quality

    def masks(self, image, points, boxes, mask):
        logits = torch.full((len(boxes), 256, 256), -4.0)
        for each, (x1, y1, x2, y2) in zip(logits, (boxes / 4).round().int().tolist()):
            each[y1 : y2 + 1, x1 : x2 + 1] = 4.0
        return logits, torch.tensor(self.quality[: len(boxes)])


def _refine(labels, scores, quality=(0.9, 0.9), **options):
    image = type('Seen', (), dict(size=(1024, 1024)))
    file = type('File', (), dict(encode=lambda self, sam, part, flip: image))()
    inputs = CorrectionInputs(scores=scores, file=file, sam=_Sam(quality))
    return SAMRefinement(**dict(dict(minimal_area=4), **options))(labels, inputs)


def _ring():
    """Labels of class 1 in a square with a hole, and scores that say so."""
    labels = torch.zeros(64, 64, dtype=torch.int64)
    labels[16:48, 16:48] = 1
    labels[28:36, 28:36] = 0
    scores = torch.stack([labels == 0, labels == 1]).float() * 0.6 + 0.2
    return labels, scores


def test_its_attention_map_is_sam_s(config, paths):
    width, height = Image.open(paths[0]).size
    [weights] = point_attention(config(), str(paths[0]), [(width - 1, height - 1)], short_side=96)
    assert weights.shape == (height, width) and weights.min() >= 0 < weights.std()


def test_a_sure_mask_is_drawn_over_labels():
    labels, scores = _ring()
    scores[0] = 0.05  # the background takes no part
    refined = _refine(labels, scores)
    assert (refined[17:47, 17:47] == 1).all()  # the hole is filled
    assert (refined[:12] == 0).all()


@pytest.mark.parametrize('options', [dict(quality=(0.5, 0.5)), dict(minimal_area=4000)])
def test_without_a_sure_mask_labels_stay(options):
    labels, scores = _ring()
    assert _refine(labels, scores, **options).equal(labels)


def test_sizes_of_prompts_and_masks():
    assert resized((333, 500), 1024) == (682, 1024)
    assert to_multiples(np.zeros((333, 500, 3), np.uint8)).shape == (336, 512, 3)
    prompts = Prompts(torch.tensor([[0.0, 10, 20, 40]]), torch.tensor([[249.0, 0]]))
    points, boxes = to_sam(prompts, (166, 250))
    height = 680 / 166  # 1024 · 166 / 250, rounded
    torch.testing.assert_close(points, torch.tensor([[249 * 1024 / 250, 0]]))
    torch.testing.assert_close(boxes[0, 3], torch.tensor(40 * height))
    assert enlarge(torch.zeros(256, 256), (672, 1024), (333, 500)).shape == (333, 500)


@pytest.mark.parametrize(
    'options', [dict(coarse_thresh=2), dict(iou_thresh=-1), dict(minimal_area=-1)], ids=str
)
def test_bad_values(options):
    with pytest.raises(InputError, match='model.postprocess'):
        SAMRefinement(**options)
