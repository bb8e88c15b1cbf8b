"""Memory banks: built, extended, resumed, used and refused."""

import json
import shutil
import struct
import sys

import numpy as np
import pytest
import torch
from helpers import call_tool, seeded_clip, seeded_dino
from paths import ROOT
from PIL import Image

from sclip_mmseg import InputError, apis
from sclip_mmseg.apis import bank as banks
from sclip_mmseg.apis.bank import build_bank
from sclip_mmseg.memory import (
    Bank,
    MemoryCfg,
    bank_regions,
    find_neighbours,
    flat_index,
    ivf_index,
    open_bank,
)
from sclip_mmseg.memory import bank as memory_bank
from sclip_mmseg.memory.files import INFO, PARTS, read_info, read_rows, write_part
from sclip_mmseg.memory.flat_index import FlatIndex
from sclip_mmseg.memory.index_files import read_index
from sclip_mmseg.models.axes import WindowAxis
from sclip_mmseg.models.fusion import RegionCells, WindowMaps
from sclip_mmseg.sweep.maps import MapFiles

CLI = ROOT / 'sclip_mmseg/cli/__main__.py'
OPTIONS = {
    'model.test_cfg.crop_size': (64, 64),
    'model.test_cfg.stride': (32, 32),
    'test_pipeline.1.scale': (2048, 80),
}


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp('weights') / 'clip.pt'
    torch.save(seeded_clip(), path)
    return str(path)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder, random = tmp_path_factory.mktemp('images'), np.random.default_rng(0)
    for name in 'abc':
        blocks = random.integers(0, 256, (3, 4, 3), dtype=np.uint8)
        Image.fromarray(blocks).resize((96, 80), Image.NEAREST).save(folder / f'{name}.png')
    return folder


def _build(images, out, clip, method='sclip', **more):
    return build_bank(
        images, out, method, clip, **{'block': 2, 'device': 'cpu', 'cfg_options': OPTIONS, **more}
    )


@pytest.fixture(scope='module')
def bank(tmp_path_factory, clip, folder):
    out = tmp_path_factory.mktemp('banks') / 'bank'
    _build(str(folder), out, clip)
    return out


def test_it_is_extended_by_running_it_again(bank, clip, folder, tmp_path):
    out = tmp_path / 'bank'
    first = _build([folder / 'a.png'], out, clip)
    assert [name for name, *_ in first.images] == ['a.png'] and not (out / PARTS).exists()
    _build(str(folder), out, clip)
    for found, expected in zip(read_rows(out, read_info(out)), read_rows(bank, read_info(bank))):
        assert found.equal(expected)
    lengths = read_rows(bank, read_info(bank))[1].float().norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths), rtol=0, atol=1e-3)


def test_it_resumes_with_the_parts_that_are_written(bank, clip, folder, tmp_path):
    out, info = tmp_path / 'bank', read_info(bank)
    [(_, digest, count), *_] = info.images
    (out / PARTS).mkdir(parents=True)
    text = json.loads((bank / INFO).read_text())
    (out / PARTS / INFO).write_text(json.dumps({**text, 'images': []}))
    write_part(out, digest, torch.ones(count, 128), torch.ones(count, 32), torch.ones(count, 1))
    _build(str(folder), out, clip)
    keys, values, _ = read_rows(out, read_info(out))
    assert (keys[:count] == 1).all() and (values[:count] == 1).all()
    assert values[count:].equal(read_rows(bank, info)[1][count:])


def test_two_processes_make_the_same_rows(bank, clip, folder, tmp_path):
    _build(str(folder), tmp_path / 'bank', clip, processes=2)
    made = (read_rows(each, read_info(bank)) for each in (tmp_path / 'bank', bank))
    for found, expected in zip(*made):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


def test_regions_by_options(clip, folder, tmp_path):
    options = {**OPTIONS, 'model.region_masks.min_size': 2000}
    info = _build([folder / 'a.png'], tmp_path / 'bank', clip, cfg_options=options)
    assert info.regions['min_size'] == 2000 and info.count < 25  # of 224 × 269 pixels
    model = _segmentor(clip, bank=str(tmp_path / 'bank'))
    assert model.regions.generator.options['min_size'] == 2000


