#!/usr/bin/env python
"""Evaluate a config on its benchmark; the flags are those of MMSegmentation's ``tools/test.py``."""

from sclip_mmseg.cli.test import main
from sclip_mmseg.utils.interrupt import end_at_once_if_interrupted

if __name__ == '__main__':
    end_at_once_if_interrupted()
    main()
