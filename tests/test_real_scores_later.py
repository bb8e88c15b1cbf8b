"""The mIoU and aAcc of the authors' programs on the same weights and photographs."""

import pytest
from helpers import metrics, run_test


@pytest.mark.golden
@pytest.mark.parametrize(
    'config, miou, aacc',
    [
        ('scclip_vit-b16_context59', 37.02, 66.55),
        pytest.param('scclip_vit-b16_voc20', 59.29, 79.76, marks=pytest.mark.slow),
    ],
)
def test_real_clip_gives_the_authors_numbers(shared, real_clip, tmp_path, config, miou, aacc):
    benchmark = config.rpartition('_')[2]
    output = run_test(
        config,
        real_clip,
        '--work-dir',
        tmp_path,
        '--cfg-options',
        f'model.text_head.embeddings={shared}/real_clip/text/{benchmark}.npz',
        data_root=shared / 'data',
    ).stdout
    assert metrics(output)['mIoU'] == pytest.approx(miou, abs=0.05)
    assert metrics(output)['aAcc'] == pytest.approx(aacc, abs=0.05)
