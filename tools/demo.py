#!/usr/bin/env python
"""Segment images and videos into your own classes: overlay, label map, areas."""

from sclip_mmseg.cli.segment import main
from sclip_mmseg.utils.interrupt import end_at_once_if_interrupted

if __name__ == '__main__':
    end_at_once_if_interrupted()
    main()
