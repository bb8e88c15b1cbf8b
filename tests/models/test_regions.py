import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import build_model, load_config, load_images, metrics, run_test
from mmseg.structures import SegDataSample
from PIL import Image

from sclip_mmseg import InputError
from sclip_mmseg.datasets.checks import load_dataset
from sclip_mmseg.evaluation import list_changes, make_fingerprint
from sclip_mmseg.models import PLAIN_DICTS
from sclip_mmseg.regions import Felzenszwalb, RegionFiles, majority_labels, rank_ids, resize_nearest
from sclip_mmseg.utils.spelling import check_config


def _by_hand(labels, regions):
    result = labels.clone()
    for region in regions.unique():
        if region != regions.min():
            inside = regions == region
            counts = torch.bincount(labels[inside])
            result[inside] = int(counts.argmax())
    return result


@pytest.mark.parametrize('first', [0, 7, -3])
def test_majority_equals_a_loop_over_regions(first, device):
    torch.manual_seed(0)
    for _ in range(20):
        regions = torch.randint(6, (9, 11)).mul(5).add(first)
        labels = torch.randint(4, (9, 11))
        found = majority_labels(labels.to(device), regions.to(device))
        torch.testing.assert_close(found, _by_hand(labels, regions).to(device))


def test_a_tie_goes_to_the_smallest_label(device):
    regions = torch.tensor([[0, 1, 1, 1, 1, 2]], device=device)
    labels = torch.tensor([[9, 5, 3, 5, 3, 8]], device=device)
    assert majority_labels(labels, regions).tolist() == [[9, 3, 3, 3, 3, 8]]


def test_a_single_region_changes_nothing(device):
    labels = torch.randint(4, (5, 6)).to(device)
    assert majority_labels(labels, torch.full_like(labels, 3)).equal(labels)


def test_ranks(device):
    ids = torch.tensor([[5, 5, -2, 9, 5], [10**18, 1, 1, 2**53 + 1, 2**53]], device=device)
    assert rank_ids(ids).tolist() == [[1, 1, 0, 2, 1], [3, 0, 0, 2, 1]]


@pytest.mark.parametrize('size', [(3, 4), (7, 9), (20, 50), (1, 1)])
def test_nearest_is_pytorch_s(size, device):
    ids = torch.randint(1000, (2, 7, 9)).to(device)
    expected = F.interpolate(ids.float()[:, None], size, mode='nearest')[:, 0].long()
    assert resize_nearest(ids, size).equal(expected)


def test_ids_that_float32_does_not_hold(device):
    ids = torch.tensor([[2**24, 2**24 + 1]], device=device)
    assert resize_nearest(ids, (1, 4)).tolist() == [[2**24, 2**24, 2**24 + 1, 2**24 + 1]]


def _save(path, ids):
    if path.suffix == '.npz':
        np.savez(path, instance_mask=ids)
    else:
        Image.fromarray(ids).save(path)


@pytest.mark.parametrize(
    'suffix, dtype',
    [('.npz', np.uint8), ('.npz', np.int64), ('.png', np.uint8), ('.png', np.uint16)],
)
def test_files(tmp_path, suffix, dtype):
    ids = (np.arange(12).reshape(3, 4) * 21).astype(dtype)
    _save(tmp_path / f'image.1{suffix}', ids)
    files = RegionFiles(f'{tmp_path}/{{stem}}{suffix}')
    found = files.load('elsewhere/image.1.jpg', (3, 4))
    assert found.dtype == torch.int64
    assert found.tolist() == ids.tolist()


def test_a_pattern_without_a_name():
    with pytest.raises(InputError, match=r"region_masks='masks/1.npz' must be a path with \{stem"):
        RegionFiles('masks/1.npz')


@pytest.mark.parametrize(
    'name, make, message',
    [
        ('a.npz', lambda p: None, r'a\.npz of a\.jpg does not exist'),
        (
            'a.npz',
            lambda p: _save(p, np.zeros((4, 3), int)),
            r'a\.npz has shape \(4, 3\), .* \(3, 4\)',
        ),
        (
            'a.npz',
            lambda p: _save(p, np.zeros((3, 4))),
            r'a\.npz contains float64, expected integers',
        ),
        ('a.npz', lambda p: _save(p, np.zeros((3, 4), object)), r'a\.npz cannot be read'),
        ('a.npz', lambda p: np.savez(p, ids=1), r"a\.npz has no array 'instance_mask'"),
        ('a.npz', lambda p: p.write_bytes(b'no map'), r'a\.npz is not an .npz file'),
        ('a.npz', lambda p: p.write_bytes(b''), r'a\.npz is not .*, but empty'),
        ('a.png', lambda p: p.write_bytes(b'no map'), r'a\.png cannot be read'),
        (
            'a.png',
            lambda p: _save(p, np.zeros((3, 4, 3), np.uint8)),
            r'a\.png has shape \(3, 4, 3\)',
        ),
    ],
)
def test_bad_files(tmp_path, name, make, message):
    make(tmp_path / name)
    with pytest.raises(InputError, match=message):
        RegionFiles(str(tmp_path / '{stem}') + name[1:]).load('a.jpg', (3, 4))


