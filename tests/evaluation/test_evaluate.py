"""``evaluate``, called from Python."""

import json
from pathlib import Path

import mmseg
import numpy as np
import pytest
from helpers import config_path, load_config, make_voc
from PIL import Image

from sclip_mmseg import InputError
from sclip_mmseg.datasets.checks import load_dataset
from sclip_mmseg.evaluation import Result, evaluate
from sclip_mmseg.evaluation.preparation import prepare_config

CONFIG = 'sclip_vit-b16_voc21'
SMALL = {'model.test_cfg.crop_size': 64, 'model.test_cfg.stride': 64}


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return make_voc(tmp_path_factory.mktemp('data'), sizes=[(40, 60), (60, 40), (64, 64)])


@pytest.fixture
def config(root, clip_path, tmp_path):
    cfg = load_config(CONFIG, clip_path, **SMALL)
    cfg.test_dataloader.dataset.data_root = str(root / 'VOCdevkit/VOC2012')
    cfg.test_dataloader.num_workers = 0
    cfg.work_dir = str(tmp_path / 'work')
    return cfg


def test_a_path_and_a_config_give_the_same(config, clip_path, root, tmp_path, monkeypatch):
    monkeypatch.setenv('SCLIP_DATA_ROOT', str(root))
    before = config.to_dict()
    first = evaluate(config)
    assert config.to_dict() == before
    options = {**SMALL, 'test_dataloader.num_workers': 0}
    for name in (config_path(CONFIG), f'sclip_mmseg::sclip/{CONFIG}.py'):
        other = evaluate(name, clip_path, work_dir=tmp_path / 'other', cfg_options=options)
        assert (other.confusion() == first.confusion()).all()
        assert other.fingerprint == first.fingerprint
    saved = Result.load(tmp_path / 'work/result.npz')
    assert saved.metrics() == first.metrics() and saved.meta == json.loads(json.dumps(first.meta))


def test_label_maps_and_counts_agree(config, root, tmp_path):
    result = evaluate(config, out=tmp_path / 'maps')
    for index, name in enumerate(result.images):
        prediction = np.array(Image.open(tmp_path / 'maps' / name.replace('.jpg', '.png')))
        label = np.array(Image.open(root / f'VOCdevkit/VOC2012/SegmentationClass/{name[:-4]}.png'))
        expected = np.bincount(21 * label.ravel().astype(int) + prediction.ravel(), minlength=441)
        found = np.zeros((21, 21), int)
        rows, columns, pixels = result.counts(index)
        found[rows, columns] = pixels
        assert (found == expected.reshape(21, 21)).all()


def test_several_metrics(config, tmp_path):
    config.test_evaluator = [
        dict(type='DumpResults', out_file_path=str(tmp_path / 'dumped.pkl')),
        dict(type='IoUMetric', iou_metrics=['mDice'], prefix='dice'),
    ]
    result = evaluate(config, out=tmp_path / 'maps')
    assert len(result.images) == 3
    assert len(list((tmp_path / 'maps').iterdir())) == 3 and (tmp_path / 'dumped.pkl').exists()
    [log] = (tmp_path / 'work').glob('*/*.log')
    assert 'dice/mDice: ' in log.read_text()


def test_metrics_that_count_nothing_give_no_result(config, tmp_path):
    config.test_evaluator = dict(type='DumpResults', out_file_path=str(tmp_path / 'dumped.pkl'))
    assert evaluate(config) is None
    with pytest.raises(InputError, match='--out needs an IoUMetric'):
        evaluate(config, out=tmp_path / 'maps')
    config.test_evaluator = dict(
        type='IoUMetric', format_only=True, output_dir=str(tmp_path / 'maps')
    )
    assert evaluate(config) is None
    assert len(list((tmp_path / 'maps').iterdir())) == 3


def test_metrics_of_the_same_names_are_refused_beforehand(config):
    config.test_evaluator = [
        dict(type='ConfusionMetric'),
        dict(type='IoUMetric', iou_metrics=['mDice']),
    ]
    with pytest.raises(InputError, match='test_evaluator has 2 metrics whose .* another prefix'):
        evaluate(config)


def test_a_scale_may_be_a_list_as_the_command_line_gives_it(config):
    key = 'test_dataloader.dataset.pipeline.1.scale'
    cfg = prepare_config(config, cfg_options={key: [448, 448]})
    assert cfg.test_dataloader.dataset.pipeline[1].scale == (448, 448)


def test_options_that_do_not_fit(config):
    with pytest.raises(InputError, match='--cfg-options do not fit'):
        evaluate(config, cfg_options={'model.image_encoder.clip.path': 'x'})
    with pytest.raises(InputError, match='nothing.py does not exist'):
        evaluate('nothing.py')


def test_counts_are_those_of_mmsegs_confusion_matrix(config, tmp_path):
    """Its sums are patched to 64 bits; under NumPy 2 they have 8 bits."""
    result = evaluate(config, out=tmp_path / 'maps')
    path = Path(mmseg.__file__).parent / '.mim/tools/analysis_tools/confusion_matrix.py'
    program = path.read_text(encoding='utf-8')
    assert program.count('.astype(np.uint8)') == 1
    names = {'__name__': 'confusion_matrix'}
    exec(program.replace('.astype(np.uint8)', '.astype(np.int64)'), names)
    dataset = load_dataset(config.test_dataloader.dataset)
    maps = [np.array(Image.open(tmp_path / f'maps/{name[:-4]}.png')) for name in result.images]
    theirs = names['calculate_confusion_matrix'](dataset, [ids.astype(np.int64) for ids in maps])
    np.testing.assert_array_equal(result.confusion(), theirs)
