"""Models run on an emulated accelerator, which detects mixed devices without a GPU."""

import other_device
import pytest
import torch
from helpers import run_tool

# Of each method, trained system and step one quick test.
CHOSEN = (
    'test_other_device.py::test_devices_do_not_mix',
    'models/test_methods.py::test_maps_for_images_sum_to_what_the_patches_get',
    'models/test_pamr.py::test_a_batch_is_refined_image_by_image',
    'models/test_whole_image_methods.py::test_one_window_and_sides_below_a_window',
    'models/test_regions.py::test_majority_equals_a_loop_over_regions',
    'models/test_regions.py::test_correction_of_the_mean_of_views',
    'models/test_sam3.py::test_both_ways_give_the_same',
    'models/test_segmentor.py::test_own_classes',
    'models/test_talk2dino.py::test_cleaning_and_refinement_are_options',
    'models/test_text_head.py::test_cosines',
    'models/test_trained.py::test_tcl_s_own_knowledge',
    'models/test_trained.py::test_groupvit_s_background_is_the_map_s_first_channel',
)


@pytest.mark.skipif(
    not other_device.is_supported(), reason='this PyTorch has no devices written in Python'
)
def test_models_beside_the_cpu(tmp_path):
    # In a process of its own, which the device does not leave, and without the golden tests.
    command = ['-m', 'pytest', '-q', '-o', 'addopts=', '-p', 'no:cacheprovider']
    command += ['--basetemp', tmp_path / 'other', '--device', 'other', '--dtype', 'fp32']
    command += [f'tests/{name}' for name in CHOSEN]
    output = run_tool(*command, env=dict(CI='', PYTEST_ADDOPTS='')).stdout
    assert ' passed' in output and 'skipped' not in output


def test_devices_do_not_mix(device):
    """The stand-in refuses the same operations as a GPU."""
    if device.type == 'cpu':
        pytest.skip('of a device beside the CPU')
    here, there = torch.arange(3), torch.arange(3, device=device)
    for mix in (
        lambda: there + here,
        lambda: here + there[0],
        lambda: there.add_(here),
        lambda: torch.cat([there, here]),
        lambda: torch.stack([there[0], here[0]]),
        lambda: here[there],
        lambda: there.index_put((here,), here),
        lambda: there.gather(0, here),
    ):
        with pytest.raises(RuntimeError):
            mix()
    with pytest.raises(TypeError, match='numpy'):
        there.numpy()
    assert (there + here[1]).tolist() == [1, 2, 3]
    assert there[here].tolist() == there[[0, 1, 2]].tolist() == [0, 1, 2]
    assert torch.zeros(3, dtype=torch.int64).copy_(there).equal(here)
    assert there.cpu().equal(here) and here.to(device).device == there.device
