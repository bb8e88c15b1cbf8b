import math
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import build_model, load_config, load_images, run_test, seeded_clip
from PIL import Image
from scipy.sparse.csgraph import connected_components

from sclip_mmseg import InputError
from sclip_mmseg.datasets import load_queries
from sclip_mmseg.models import CLIPImageEncoder, View
from sclip_mmseg.models.methods import CorrCLIP
from sclip_mmseg.models.methods.corrclip import merge_regions
from sclip_mmseg.towers import load_image_tower, resolve_clip
from sclip_mmseg.towers.checkpoint import CLIPS
from sclip_mmseg.towers.repository import Published
from sclip_mmseg.utils.files import sha256_of

METHOD = dict(type='CorrCLIP', blocks=(2, 3))


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    """Path of a seeded CLIP of 5 blocks."""
    path = tmp_path_factory.mktemp('weights') / 'clip.pt'
    torch.save(seeded_clip(layers=5), path)
    return str(path)


def _encoder(clip, dino, device='cpu', method=METHOD, **options):
    return CLIPImageEncoder(clip, method, dict(checkpoint=dino), **options).to(device)


def _view(device, size=(64, 96), counts=(5, 2), seed=0):
    """Images of blocks of regions, so many in each."""
    torch.manual_seed(seed)
    blocks = torch.stack([torch.randint(count, (4, 6)) * 7 + 3 for count in counts])
    regions = F.interpolate(blocks[:, None].float(), size)[:, 0].long()
    return View(torch.randn(len(counts), 3, *size).to(device), regions.to(device))


def _single(view, index):
    return View(view.images[index : index + 1], view.regions[index : index + 1])


def _merged_by_hand(ids, features, distance):
    names = sorted(set(ids.tolist()))
    if len(names) <= 2:
        return ids
    means = F.normalize(torch.stack([features[ids == name].mean(0) for name in names[1:]]), dim=-1)
    cosines = means @ means.T
    _, groups = connected_components((cosines.max() - cosines <= distance).cpu().numpy())
    table = dict(zip(names[1:], (10000 + groups).tolist()))
    return torch.tensor([table.get(name, name) for name in ids.tolist()], device=ids.device)


@pytest.mark.parametrize('distance', [0.0, 0.05, 0.2, 1.0])
def test_merging_equals_connected_components(distance, device):
    torch.manual_seed(0)
    ids = torch.stack([torch.randint(count, (60,)) * 3 + 5 for count in (1, 2, 3, 9, 20)])
    groups = torch.randn(5, 16)[torch.randint(5, (70,))]
    features = F.normalize(groups[ids] + 0.3 * torch.randn(5, 60, 16), dim=-1)
    ids, features = ids.to(device), features.to(device)
    merged = merge_regions(ids, features, distance)
    for index in range(len(ids)):
        expected = _merged_by_hand(ids[index], features[index], distance)
        found = merged[index]
        assert (found[:, None] == found).equal(expected[:, None] == expected)
        assert (found == 0).equal(expected == expected.min())


def test_chains_are_merged(device):
    angles = torch.arange(9, device=device) * 0.5  # of neighbours, cos 0.5 = 0.88
    features = torch.stack([angles.cos(), angles.sin()], 1)[None]
    ids = torch.arange(9, device=device)[None]
    assert merge_regions(ids, features, 0.2)[0].tolist() == [0] + [1] * 8
    assert merge_regions(ids, features, 0.1)[0].tolist() == list(range(9))


def test_scope(device):
    # Patches 0 and 1 are in no region. Similarities are 1 or 0, the mean lies between.
    features = F.one_hot(torch.tensor([[0, 1, 0, 1, 1, 0]], device=device)).float()
    regions = torch.tensor([[0, 0, 1, 1, 2, 2]], device=device)
    weights = CorrCLIP().weights(features, regions)[0]
    allowed = torch.tensor(
        [
            [1, 0, 1, 0, 0, 1],
            [0, 1, 0, 1, 1, 0],
            [1, 0, 1, 1, 0, 0],
            [0, 1, 1, 1, 0, 0],
            [0, 1, 0, 0, 1, 1],
            [1, 0, 0, 0, 1, 1],
        ],
        device=device,
    )
    assert (weights > 0).equal(allowed > 0)
    torch.testing.assert_close(weights.sum(-1), torch.ones(6, device=device))
    e4 = math.exp(4)
    expected = torch.tensor([0, e4, 1, e4], device=device) / (2 * e4 + 1)
    torch.testing.assert_close(weights[3, :4], expected)


