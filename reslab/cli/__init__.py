"""The command line: one thin module per command. Each one parses, calls, and prints.

A command loads Keras inside its function, and only if it needs it, so that `reslab --help`, `list`
and `show` start at once.
"""