def test_the_model_is_built_before_the_progress_bar(clip, folder, tmp_path, monkeypatch):
    def map_in_processes(function, items, *args, **progress):
        assert banks._KEPT[0].built
        return [function(item) for item in items]

    monkeypatch.setattr(banks, '_KEPT', [])
    monkeypatch.setattr(banks, 'map_in_processes', map_in_processes)
    _build([folder / 'a.png'], tmp_path / 'bank', clip)


def test_damaged_images_are_skipped(clip, folder, tmp_path):
    (tmp_path / 'bad.png').write_text('no image')
    with pytest.warns(UserWarning, match=r'1 of 2 images are not in the bank: .*bad\.png'):
        info = _build([tmp_path / 'bad.png', folder / 'a.png'], tmp_path / 'bank', clip)
    assert [name for name, *_ in info.images] == ['a.png']


def test_regions_of_a_folder(clip, folder, tmp_path):
    ids = np.zeros((80, 96), np.int16)
    ids[:40], ids[40:, :8] = 7, -2
    masks = np.zeros((2, 80, 96), bool)
    masks[0, :40], masks[1, 20:] = True, True
    (tmp_path / 'maps').mkdir()
    np.savez(tmp_path / 'maps/a.npz', instance_mask=ids)
    np.savez(tmp_path / 'maps/b.npz', instance_mask=masks)
    with pytest.warns(UserWarning, match=r'1 of 3 images have no region map'):
        info = _build([folder], tmp_path / 'bank', clip, regions=str(tmp_path / 'maps'))
    assert [count for *_, count in info.images] == [2, 2] and info.regions is None
    assert bank_regions(dict(bank=str(tmp_path / 'bank')))['short_side'] == 224
    areas = read_rows(tmp_path / 'bank', info)[2]
    np.testing.assert_allclose(areas[:, 0], [320 / 7680, 1 / 2, 1 / 2, 3 / 4], atol=1e-3)


def test_what_is_wrong_with_the_model_ends_at_once(folder, tmp_path):
    path = tmp_path / 'clip.pt'
    tower = {key: value for key, value in seeded_clip().items() if key.startswith('visual.')}
    torch.save(tower, path)
    with pytest.raises(InputError, match='has no text tower'):
        _build([folder], tmp_path / 'bank', str(path))


def test_a_block_that_is_not_there_can_be_corrected(clip, folder, tmp_path):
    with pytest.raises(InputError, match=r'blocks 1 to \d before the last, choose one of them'):
        _build([folder], tmp_path / 'bank', clip, block=8)
    info = _build([folder / 'a.png'], tmp_path / 'bank', clip, block=None)
    assert info.count and info.made_by['keys'] == dict(block=2)  # of 3


def test_another_model_or_setting_is_refused(bank, clip, folder):
    with pytest.raises(InputError, match=r'built with another model, whose method was'):
        _build([folder], bank, clip, 'clearclip')
    with pytest.raises(InputError, match='settings was'):
        _build([folder], bank, clip, cfg_options={**OPTIONS, 'model.test_cfg.stride': (64, 64)})
    with pytest.raises(InputError, match='whose keys was'):
        _build([folder], bank, clip, block=1)
    with pytest.raises(InputError, match='holds something else'):
        _build([folder], folder, clip)
    with pytest.raises(InputError, match='the features of ResCLIP depend on the classes'):
        _build([folder], bank.parent / 'x', clip, 'resclip-sclip')


def _segmentor(path, method='sclip', **memory):
    options = {f'model.memory.{key}': value for key, value in memory.items()}
    return apis.build_segmentor(
        ['sky', 'grass'], False, method, path, 'cpu', {**OPTIONS, **options}
    )


def test_scores_are_the_means_of_both(bank, clip, folder):
    own, mixed, found = (
        _segmentor(clip, **memory)
        for memory in ({}, dict(bank=str(bank)), dict(bank=str(bank), weight=1.0))
    )
    scores = [apis.segment(model, folder / 'a.png').scores for model in (own, mixed, found)]
    logits = [np.log(each[0] / each[1]) for each in scores]
    np.testing.assert_allclose(logits[1], (logits[0] + logits[2]) / 2, atol=1e-4)
    assert np.abs(logits[0] - logits[2]).max() > 0.01
    none = _segmentor(clip, bank=str(bank), weight=0.0)
    np.testing.assert_allclose(
        apis.segment(none, folder / 'a.png').scores, scores[0], rtol=0, atol=1e-6
    )