def test_a_uniform_window_is_finite(clip, dino_path, device):
    features = torch.ones(1, 6, 4, device=device) / 2
    regions = torch.zeros(1, 64, 64, dtype=torch.int64, device=device)
    weights = CorrCLIP().weights(features, regions[:, 0, :6])
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 6, device=device))
    view = View(torch.zeros(1, 3, 64, 64, device=device), regions)
    assert _encoder(clip, dino_path, device).features(view, None).isfinite().all()


def _by_hand(encoder, view):
    """Features of one image: all tokens in one sequence, with one mask."""
    tower, proxy, method = encoder.tower, encoder.proxy, encoder.method
    fine = F.normalize(proxy.queries_and_keys(view.images)[0], dim=-1)
    rows, columns = fine.shape[:2]
    fine = fine.flatten(0, 1)
    small = F.interpolate(view.regions[None].float(), (rows, columns))[0, 0].long()
    ids = _merged_by_hand(small.flatten(), fine, method.merge_distance)
    similarity = fine @ fine.T
    near = similarity > similarity.mean()
    low = ids == ids.min()
    same = (ids[:, None] == ids) & ~low
    allowed = same | (near & (low[:, None] | low))
    weights = (4 * similarity).masked_fill(~allowed, -float('inf')).softmax(-1)

    x, grid = tower.embed(view.images)
    cells = F.interpolate(ids.view(1, 1, rows, columns).float(), grid)[0, 0].long().flatten()
    names = cells.unique()
    copies = len(names)
    length = copies + x.shape[1]
    mask = torch.zeros(length, length, dtype=torch.bool, device=x.device)
    mask[:, copies] = True
    mask[copies:, copies:] = True
    mask[:copies, copies + 1 :] = names[:, None] == cells
    x = torch.cat([x[:, :1].expand(-1, copies, -1), x], 1)
    outputs = []
    for block in tower.blocks:
        outputs.append(x := block(x, mask))
    last = tower.blocks[-1]

    def branch(tokens):
        value = last.project(last.norm1(tokens[:, copies + 1 :]))[2][0].transpose(0, 1).flatten(1)
        value = F.interpolate(value.T.reshape(1, -1, *grid), (rows, columns), mode='bilinear')[0]
        return tower.norm(last.out(weights @ value.flatten(1).T))

    main, spatial = branch(outputs[-2]), branch((outputs[1] + outputs[2]) / 2)
    coarse = outputs[-1][0, :copies][torch.searchsorted(names, cells)]
    coarse = F.interpolate(coarse.T.reshape(1, -1, *grid), (rows, columns))[0].flatten(1).T
    features = (main + spatial + 0.5 * tower.norm(coarse)) @ tower.proj
    return F.normalize(features, dim=-1).unflatten(0, (rows, columns))


@pytest.mark.parametrize('size', [(64, 96), (96, 96), (70, 100)])
@pytest.mark.parametrize('count', [1, 2, 6])
def test_equals_one_masked_sequence(clip, dino_path, size, count, device):
    encoder, view = _encoder(clip, dino_path, device), _view(device, size, (count,))
    found = encoder.features(view, None)[0]
    torch.testing.assert_close(found, _by_hand(encoder, view), rtol=0, atol=1e-4)


def test_a_batch_is_its_images(clip, dino_path, device):
    encoder, view = _encoder(clip, dino_path, device), _view(device, counts=(1, 8, 3, 2))
    alone = torch.cat([encoder.features(_single(view, i), None) for i in range(4)])
    torch.testing.assert_close(encoder.features(view, None), alone, rtol=0, atol=1e-4)


@pytest.mark.parametrize('precision, tolerance', [('fp16', 0.05), ('bf16', 0.3)])
def test_lower_precision_stays_close(clip, dino_path, precision, tolerance, device):
    view = _view(device, counts=(4, 3))
    exact = _encoder(clip, dino_path, device).features(view, None)
    rough = _encoder(clip, dino_path, device, precision=precision).features(view, None)
    # A pair near the mean may fall either way.
    assert (rough - exact).abs().mean() < tolerance / 10
    assert (rough - exact).abs().max() < tolerance


