#!/usr/bin/env python
"""Evaluate methods on benchmarks and compare with the published numbers."""

from sclip_mmseg.cli.benchmark import main
from sclip_mmseg.utils.interrupt import end_at_once_if_interrupted

if __name__ == '__main__':
    end_at_once_if_interrupted()
    main()