def test_a_second_clip(bank, clip, folder, tmp_path):
    second, only, both = str(tmp_path / 'second.pt'), tmp_path / 'only', tmp_path / 'both'
    torch.save(seeded_clip(1, embed_dim=48), second)
    _build([folder], only, second)
    info = _build([folder], both, clip, second_clip=second)
    *first, values = read_rows(both, info)
    assert all(a.equal(b) for a, b in zip(first, read_rows(bank, read_info(bank)), strict=True))
    assert values.equal(read_rows(only, read_info(only))[1])
    models = [_segmentor(clip, bank=str(both), clip=each) for each in (None, second)]
    scores = [apis.segment(model, folder / 'a.png').scores for model in models]
    assert np.abs(scores[0] - scores[1]).max() > 0.01
    one, two = models[1].text_head.embeddings, models[1].memory.second
    found = models[1].memory.bank
    alone = [Bank([each], found.index) for each in found.values]
    queries = torch.nn.functional.normalize(first[0][:9].float(), dim=1)
    expected = [find_neighbours(*each, 5) for each in zip(alone, [queries] * 2, [[one], [two]])]
    actual = find_neighbours(found, queries, [one, two], 5)
    torch.testing.assert_close(actual, (expected[0] + expected[1]) / 2)
    with pytest.raises(InputError, match='has no features of a second CLIP'):
        _segmentor(clip, bank=str(bank), clip=second)
    torch.save(seeded_clip(2, embed_dim=48), second)
    with pytest.raises(InputError, match='whose second was'):
        _segmentor(clip, bank=str(both), clip=second)


def test_a_region_finds_itself(bank, clip, folder):
    model = _segmentor(clip, bank=str(bank), weight=1.0, neighbours=1)
    rows = []
    search = model.memory.index.search
    model.memory.index.search = lambda *args: rows.append(search(*args)) or rows[0]
    apis.segment(model, folder / 'a.png')
    keys, count = read_rows(bank, read_info(bank))[0], read_info(bank).images[0][2]
    assert keys[rows[0].flatten()].equal(keys[:count])  # regions of one patch are alike


def test_centred_scores_lack_those_of_the_mean_of_the_bank():
    random = torch.Generator().manual_seed(0)
    keys, values, texts = (torch.randn(9, 4, generator=random) for _ in range(3))
    bank = Bank([values], FlatIndex(keys))
    plain, centred = (find_neighbours(bank, keys, [texts], 3, each) for each in (False, True))
    expected = (values.mean(0) @ texts.T).expand(9, -1)
    torch.testing.assert_close(plain - centred, expected)


def test_the_mean_of_the_bank_is_that_of_pixels(monkeypatch):
    monkeypatch.setattr(memory_bank, '_BLOCK', 4)
    random = torch.Generator().manual_seed(0)
    values, areas = (torch.rand(9, width, generator=random).half() for width in (3, 1))
    expected = (values.float() * areas.float()).sum(0) / areas.float().sum()
    torch.testing.assert_close(Bank([values], FlatIndex(values), areas).centres, [expected])


def test_regions_without_neighbours_keep_their_own_scores(bank, clip, folder):
    model = _segmentor(clip, bank=str(bank))
    own = apis.segment(_segmentor(clip), folder / 'b.png').scores
    model.memory.index.search = lambda queries, count: torch.full((len(queries), count), -1)
    found = apis.segment(model, folder / 'b.png').scores
    np.testing.assert_allclose(found, own, rtol=0, atol=1e-6)


def test_features_that_are_not_finite(bank, clip, folder):
    model = _segmentor(clip, bank=str(bank))
    model.image_encoder.tower.blocks[0].norm1.weight.data.fill_(float('nan'))
    with pytest.raises(InputError, match='are not finite'):
        apis.segment(model, folder / 'a.png')


