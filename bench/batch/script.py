"""What one would write without Model Manager: read, predict, write.

    python script.py MODEL IN OUT
"""

import sys

import joblib
import pandas

model, source, target = joblib.load(sys.argv[1]), sys.argv[2], sys.argv[3]
rows = pandas.read_csv(source) if source.endswith(".csv") else pandas.read_parquet(source)
rows["probability"] = model.predict_proba(rows[list(model.feature_names_in_)])[:, 1]
if target.endswith(".csv"):
    rows.to_csv(target, index=False)
else:
    rows.to_parquet(target, index=False)