def test_each_branch_counts(clip, dino_path, device):
    view = _view(device)
    whole = _encoder(clip, dino_path, device).features(view, None)
    for branch in ('spatial', 'semantic'):
        method = {**METHOD, branch: 0.0}
        other = _encoder(clip, dino_path, device, method=method).features(view, None)
        assert (other - whole).abs().max() > 1e-2


@pytest.mark.parametrize(
    'depth, blocks', [(12, (6, 10)), (24, (11, 22)), (32, (3, 30)), (6, (3, 4))]
)
def test_averaged_blocks(depth, blocks):
    assert CorrCLIP()._averaged(depth) == list(range(blocks[0], blocks[1] + 1))


def test_bad_arguments(clip, clip_path, dino_path):
    with pytest.raises(InputError, match='method.semantic=-1 must not be negative'):
        CorrCLIP(semantic=-1)
    for path, blocks in ((clip_path, None), (clip, (5,)), (clip, (0, 1)), (clip, ())):
        with pytest.raises(InputError, match='cannot average the blocks'):
            _encoder(path, dino_path, method=dict(type='CorrCLIP', blocks=blocks))
    with pytest.raises(InputError, match='CorrCLIP needs model.image_encoder.proxy'):
        CLIPImageEncoder(clip, METHOD)
    with pytest.raises(InputError, match='CorrCLIP needs the regions of each image'):
        _encoder(clip, dino_path).features(View(torch.zeros(1, 3, 32, 32)), None)


def test_metaclip_by_name(clip, tmp_path, monkeypatch):
    monkeypatch.setenv('SCLIP_DOWNLOAD_ROOT', str(tmp_path))
    shutil.copy(clip, tmp_path / 'b16.pt')
    published = Published('https://example.org/b16.pt', sha256_of(tmp_path / 'b16.pt'))
    monkeypatch.setitem(CLIPS, 'MetaCLIP-B/16', published)
    assert resolve_clip('MetaCLIP-B/16') == tmp_path / 'b16.pt'
    # OpenAI's are rounded to float16, in which these are not published.
    kept, rounded = load_image_tower('MetaCLIP-B/16').proj, load_image_tower(clip).proj
    assert kept.equal(torch.load(clip)['visual.proj'])
    assert not rounded.equal(kept)


# short side, crop, prob_thd, region maps, and which methods have query lists of their own
PUBLISHED = {
    'voc21': (336, 336, 0.2, 'voc', 'both'),
    'voc20': (336, 336, 0, 'voc', 'both'),
    'context60': (336, 336, 0.15, 'context', 'corrclip'),
    'context59': (336, 336, 0, 'context', 'corrclip'),
    'coco_object': (336, 336, 0.25, 'coco', 'both'),
    'coco_stuff164k': (336, 336, 0, 'coco', 'corrclip'),
    'cityscapes': (448, 224, 0, 'city', 'corrclip'),
    'ade20k': (448, 336, 0, 'ade', 'corrclip'),
}


@pytest.mark.parametrize('method', ['proxyclip-dino-b8', 'corrclip'])
@pytest.mark.parametrize('benchmark', PUBLISHED)
def test_configs_hold_the_published_values(method, benchmark):
    side, crop, prob_thd, folder, own = PUBLISHED[benchmark]
    cfg = load_config(f'{method}_vit-b16_{benchmark}')
    assert cfg.model.test_cfg == dict(
        mode='slide',
        crop_size=(crop, crop),
        stride=(112, 112),
        pad_multiple=56,
        logit_scale=40.0,
        prob_thd=prob_thd,
        area_thd=None,
    )
    assert cfg.test_dataloader.dataset.pipeline == cfg.test_pipeline
    assert cfg.test_pipeline[1].scale == (2048, side)
    assert cfg.tta_pipeline[1].transforms[0][0].scale == (2048, side)
    queries = benchmark.replace('164k', '')
    name = method.partition('-')[0]
    assert cfg.model.text_head.queries == (f'{name}_' if own in ('both', name) else '') + queries
    assert cfg.model.image_encoder.proxy == dict(checkpoint='dino_vitb8')
    if method == 'corrclip':
        assert cfg.model.region_masks.endswith(f'/data/region_masks/{folder}/{{stem}}.npz')


