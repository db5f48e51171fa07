"""One page of a whole run, `report.html`, that a browser opens from disk.

`run_files` reads what lies in the run folder, `network` computes what the network makes
of its photos; both give plain data. `page` turns that data into the text of the page,
and `write` brings them together, once or while a training runs.
"""
