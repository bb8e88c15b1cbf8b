"""Text that may be the path of a file."""

from pathlib import Path
from typing import Optional, Union


def find_file(text: Union[str, Path]) -> Optional[Path]:
    """The file at a path, ``~`` being the home directory; None where there is none.

    Any text is allowed, such as one too long for a path.
    """
    try:
        path = Path(text).expanduser()
        return path if path.is_file() else None
    except (OSError, RuntimeError, ValueError):  # too long; no such user; a null byte
        return None
