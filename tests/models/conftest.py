"""Random numbers of the tests of models."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _seeded():
    """Draw a test's numbers, on the CPU, the same for every device and in every order of tests."""
    torch.manual_seed(0)