def test_another_method_or_clip_is_refused(bank, clip, tmp_path):
    with pytest.raises(InputError, match=r'whose method was .*SCLIP.*here .*ClearCLIP'):
        _segmentor(clip, 'clearclip', bank=str(bank))
    torch.save(seeded_clip(1), tmp_path / 'other.pt')
    with pytest.raises(InputError, match='whose clip was'):
        _segmentor(str(tmp_path / 'other.pt'), bank=str(bank))


def test_a_second_tower_may_have_moved(clip, folder, tmp_path):
    towers = [tmp_path / name for name in ('one.pth', 'two.pth', 'other.pth')]
    torch.save(seeded_dino(depth=1), towers[0])
    torch.save(seeded_dino(1, depth=1), towers[2])
    shutil.copy(towers[0], towers[1])
    out, maps = tmp_path / 'bank', tmp_path / 'maps'
    maps.mkdir()
    np.savez(maps / 'a.npz', instance_mask=np.ones((80, 96), np.int16))
    more = dict(block=None, regions=str(maps))
    _build([folder / 'a.png'], out, clip, proxy=str(towers[0]), **more)
    towers[0].unlink()
    _build([folder / 'a.png'], out, clip, proxy=str(towers[1]), **more)
    with pytest.raises(InputError, match=r'no longer at .*one\.pth.*: set model\.memory\.proxy'):
        info = json.loads((out / INFO).read_text().replace('two.pth', 'one.pth'))
        (out / INFO).write_text(json.dumps(info))
        _segmentor(clip, bank=str(out))
    assert _segmentor(clip, bank=str(out), proxy=str(towers[1])).memory.tower is not None
    with pytest.raises(InputError, match='whose keys was'):
        _segmentor(clip, bank=str(out), proxy=str(towers[2]))


@pytest.mark.parametrize(
    'memory, message',
    [
        (dict(bank='nowhere'), "model.memory.bank='nowhere' is not a folder"),
        (dict(bank='BANK', name='coco'), 'model.memory.name is for banks of CorrCLIP'),
        (dict(bank='BANK', neighbours=0), 'model.memory.neighbours=0 must be at least 1'),
        (dict(bank='BANK', weight=2), 'model.memory.weight=2 must be between 0 and 1'),
        (dict(bank='BANK', centred=1), 'model.memory.centred=1 must be True or False'),
        (dict(bank='EMPTY'), 'is not a bank of this package'),
    ],
)
def test_what_cannot_be_used(bank, clip, tmp_path, memory, message):
    memory['bank'] = {'BANK': str(bank), 'EMPTY': str(tmp_path)}.get(memory['bank'], 'nowhere')
    with pytest.raises(InputError, match=message):
        _segmentor(clip, **memory)


def test_the_commands(clip, folder, tmp_path):
    words = (
        'model.test_cfg.crop_size=64',
        'model.test_cfg.stride=32',
        'test_pipeline.1.scale=(2048,80)',
    )
    common = ['--clip', clip, '--method', 'sclip', '--device', 'cpu', '--cfg-options', *words]
    out = tmp_path / 'bank'
    result = call_tool(CLI, 'bank', 'build', folder, '--out', out, '--block', '2', *common)
    assert 'regions of 3 images' in result.stdout
    own = '--classes', 'sky; sea', '--bank', out, '--out', tmp_path / 'seg'
    result = call_tool(CLI, 'segment', folder / 'a.png', *own, *common)
    assert 'written to' in result.stdout and (tmp_path / 'seg/a_labels.png').is_file()


@pytest.mark.parametrize('kept', [0, 1 << 20])
def test_rows_are_searched_exactly(monkeypatch, kept):
    monkeypatch.setattr(flat_index, '_KEPT', kept)
    monkeypatch.setattr(flat_index, '_ENTRIES', 1 << 7)  # blocks of 16 keys
    torch.manual_seed(0)
    keys, queries = torch.randn(50, 8), torch.nn.functional.normalize(torch.randn(7, 8), dim=1)
    cosines = queries @ torch.nn.functional.normalize(keys, dim=1).T
    assert FlatIndex(keys).search(queries, 5).equal(cosines.topk(5).indices)
    few = FlatIndex(keys[:3]).search(queries, 5)
    assert (few[:, 3:] == -1).all() and few[:, :3].sort().values.equal(torch.arange(3).expand(7, 3))


