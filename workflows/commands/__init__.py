"""The commands of `vitlens`, one module each, found by name.

A module defines `command`, a click command, and the work that it does. The first line of its
docstring is its line in `vitlens --help`, so that the help imports none of the modules.
"""
