#!/usr/bin/env python
"""Convert benchmarks to the layout of the configs, from official archives or extracted folders."""

from sclip_mmseg.cli.prepare_data import main
from sclip_mmseg.utils.interrupt import end_at_once_if_interrupted

if __name__ == '__main__':
    end_at_once_if_interrupted()
    main()
