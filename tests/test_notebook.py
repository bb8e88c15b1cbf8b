"""The notebook runs from top to bottom, on the toy CLIP."""

import base64
import io
from importlib.util import find_spec

import numpy as np
from helpers import ROOT, require
from PIL import Image

NOTEBOOK = ROOT / 'demo/inference_demo.ipynb'


def test_notebook_runs(monkeypatch):
    require(find_spec('nbclient') and find_spec('ipykernel'), 'nbclient with ipykernel')
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get('outputs') for cell in notebook.cells)  # they would grow stale
    NotebookClient(
        notebook, timeout=120, resources={'metadata': {'path': str(NOTEBOOK.parent)}}
    ).execute()
    images = [
        np.array(Image.open(io.BytesIO(base64.b64decode(output.data['image/png']))))
        for cell in notebook.cells
        for output in cell.get('outputs', [])
        if 'image/png' in output.get('data', {})
    ]
    image, overlay, scores = images
    assert image.shape == (375, 500, 3)
    assert overlay.shape[1] > 500
    assert scores.shape == (375, 500) and scores.std() > 0
    assert (overlay[:, :500] != image).any()
