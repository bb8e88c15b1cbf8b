"""The example of docs/add_a_method.md: a new method is one class and one config, nothing else."""

import re

import pytest
from helpers import ROOT, fork_tool, metrics, run_test, run_tool


def test_a_new_method_runs_end_to_end(clip_path, voc_root, tmp_path, monkeypatch):
    section = (ROOT / 'docs/add_a_method.md').read_text()
    module, config = re.findall(r'```python\n(.*?)```', section, re.S)
    (tmp_path / 'value_csa.py').write_text(module)
    path = tmp_path / 'value-csa_vit-b16_voc21.py'
    path.write_text(config.replace('/path/to/sclip_mmseg', str(ROOT)))
    monkeypatch.syspath_prepend(tmp_path)
    arguments = (clip_path, '--work-dir', tmp_path / 'work')
    # The new method is registered in its own process.
    log = tmp_path / 'new.log'
    process = fork_tool(
        *(ROOT / 'tools/test.py', path, *arguments),
        log=log,
        env={'SCLIP_DATA_ROOT': str(voc_root)},
    )
    process.join()
    assert process.exitcode == 0, log.read_text()
    clip = run_test('clip_vit-b16_voc21', *arguments, data_root=voc_root).stdout
    assert metrics(log.read_text()) != metrics(clip)


@pytest.mark.slow
def test_the_numbers_of_the_readme(tmp_path):
    section = (ROOT / 'README.md').read_text().split('## Add your own method')[1]
    [module] = re.findall(r'```python\n(.*?)```', section, re.S)
    [command] = re.findall(r'```bash\nsclip (.*?)\n```', section)
    printed = [float(number) for number in re.findall(r'\d\d\.\d\d', section)[:4]]
    (tmp_path / 'value_csa.py').write_text(module)
    words = [*command.split(), '--benchmarks', 'voc21,voc20']
    output = run_tool('-m', 'sclip_mmseg.cli', *words, cwd=tmp_path).stdout
    own, sclip = (
        [
            float(cell)
            for cell in re.findall(rf'^\| {name} \| ([\d.]+) \| ([\d.]+) \|', output, re.M)[0]
        ]
        for name in ('ValueCSA', 'sclip')
    )
    assert printed == pytest.approx([own[0], sclip[0], own[1], sclip[1]], abs=0.05)
