"""An example of a package of one's own: see README.md beside it."""
