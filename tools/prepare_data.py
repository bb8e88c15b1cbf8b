#!/usr/bin/env python
"""Lay benchmarks out as the configs read them, from the official archives or extracted folders."""

from sclip_mmseg.cli.prepare_data import main
from sclip_mmseg.utils.interrupt import end_at_once_if_interrupted

if __name__ == '__main__':
    end_at_once_if_interrupted()
    main()
