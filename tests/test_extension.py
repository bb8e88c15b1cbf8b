"""The example of docs/methods.md: a new method is one class and one config, nothing else."""

import re

from helpers import ROOT, metrics, run_test, run_tool


def test_a_new_method_runs_end_to_end(clip_path, voc_root, tmp_path):
    section = (ROOT / 'docs/methods.md').read_text().split('## Add a method')[1]
    module, config = re.findall(r'```python\n(.*?)```', section, re.S)
    (tmp_path / 'value_csa.py').write_text(module)
    path = tmp_path / 'value-csa_vit-b16_voc21.py'
    path.write_text(config.replace('/path/to/sclip_mmseg', str(ROOT)))
    env = {'PYTHONPATH': f'{tmp_path}:{ROOT}', 'SCLIP_DATA_ROOT': str(voc_root)}
    arguments = (clip_path, '--work-dir', tmp_path / 'work')
    # The new module is imported by a process of its own.
    new = run_tool(ROOT / 'tools/test.py', path, *arguments, env=env).stdout
    clip = run_test('clip_vit-b16_voc21', *arguments, data_root=voc_root).stdout
    assert metrics(new) != metrics(clip)
