"""A CHECKPOINT means the same to each program of OpenMMLab that takes one."""

from collections import OrderedDict

import pytest
import torch
from helpers import build_model, load_config, make_voc, metrics, run_test, seeded_clip
from mmengine.model import revert_sync_batchnorm
from mmengine.runner import Runner, load_checkpoint
from mmseg.apis import MMSegInferencer, inference_model, init_model
from mmseg.registry import MODELS
from safetensors.torch import save_file

from sclip_mmseg import InputError, apis
from sclip_mmseg.registry import in_scope
from sclip_mmseg.towers.checkpoint import CLIPS
from sclip_mmseg.towers.repository import Published
from sclip_mmseg.utils.errors import NotFetched

CONFIG = 'sclip_vit-b16_voc20'
KINDS = ['clip', 'safetensors', 'saved', 'saved_ddp', 'saved_meta', 'saved_safetensors', 'named']


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Images, and the checkpoints of a CLIP that is not the config's, by kind."""
    folder = tmp_path_factory.mktemp('checkpoints')
    make_voc(folder, sizes=[(90, 120)])
    torch.save(seeded_clip(1), folder / 'clip.pt')
    save_file(dict_of_copies(seeded_clip(1)), folder / 'safetensors.safetensors')
    with in_scope():  # which is set for each test, not for what several tests share
        weights = build_model(load_config(CONFIG, str(folder / 'clip.pt'))).state_dict()
    torch.save(weights, folder / 'saved.pth')
    torch.save(
        OrderedDict((f'module.{k}', v) for k, v in weights.items()), folder / 'saved_ddp.pth'
    )
    names = dict(classes=('a', 'b'), palette=[[0, 0, 0], [1, 1, 1]])  # of a training's dataset
    torch.save(
        dict(meta=dict(dataset_meta=names, epoch=3), state_dict=weights), folder / 'saved_meta.pth'
    )
    save_file(weights, folder / 'saved_safetensors.safetensors')
    return folder


def dict_of_copies(tensors):
    return {name: tensor.clone().contiguous() for name, tensor in tensors.items()}


@pytest.fixture
def checkpoint(folder, monkeypatch):
    """Path or name of a checkpoint by kind."""

    def find(kind):
        if kind == 'named':
            monkeypatch.setitem(CLIPS, 'Test-B/16', Published('https://example.org/clip.pt'))
            monkeypatch.setattr(
                'sclip_mmseg.towers.repository.download', lambda *_: folder / 'clip.pt'
            )
            return 'Test-B/16'
        [path] = folder.glob(f'{kind}.*')
        return str(path)

    return find


def _config(clip_path):
    return load_config(CONFIG, clip_path)


def _with_init_model(cfg, weights, image):
    model = init_model(cfg, weights, device='cpu')
    assert model.dataset_meta['classes'][0] == 'aeroplane'
    return inference_model(revert_sync_batchnorm(model), image).pred_sem_seg.data[0]


def _with_load_checkpoint(cfg, weights, image):
    model = init_model(cfg, device='cpu')
    load_checkpoint(model, weights)
    return inference_model(model, image).pred_sem_seg.data[0]


def _with_inferencer(cfg, weights, image):
    inferencer = MMSegInferencer(cfg, weights=weights, device='cpu')
    assert inferencer.model.dataset_meta['classes'][0] == 'aeroplane'
    return torch.from_numpy(inferencer(image)['predictions'])


def _with_a_runner(cfg, weights, image):
    """Evaluate like mmseg's tools/test.py, without hooks and loops of this package."""
    cfg = cfg.copy()
    cfg.merge_from_dict(dict(load_from=weights, custom_hooks=[], work_dir='work'))
    cfg.test_cfg.type = 'TestLoop'
    root = str(image).partition('/JPEGImages')[0]
    cfg.test_dataloader.dataset.data_root = root
    runner = Runner.from_cfg(cfg)
    runner.test()
    return _predict(runner.model, cfg, image)


def _with_own_api(cfg, weights, image):
    own = {'model.image_encoder.clip': cfg.model.image_encoder.clip}
    options = own if weights == 'none' or 'saved' in weights else None
    model = apis.build_segmentor(
        'voc20', method='sclip', clip=weights, device='cpu', cfg_options=options
    )
    return torch.from_numpy(apis.segment(model, image).labels)


def _predict(model, cfg, image):
    model.cfg = cfg
    return inference_model(model.eval(), image).pred_sem_seg.data[0]


PROGRAMS = [
    _with_init_model,
    _with_load_checkpoint,
    _with_inferencer,
    _with_a_runner,
    _with_own_api,
]