def test_missing_files_are_counted(tmp_path):
    (tmp_path / 'b.npz').touch()
    files = RegionFiles(f'{tmp_path}/{{stem}}.npz')
    with pytest.raises(InputError, match=r'2 of 3 region maps do not exist, the first is .*a\.npz'):
        files.check(['x/a.jpg', 'x/b.jpg', 'x/c.jpg'])
    files.check(['b.jpg'])


@pytest.fixture
def masks(voc_root):
    """Write maps of the made-up images; return their pattern."""
    (voc_root / 'masks').mkdir()
    rng = np.random.default_rng(0)
    for path in sorted((voc_root / 'VOCdevkit/VOC2012/JPEGImages').iterdir()):
        width, height = Image.open(path).size
        blocks = rng.integers(0, 5, (4, 5), dtype=np.uint8)
        ids = Image.fromarray(blocks).resize((width, height), Image.NEAREST)
        np.savez(voc_root / f'masks/{path.stem}.npz', instance_mask=np.asarray(ids))
    return f'{voc_root}/masks/{{stem}}.npz'


def _config(clip, masks, **options):
    majority = {'model.postprocess': dict(type='RegionMajority'), 'model.region_masks': masks}
    return load_config('sclip_vit-b16_voc20', clip, **majority, **options)


def test_correction_with_any_method(clip_path, voc_root, masks, device):
    paths = sorted((voc_root / 'VOCdevkit/VOC2012/JPEGImages').iterdir())
    cfg = _config(clip_path, masks)
    corrected = build_model(cfg, device).test_step(load_images(cfg, paths))
    plain = build_model(load_config('sclip_vit-b16_voc20', clip_path), device)
    for path, after, before in zip(paths, corrected, plain.test_step(load_images(cfg, paths))):
        regions = RegionFiles(masks).load(path, after.ori_shape)
        labels = before.pred_sem_seg.data[0]
        expected = _by_hand(labels, regions.to(device))
        assert after.pred_sem_seg.data[0].equal(expected)
        assert not after.pred_sem_seg.data[0].equal(labels)
        torch.testing.assert_close(after.seg_logits.data, before.seg_logits.data)


def test_correction_of_the_mean_of_views(clip_path, voc_root, masks, device):
    from mmengine.dataset import Compose, pseudo_collate
    from mmseg.registry import MODELS

    path = str(min((voc_root / 'VOCdevkit/VOC2012/JPEGImages').iterdir()))
    cfg = _config(clip_path, masks)
    steps = cfg.tta_pipeline
    steps[1].transforms = [step for step in steps[1].transforms if 'Annotations' not in str(step)]
    data = pseudo_collate([Compose(steps)(dict(img_path=path))])

    def predict(model):
        model = MODELS.build(dict(type='CLIPTTAModel', module=model)).to(device).eval()
        [result] = model.test_step(data)
        return result.pred_sem_seg.data[0]

    plain = cfg.model.copy()
    plain.update(postprocess=None, region_masks=None)
    regions = RegionFiles(masks).load(path, (90, 120)).to(device)
    assert predict(cfg.model).equal(_by_hand(predict(plain), regions))


def test_maps_and_their_use_belong_together(clip_path):
    with pytest.raises(InputError, match='postprocess needs region maps: set model.region_masks'):
        majority = {'model.postprocess': dict(type='RegionMajority')}
        build_model(load_config('sclip_vit-b16_voc20', clip_path, **majority))
    with pytest.raises(InputError, match='region_masks is not used by this method'):
        masks = {'model.region_masks': '{stem}.npz'}
        build_model(load_config('sclip_vit-b16_voc20', clip_path, **masks))


def test_an_image_without_a_name(clip_path, masks):
    model = build_model(_config(clip_path, masks))
    with pytest.raises(InputError, match="found by the image's name: segment an image from a file"):
        model.predict(torch.zeros(1, 3, 64, 64))


