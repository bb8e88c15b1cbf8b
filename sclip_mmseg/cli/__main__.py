"""The command ``sclip`` as ``python -m sclip_mmseg.cli``."""

from sclip_mmseg.cli import main

if __name__ == '__main__':
    main()
