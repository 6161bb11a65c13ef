"""Writes a table like scikit-learn's breast cancer data, of any length.

    python rows.py N OUT     makes OUT.csv and OUT.parquet
"""

import sys

import numpy
import pandas
from sklearn.datasets import load_breast_cancer

n, out = int(sys.argv[1]), sys.argv[2]
known = load_breast_cancer(as_frame=True).data.rename(columns=lambda name: name.replace(" ", "_"))
random = numpy.random.default_rng(7)
rows = known.iloc[random.integers(0, len(known), n)].reset_index(drop=True)
rows = (rows * random.uniform(0.9, 1.1, size=(n, 1))).round(5)
rows.insert(0, "id", ["S%07d" % i for i in range(1, n + 1)])
rows.to_parquet(out + ".parquet", index=False)
rows.to_csv(out + ".csv", index=False)