def test_lists_of_faiss_find_the_same_rows(bank, clip, folder, tmp_path, monkeypatch):
    pytest.importorskip('faiss', reason='needs faiss (extra bank)')
    monkeypatch.setattr(ivf_index, 'LIMIT', 8)
    keys = torch.randn(600, 16, generator=torch.Generator().manual_seed(0)).half()
    ivf_index.write_ivf_index(tmp_path, keys.numpy())
    assert ivf_index.read_ivf_index(tmp_path, 599) is None  # is of other rows
    found = ivf_index.read_ivf_index(tmp_path, 600)
    queries = torch.nn.functional.normalize(keys[:50].float(), dim=1)
    assert found.search(queries, 5).equal(FlatIndex(keys).search(queries, 5))
    out = shutil.copytree(bank, tmp_path / 'bank')
    _build(str(folder), out, clip)
    assert isinstance(open_bank(MemoryCfg(str(out)), [32], '').index, ivf_index.IVFIndex)
    (out / ivf_index.FILE).write_bytes(b'no index')
    with pytest.raises(InputError, match=r'keys\.faiss is damaged: remove it'):
        open_bank(MemoryCfg(str(out)), [32], '')


def test_without_faiss_the_rows_are_compared(bank, monkeypatch, capsys):
    monkeypatch.setattr(ivf_index, 'LIMIT', 8)
    monkeypatch.setitem(sys.modules, 'faiss', None)
    ivf_index.write_ivf_index(bank, np.ones((9, 4), np.float16))
    assert isinstance(open_bank(MemoryCfg(str(bank)), [32], '').index, FlatIndex)
    assert not (bank / ivf_index.FILE).exists()
    assert 'pip install "sclip_mmseg[bank]"' in capsys.readouterr().out


def _flat(vectors, numbers):
    count, width = vectors.shape
    header = struct.pack('<iqqqBi', width, count, 0, 0, 1, 0)
    floats = struct.pack('<Q', vectors.size) + vectors.astype('<f4').tobytes()
    table = struct.pack('<Q', count) + np.asarray(numbers, '<i8').tobytes()
    return b'IxM2' + header + b'IxFI' + header + floats + table


def test_index_files(tmp_path):
    vectors, path = np.eye(4, dtype=np.float32), tmp_path / 'flat.faiss'
    path.write_bytes(_flat(vectors, [30, 10, 20, 0]))
    found = read_index(path).search(torch.eye(4)[1:2], 6)
    assert found[0, 0] == 10 and found[0, 4:].tolist() == [-1, -1]
    for content in (b'', b'IxFI', _flat(vectors, [3, 2])[:-1], b'\0' * 200):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r'flat\.faiss is not a known index'):
            read_index(path)


def test_an_index_of_another_bank_is_refused(tmp_path):
    torch.save(torch.zeros(3, 4).half(), tmp_path / 'x_metaclip_b.pt')
    (tmp_path / 'flat.faiss').write_bytes(_flat(np.eye(4), [0, 1, 2, 3]))
    cfg = MemoryCfg(str(tmp_path), 'x', str(tmp_path / 'flat.faiss'))
    with pytest.raises(InputError, match='numbers regions up to 3, the bank holds 3'):
        open_bank(cfg, [4], 'pe')
    with pytest.raises(InputError, match=r'neither vfm_embeddings/x_pe\.pt nor x_pe\.pt'):
        open_bank(MemoryCfg(str(tmp_path), 'x'), [4], 'pe')


def test_a_sweep_keeps_what_a_memory_adds(tmp_path):
    support = RegionCells(torch.tensor([[0, 1]]), torch.tensor([[0.1, 0.5], [0.2, 0.5]]))
    axes = WindowAxis(1, 1, 1, 1), WindowAxis(2, 2, 2, 2, align_corners=True)
    maps, files = WindowMaps(torch.rand(1, 2, 1), axes, support), MapFiles(tmp_path / 'maps')
    files.save(0, maps)
    read = files.load(0, torch.device('cpu'))
    assert read.fuse((4, 4)).whole().equal(maps.fuse((4, 4)).whole())
