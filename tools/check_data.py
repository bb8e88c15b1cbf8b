#!/usr/bin/env python
"""Check a benchmark's files: counts, missing and unreadable pairs, sizes, label ids, classes."""

from sclip_mmseg.cli.check_data import main
from sclip_mmseg.utils.interrupt import end_at_once_if_interrupted

if __name__ == '__main__':
    end_at_once_if_interrupted()
    main()
