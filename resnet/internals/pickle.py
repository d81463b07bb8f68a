"""The unpickler that is written in Python.

Published is the one in C, whose operations cannot be left out, and which keeps a list as long as the
highest index that a file names.
"""

from pickle import _Unpickler as Unpickler

__all__ = ["Unpickler"]
