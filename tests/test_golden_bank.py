"""Rows of a memory bank equal those of the CorrCLIP v2 authors' program."""

import json
import shutil

import numpy as np
import pytest
import torch
from test_golden_corrclip2 import FOLDER, corr2_weights  # noqa: F401

from sclip_mmseg.apis.bank import build_bank
from sclip_mmseg.memory.files import read_info, read_rows
from sclip_mmseg.towers.tensor_files import read_tensor

pytestmark = pytest.mark.golden
# One of ids and one of overlapping masks, the smallest of their kinds.
IMAGES = ['000000001503', '2008_002176']
VFM = {'000000001503': 'dinov3', '2008_002176': 'radiov3'}


@pytest.mark.parametrize('name', IMAGES)
def test_rows(shared, corr2_weights, tmp_path, name):  # noqa: F811
    bank = json.loads((FOLDER / 'cases.json').read_text())['bank']
    [image] = [each for each in bank['images'] if name in each['image']]
    weights, vfm = corr2_weights, VFM[name]
    path = shutil.copy(shared / 'data' / image['image'], tmp_path)
    options = {
        'model.image_encoder.proxy.checkpoint': weights['dino'],
        'model.image_encoder.round_weights': False,
    }
    out = tmp_path / 'bank'
    build_bank(
        *([path], out, 'corrclip2', weights['main'], weights[vfm], str(FOLDER / 'bank_masks')),
        device='cpu',
        cfg_options=options,
    )
    rows = slice(image['first_id'], image['first_id'] + image['regions'])
    stores = f'mini_{vfm}', 'mini_metaclip_b'
    for found, store in zip(read_rows(out, read_info(out)), stores):
        expected = read_tensor(FOLDER / f'bank/{store}.pt')[rows]
        assert found.shape == expected.shape
        steps = (found.view(torch.int16).int() - expected.view(torch.int16).int()).abs()
        assert (steps <= 1).float().mean() >= 0.99
        largest = 2e-4 * max(1.0, float(expected.abs().max()))
        np.testing.assert_allclose(found.float(), expected.float(), rtol=0, atol=largest)
