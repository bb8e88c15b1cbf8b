"""Packaging. `sclip_mmseg/.mim` links to configs and tools, so that an installed copy has them."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r"'(.+)'", (ROOT / 'sclip_mmseg/version.py').read_text()).group(1)

setup(
    name='sclip_mmseg',
    version=VERSION,
    description='SCLIP and other training-free CLIP segmentors for MMSegmentation',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE', 'NOTICE'],
    python_requires='>=3.9',
    packages=find_packages(include=['sclip_mmseg', 'sclip_mmseg.*']),
    package_data={
        'sclip_mmseg': [
            'datasets/queries/*.txt',
            '.mim/model-index.yml',
            '.mim/configs/**/*.py',
            '.mim/configs/**/*.yml',
            '.mim/tools/**/*.py',
            '.mim/tools/**/*.sh',
        ]
    },
    install_requires=[
        'torch>=2.1',
        'mmsegmentation>=1.2.0,<1.3',
        'mmengine>=0.10.0,<1.0',
        'openai-clip>=1.0.1',
        'ftfy',
        'regex',
        'numpy',
        'opencv-python',
        'pillow',
        'scipy',
        'filelock',
        'safetensors',
        'tqdm',
    ],
    # mmcv-lite and mmcv share a folder, so neither may be installed over the other.
    extras_require={
        'lite': ['mmcv-lite>=2.0.0,<2.2.0'],
        'mmcv': ['mmcv>=2.0.0,<2.2.0'],
        'web': ['gradio>=6,<7'],
    },
    zip_safe=False,
)
