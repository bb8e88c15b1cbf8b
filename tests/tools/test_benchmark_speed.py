"""`tools/analysis_tools/benchmark_speed.py` and `benchmark_scaling.py`."""

import argparse
import json
import sys

import numpy as np
import pytest
import torch
from helpers import ROOT, seeded_clip
from mmseg.apis import init_model

sys.path.insert(0, str(ROOT / 'tools/analysis_tools'))

import benchmark_scaling
import benchmark_speed
from benchmark_speed import Case, openai_model, random_photo, read_case
from measuring import measure, peak_memory
from plain_program import plain_pamr, plain_segment, plain_text

# As many as there are: the programs set it for the whole process.
THREADS = ['--threads', str(torch.get_num_threads())]


def _small(path):
    torch.save(seeded_clip(embed_dim=512), path)


def _deep(path):
    torch.save(seeded_clip(embed_dim=512, layers=12), path)


METHOD = Case('scclip_vit-b16_context59', (60, 90), (230, 240))


@pytest.mark.parametrize(
    'config', ['sclip_vit-b16_coco_object', 'sclip-pamr10_vit-b16_voc20', 'sclip_vit-b16_ade20k']
)
def test_the_plain_program_gives_the_same(tmp_path, config):
    clip = tmp_path / 'clip.pt'
    _small(clip)
    case = Case(config, (60, 90), (230, 240))
    cfg = read_case(case, str(clip), tmp_path)
    cfg.model.test_cfg.seg_logits = True
    model = init_model(cfg, device='cpu')
    runs = benchmark_speed.programs(cfg, model, case)
    photo = random_photo(case.resized)
    [image] = model.data_preprocessor(dict(inputs=[photo]))['inputs']
    head = model.text_head
    with torch.no_grad():
        scores, classes = plain_segment(
            openai_model(str(clip), 'cpu').visual,
            head.embeddings,
            head.query_set.class_ids,
            image,
            case.size,
            cfg,
        )
    from mmseg.structures import SegDataSample

    sample = SegDataSample(metainfo=dict(ori_shape=case.size))
    [result] = model.test_step(dict(inputs=[photo], data_samples=[sample]))
    torch.testing.assert_close(scores, result.seg_logits.data, rtol=0, atol=1e-5)
    same = classes == result.pred_sem_seg.data[0]
    assert same.float().mean() > 0.999
    assert runs['a']().equal(classes)
    assert runs['b']().equal(result.pred_sem_seg.data)
    assert len(runs['c']()) <= model.window_batch((224, 224))


def test_plain_pamr_gives_the_same():
    from sclip_mmseg.models.pamr import pamr

    torch.manual_seed(0)
    query_map, image = torch.rand(3, 30, 40), torch.randn(3, 30, 40)
    expected = pamr(query_map[None], image[None], 3)[0]
    torch.testing.assert_close(plain_pamr(query_map, image, 3), expected, rtol=0, atol=1e-5)


def test_plain_text_gives_the_same(tmp_path):
    from sclip_mmseg.models.text_embeddings import encode_queries
    from sclip_mmseg.towers import load_text_tower

    clip = str(tmp_path / 'clip.pt')
    torch.save(seeded_clip(), clip)
    tower = load_text_tower(clip)
    queries, templates = ['cat', 'a large dog'], ['a {}.', 'a photo of the {} there.']
    with torch.no_grad():
        plain = plain_text(openai_model(clip, 'cpu'), queries, templates)
    torch.testing.assert_close(plain, encode_queries(tower, queries, templates), rtol=0, atol=1e-5)


@pytest.mark.skipif(sys.platform != 'linux', reason='memory is read from /proc')
def test_peak_memory_sees_a_large_tensor():
    peak = peak_memory(lambda: torch.ones(100 << 18).sum(), 'cpu')
    assert 90 << 20 < peak < 130 << 20


def test_programs_run_in_turn():
    order = []
    runs = {name: lambda name=name: order.append(name) for name in 'ab'}
    result = measure(runs, 2)
    assert order == ['a', 'b'] * 3
    assert set(result['ratios']) == {'a/b'}


def test_speed_writes_a_report(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('SCLIP_CACHE_DIR', '')  # which the case `text` sets
    case = Case('sclip_vit-b16_ade20k', (60, 90), (230, 240))
    monkeypatch.setitem(benchmark_speed.CASES, 'ade20k', case)
    out = tmp_path / 'speed.json'
    monkeypatch.setitem(benchmark_speed.METHODS, 'scclip_vit-b16', METHOD)
    monkeypatch.setattr(benchmark_speed, 'write_seeded_clip', _deep)
    cases = ['--cases', 'ade20k', 'text', 'scclip_vit-b16']
    arguments = [*cases, '--text-queries', '2', '--repeats', '1']
    benchmark_speed.main([*arguments, *THREADS, '--out', str(out)])
    results = json.loads(out.read_text())['results']
    assert set(results['ade20k cpu fp32']['seconds']) == set('abc')
    assert set(results['ade20k cpu fp32']['ratios']) == {'a/b', 'a/c', 'b/c'}
    assert set(results['scclip_vit-b16 cpu fp32']['ratios']) == {'package/towers'}
    assert results['text cpu fp32']['ratios']['a/warm'] > 1
    assert 'a/b' in capsys.readouterr().out


def test_an_exponent_is_the_power():
    x = np.array([1.0, 3, 10])
    assert benchmark_scaling.fit_exponent(x, 5 * x**1.5) == pytest.approx(1.5)


def test_scaling_writes_a_plot_and_a_report(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark_scaling, 'write_seeded_clip', _small)
    sizes = ['--queries', '3', '6', '--megapixels', '0.01', '0.02', '--at-megapixels', '0.01']
    benchmark_scaling.main(
        [*sizes, *THREADS, '--short-side=0', '--repeats=1', '--out', str(tmp_path / 'scaling')]
    )
    report = json.loads((tmp_path / 'scaling.json').read_text())
    assert [point['queries'] for point in report['queries']['points']] == [3, 6]
    assert 'seconds_exponent' in report['megapixels']
    assert (tmp_path / 'scaling.png').stat().st_size > 0


def test_a_map_is_timed_by_its_windows_with_data(tmp_path, monkeypatch):
    pytest.importorskip('rasterio')
    monkeypatch.setattr(benchmark_speed, 'MAP_SIDE', 400)
    _small(tmp_path / 'clip.pt')
    clip = str(tmp_path / 'clip.pt')
    args = argparse.Namespace(clip=clip, folder=tmp_path, precision='fp32', device='cpu')
    runs = benchmark_speed.map_runs(args)
    labels = np.concatenate([labels for labels, _ in runs['map']()])
    assert (labels[:, :200] == 255).all() and (labels[:, 200:] < 59).all()
    assert runs['towers']().shape[:1] == (3,)
