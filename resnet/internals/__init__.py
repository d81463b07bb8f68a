"""What this program uses that its libraries do not publish, one module a library, each saying why.

A new version of a library may change any of it; tests/test_internals.py then says what.
"""
