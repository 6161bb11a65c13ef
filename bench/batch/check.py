"""Fails unless two outputs have the same rows in the same order, and the same
predictions but for rounding.

    python check.py ONE OTHER
"""

import sys

import numpy
import pandas

read = lambda path: pandas.read_csv(path) if path.endswith(".csv") else pandas.read_parquet(path)
one, other = read(sys.argv[1]), read(sys.argv[2])
assert len(one) == len(other), (len(one), len(other))
assert (one["id"] == other["id"]).all(), "ids differ"
assert numpy.allclose(one["worst_area"], other["worst_area"], rtol=1e-12, atol=0), "features differ"
worst = (one["probability"] - other["probability"]).abs().max()
assert worst < 1e-9, "predictions differ by %g" % worst
