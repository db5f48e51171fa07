"""What the command line of each evaluation takes, one file for each.

A table maps an option to the arguments of jsonargparse. Nothing here imports the
evaluations themselves.
"""
