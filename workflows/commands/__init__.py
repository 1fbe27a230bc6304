"""The commands of `vitlens`, one module each, found by name.

A module holds `command`, a click command, and the work it does. The first line of its docstring
is its line in `vitlens --help`, so that help imports none of them.
"""