def test_regions_made_of_the_image(clip_path, voc_root, device):
    paths = sorted((voc_root / 'VOCdevkit/VOC2012/JPEGImages').iterdir())
    cfg = _config(clip_path, dict(type='Felzenszwalb', scale=300))
    corrected = build_model(cfg, device).test_step(load_images(cfg, paths))
    plain = build_model(load_config('sclip_vit-b16_voc20', clip_path), device)
    changed = 0
    for path, after, before in zip(paths, corrected, plain.test_step(load_images(cfg, paths))):
        regions = torch.from_numpy(Felzenszwalb(scale=300)(np.array(Image.open(path))))
        labels = before.pred_sem_seg.data[0]
        expected = _by_hand(labels, regions.to(device))
        assert after.pred_sem_seg.data[0].equal(expected)
        changed += int((after.pred_sem_seg.data[0] != labels).sum())
    assert changed


def test_an_evaluation_makes_regions_as_it_goes(clip_path, voc_root, tmp_path):
    options = ['model.region_masks.type=Felzenszwalb', 'model.postprocess.type=RegionMajority']
    arguments = [clip_path, '--work-dir', tmp_path / 'work', '--cfg-options', *options]
    output = run_test('sclip_vit-b16_voc20', *arguments, data_root=voc_root).stdout
    assert metrics(output)['aAcc'] >= 0


def test_regions_of_the_metadata_come_first(clip_path, device):
    model = build_model(_config(clip_path, '{stem}.npz'), device)
    regions = np.arange(64 * 64, dtype=np.int32).reshape(64, 64) // 1000
    sample = SegDataSample(metainfo=dict(regions=regions, img_path='absent.jpg'))
    [result] = model.predict(torch.randn(1, 3, 64, 64).to(device), [sample])
    labels = result.pred_sem_seg.data[0].cpu()
    for region in (1, 2, 3, 4):
        assert len(labels[torch.from_numpy(regions) == region].unique()) == 1
    for wrong, message in (
        (regions[:9], r'has shape \(9, 64\), its image \(64, 64\)'),
        (regions * 0.5, 'contains'),
    ):
        sample = SegDataSample(metainfo=dict(regions=wrong))
        with pytest.raises(InputError, match=f'the region map {message}'):
            model.predict(torch.randn(1, 3, 64, 64).to(device), [sample])


def test_a_misspelt_generator(clip_path):
    for config, message in (
        (dict(type='Felsenszwalb'), "region_masks.type='Felsenszwalb' is not registered.*Felzensz"),
        (dict(type='Felzenszwalb', skale=3), "region_masks.skale: .* no 'skale'.*'scale'"),
    ):
        with pytest.raises(InputError, match=message):
            check_config(_config(clip_path, config), PLAIN_DICTS)


def test_maps_count_by_names_and_sizes(clip_path, voc_root, masks, monkeypatch):
    monkeypatch.setenv('SCLIP_DATA_ROOT', str(voc_root))

    def settings(pattern):
        cfg = _config(clip_path, pattern)
        return make_fingerprint(cfg, load_dataset(cfg.test_dataloader.dataset))

    before = settings(masks)
    moved = voc_root / 'moved'
    (voc_root / 'masks').rename(moved)
    assert list_changes(before, settings(f'{moved}/{{stem}}.npz')) == ([], [])
    with open(moved / 'image_1.npz', 'ab') as file:
        file.write(b'more')
    [change], _ = list_changes(before, settings(f'{moved}/{{stem}}.npz'))
    assert change.startswith('regions was')
    with pytest.raises(InputError, match='3 of 3 region maps do not exist'):
        settings(masks)


def test_generators_count_by_their_values(clip_path, voc_root, monkeypatch):
    monkeypatch.setenv('SCLIP_DATA_ROOT', str(voc_root))

    def settings(**options):
        cfg = _config(clip_path, dict(type='Felzenszwalb', **options))
        return make_fingerprint(cfg, load_dataset(cfg.test_dataloader.dataset))

    changes, _ = list_changes(settings(scale=100), settings(scale=200))
    assert changes == ['regions.scale was 100, is 200']


def test_hostile_region_maps(shared, tmp_path):
    source = shared / 'cases/attack/npz/BAD_region_1.bin'
    (tmp_path / 'a.npz').write_bytes(source.read_bytes())
    with pytest.raises(InputError, match=r'a\.npz cannot be read'):
        RegionFiles(str(tmp_path / '{stem}.npz')).load('a.jpg', (3, 4))
