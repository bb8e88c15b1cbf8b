"""Files, errors, and quirks of other packages."""
