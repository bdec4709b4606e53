"""The subcommands of ``goturn``: each module has ``add_arguments(parser)`` and ``run(args)``.

``add_arguments`` imports nothing heavy, so that ``goturn --help`` answers at once.
"""