@pytest.mark.parametrize('program', PROGRAMS)
def test_each_kind_gives_the_same_pixels(
    program, checkpoint, folder, clip_path, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    image = str(next(folder.rglob('*.jpg')))
    expected = {
        clip: _predict(build_model(_config(clip)), _config(clip), image)
        for clip in (clip_path, checkpoint('clip'))
    }
    own, others = expected.values()
    assert (own != others).float().mean() > 0.3
    assert program(_config(clip_path), 'none', image).equal(own)
    for kind in KINDS:
        assert program(_config(clip_path), checkpoint(kind), image).equal(others), kind


@pytest.fixture
def offline(monkeypatch):
    """The config's own CLIP, by a name whose file cannot be fetched."""

    def fail(url, *_, **__):
        raise NotFetched(f'cannot download {url}: no network')

    monkeypatch.setattr('sclip_mmseg.towers.repository.download', fail)
    return _config('ViT-B/16')


@pytest.mark.parametrize('program', PROGRAMS)
def test_the_config_s_own_clip_need_not_be_there(
    program, offline, checkpoint, folder, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    image, clip = str(next(folder.rglob('*.jpg'))), checkpoint('clip')
    expected = _predict(build_model(_config(clip)), _config(clip), image)
    assert program(offline.copy(), clip, image).equal(expected)
    for weights in 'none', checkpoint('saved'):  # which are read into the config's own
        with pytest.raises(NotFetched, match='cannot download .*ViT-B-16.pt'):
            program(offline.copy(), weights, image)


def test_without_weights_each_use_says_so(offline, folder):
    model, image = init_model(offline, device='cpu'), str(next(folder.rglob('*.jpg')))
    for use in (
        lambda: inference_model(model, image),
        lambda: model.extract_feat(torch.zeros(1, 3, 64, 64)),
        lambda: model(torch.zeros(1, 3, 64, 64)),
        lambda: model.state_dict(),
    ):
        with pytest.raises(NotFetched, match='cannot download'):
            use()


def _save(path, clip, **options):
    model = build_model(load_config(CONFIG, clip, **options))
    torch.save(model.state_dict(), path)
    return str(path)


def test_saved_weights_serve_other_classes_of_the_same_clip(clip_path, tmp_path):
    path = _save(tmp_path / 'saved.pth', clip_path)
    cfg = load_config(CONFIG, clip_path, **{'model.text_head.queries': [['cat'], ['dog']]})
    model = init_model(cfg, path, device='cpu')
    assert model.text_head.embeddings.equal(build_model(cfg).text_head.embeddings)
    assert model.dataset_meta['classes'] == ('cat', 'dog')


@pytest.mark.parametrize(
    'options, message',
    [
        ({'model.text_head.queries': [['cat'], ['dog']]}, "other classes .*'cat'"),
        ({'model.image_encoder.method': dict(type='LearnedCSA', width=128)}, 'method.weight'),
    ],
)
def test_weights_of_another_config_are_one_line(folder, clip_path, tmp_path, options, message):
    path = _save(tmp_path / 'saved.pth', str(folder / 'clip.pt'), **options)
    with pytest.raises(InputError, match=f'^{path} .*{message}.*clip') as raised:
        init_model(load_config(CONFIG, clip_path), path, device='cpu')
    assert '\n' not in str(raised.value)


def test_weights_of_another_clip_are_one_line(clip_path, tmp_path):
    torch.save(seeded_clip(layers=2), tmp_path / 'small.pt')
    torch.save(seeded_clip(width=192), tmp_path / 'wide.pt')
    cfg = load_config(CONFIG, clip_path)
    for name, problem in ('small', 'lacks image_encoder.tower.blocks.2'), ('wide', 'has shape'):
        path = _save(tmp_path / 'saved.pth', str(tmp_path / f'{name}.pt'))
        with pytest.raises(InputError, match=problem):
            load_checkpoint(init_model(cfg, device='cpu'), path)


def test_a_file_that_is_not_a_checkpoint_is_one_line(clip_path, tmp_path):
    model = init_model(load_config(CONFIG, clip_path), device='cpu')
    with pytest.raises(InputError, match="clip='ViT-Z' is neither a file nor a CLIP"):
        load_checkpoint(model, 'ViT-Z')
    torch.save({'backbone.conv.weight': torch.zeros(1)}, tmp_path / 'resnet.pth')
    with pytest.raises(InputError, match='does not fit .* has no backbone.conv.weight'):
        load_checkpoint(model, str(tmp_path / 'resnet.pth'))
    (tmp_path / 'page.pth').write_text('<html>')
    with pytest.raises(InputError, match='page.pth'):
        load_checkpoint(model, str(tmp_path / 'page.pth'))
    with pytest.raises(InputError, match='the state dict does not fit .* no positional_embedding'):
        model.load_state_dict(seeded_clip(1), strict=False)


def test_checkpoints_of_other_models_are_left_alone(tmp_path):
    model, path = torch.nn.Linear(2, 2), str(tmp_path / 'linear.pth')
    with pytest.raises(FileNotFoundError, match='linear.pth'):
        load_checkpoint(model, path)
    torch.save(dict(meta=dict(epoch=1), state_dict=model.state_dict()), path)
    other = torch.nn.Linear(2, 2)
    assert load_checkpoint(other, path)['meta'] == dict(epoch=1)
    assert other.weight.equal(model.weight)
    torch.save(model.state_dict(), path)
    assert load_checkpoint(torch.nn.Linear(2, 2), path).keys() == model.state_dict().keys()


def test_test_time_augmentation_takes_another_clip(folder, clip_path):
    cfg = load_config(CONFIG, clip_path)
    model = MODELS.build(dict(type='CLIPTTAModel', module=cfg.model))
    load_checkpoint(model, str(folder / 'clip.pt'))
    expected = build_model(load_config(CONFIG, str(folder / 'clip.pt')))
    assert model.module.text_head.embeddings.equal(expected.text_head.embeddings)
    assert model.module.seg_logits and model.module.rule == model.rule.scoring


def test_own_program_takes_saved_weights(folder, clip_path, tmp_path):
    root = make_voc(tmp_path / 'data')

    def evaluate(checkpoint):
        options = '--work-dir', tmp_path / 'work'
        if 'saved' in checkpoint:
            options += '--cfg-options', f'model.image_encoder.clip={clip_path}'
        result = run_test(CONFIG, checkpoint, *options, data_root=root)
        assert f'Weights: {checkpoint}' in result.stdout
        return metrics(result.stdout)

    expected = evaluate(str(folder / 'clip.pt'))
    assert evaluate(str(folder / 'saved.pth')) == expected != evaluate(clip_path)
