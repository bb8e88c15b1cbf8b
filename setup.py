"""Packaging. A wheel gets configs, tools and model index as `sclip_mmseg/.mim`."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
VERSION = re.search(r"'(.+)'", (ROOT / 'sclip_mmseg/version.py').read_text()).group(1)


class BuildWithMim(build_py):
    """Puts the files that `sclip_mmseg/utils/shipped.py` looks for where OpenMMLab has them."""

    def run(self):
        """Build; an editable install finds the files in the clone."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib, 'sclip_mmseg/.mim')
        shutil.rmtree(target, ignore_errors=True)  # from an earlier build
        for folder in ('configs', 'tools'):
            ignored = shutil.ignore_patterns('__pycache__', '*.pyc')
            shutil.copytree(ROOT / folder, target / folder, ignore=ignored)
        shutil.copy(ROOT / 'model-index.yml', target)


setup(
    name='sclip_mmseg',
    version=VERSION,
    description='SCLIP and other training-free CLIP segmentors for MMSegmentation',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE', 'NOTICE'],
    python_requires='>=3.10',
    entry_points={'console_scripts': ['sclip = sclip_mmseg.cli:main']},
    packages=find_packages(include=['sclip_mmseg', 'sclip_mmseg.*']),
    package_data={
        'sclip_mmseg': ['py.typed', 'datasets/*.txt', 'datasets/*/*.txt', 'evaluation/report.html'],
    },
    cmdclass={'build_py': BuildWithMim},
    # docs/compatibility.md lists the tested versions, including all lower bounds together.
    install_requires=[
        'torch>=2.3',
        'mmsegmentation>=1.2.1,<1.3',
        'mmengine>=0.10.0,<1.0',
        'openai-clip>=1.0.1',
        'ftfy>=6.1',
        'regex>=2023.10.3',
        'numpy>=1.26',
        'opencv-python>=4.8',
        'pillow>=10.1',
        'scipy>=1.11.3',
        'scikit-image>=0.22',
        'filelock>=3.13',
        'huggingface_hub>=0.34',
        'safetensors>=0.4.1',
        'tqdm>=4.65',  # required by openmim
    ],
    # mmcv-lite and mmcv use the same folder, so neither may be installed over the other.
    extras_require={
        'lite': ['mmcv-lite>=2.0.0,<2.2.0'],
        'mmcv': ['mmcv>=2.0.0,<2.2.0'],
        'web': ['gradio>=6.24,<7'],
        'sam': ['transformers>=5.9'],
        'regions': ['transformers>=4.56', 'torchvision'],
        'onnx': ['onnx>=1.17', 'onnxscript>=0.3', 'onnxruntime>=1.20'],
        'coco': ['pycocotools>=2.0.7'],
        'heic': ['pillow-heif>=0.16'],
        'docs': [
            'mkdocs>=1.6,<2',
            'mkdocs-material>=9.7,<10',
            'mkdocstrings[python]>=1.0,<2',
            # The newest mkdocstrings for Python 3.10 cannot use later ones.
            'pymdown-extensions<12.2; python_version < "3.11"',
        ],
        'maps': ['rasterio>=1.4', 'pyogrio>=0.10', 'shapely>=2.1', 'pyproj>=3.6'],
        'bank': ['faiss-cpu>=1.8'],
    },
    zip_safe=False,
)