@pytest.mark.parametrize(
    'name, queries',
    [
        *(('corrclip_voc20', 20), ('corrclip_voc21', 46), ('corrclip_context59', 59)),
        *(('corrclip_context60', 60), ('corrclip_coco_object', 96), ('corrclip_coco_stuff', 171)),
        *(('corrclip_ade20k', 150), ('corrclip_cityscapes', 19)),
        *(('proxyclip_voc20', 20), ('proxyclip_voc21', 46), ('proxyclip_coco_object', 97)),
    ],
)
def test_query_lists(name, queries):
    query_set = load_queries(name)
    assert len(query_set.queries) == queries
    plain = load_queries(name.partition('_')[2])
    assert query_set.class_names == plain.class_names
    changed = {
        class_name
        for class_name, ours, other in zip(plain.class_names, query_set.by_class, plain.by_class)
        if ours != other
    }
    assert changed <= {'background', 'person', 'tvmonitor'}


@pytest.fixture
def config(clip, dino_path, voc_root, monkeypatch):
    """A config of small windows, and maps of the made-up images."""
    (voc_root / 'region_masks/voc').mkdir(parents=True)
    rng = np.random.default_rng(0)
    for path in sorted((voc_root / 'VOCdevkit/VOC2012/JPEGImages').iterdir()):
        blocks = Image.fromarray(rng.integers(0, 5, (4, 5), dtype=np.uint8))
        ids = np.asarray(blocks.resize(Image.open(path).size, Image.NEAREST))
        np.savez(voc_root / f'region_masks/voc/{path.stem}.npz', instance_mask=ids)
    monkeypatch.setenv('SCLIP_DATA_ROOT', str(voc_root))
    cfg = load_config('corrclip_vit-b16_voc20', clip)
    cfg.model.image_encoder.proxy.checkpoint = dino_path
    cfg.model.image_encoder.method.blocks = (2, 3)
    cfg.model.test_cfg.update(crop_size=(96, 96), stride=(48, 48), pad_multiple=16)
    cfg.test_pipeline[1].scale = (2048, 96)
    cfg.test_dataloader.dataset.pipeline = cfg.test_pipeline
    return cfg


@pytest.fixture
def paths(voc_root):
    return sorted((voc_root / 'VOCdevkit/VOC2012/JPEGImages').iterdir())


def test_batches_of_unequal_images(config, paths, device):
    model = build_model(config, device)
    together = model.test_step(load_images(config, paths))
    for path, sample in zip(paths, together):
        [alone] = model.test_step(load_images(config, [path]))
        # A pair of patches near the mean may fall either way, which a neighbour hardly sees.
        torch.testing.assert_close(sample.seg_logits.data, alone.seg_logits.data, rtol=0, atol=1e-3)
        assert (sample.pred_sem_seg.data == alone.pred_sem_seg.data).float().mean() > 0.99


def test_regions_are_flipped_with_the_image(config, paths, device):
    config.model.test_cfg.window_batch = 1
    model = build_model(config, device)
    seen = []
    encode = model._encode
    model._encode = lambda view: seen.append(view) or encode(view)
    data = load_images(config, paths[:1])
    model.test_step(data)
    data = load_images(config, paths[:1])
    data['inputs'] = [data['inputs'][0].flip(-1)]
    data['data_samples'][0].set_metainfo(dict(flip=True, flip_direction='horizontal'))
    model.test_step(data)
    straight, flipped = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    assert len(straight) == 2  # windows that lie at the two ends of the image
    for one, other in zip(straight, reversed(flipped)):
        assert one.images.equal(other.images.flip(-1))
        assert one.regions.equal(other.regions.flip(-1))


def _write(config, folder):
    path = folder / 'config.py'
    path.write_text('\n'.join(f'{key} = {value!r}' for key, value in config.to_dict().items()))
    return path


def test_the_tool_asks_for_all_maps_before_work(config, voc_root, tmp_path):
    (voc_root / 'region_masks/voc/image_1.npz').unlink()
    path = _write(config, tmp_path)
    output = run_test(path, cwd=tmp_path, check=False).stdout
    assert 'error: 1 of 3 region maps do not exist, the first is' in output
    assert 'image_1.npz' in output and 'dk258/CorrCLIP' in output
    assert 'Traceback' not in output and 'Encoding' not in output


def test_the_tool_evaluates_and_averages_views(config, tmp_path):
    path = _write(config, tmp_path)
    plain = run_test(path, cwd=tmp_path).stdout
    assert 'mIoU' in plain and 'Traceback' not in plain
    views = run_test(path, '--tta', cwd=tmp_path).stdout
    assert 'mIoU' in views and 'Traceback' not in views
