"""A module per data set, whose ``plan(raw, out)`` lists the files to be made."""
