#!/usr/bin/env python
"""Serve a local web page that segments images into your own classes. It needs no internet."""

from sclip_mmseg.cli.web import main
from sclip_mmseg.utils.interrupt import end_at_once_if_interrupted

if __name__ == '__main__':
    end_at_once_if_interrupted()
    main()
