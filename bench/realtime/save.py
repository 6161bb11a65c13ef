"""Saves a scikit-learn model as MLflow's.

    python save.py MODEL OUT
"""

import sys

import joblib
import mlflow.sklearn

mlflow.sklearn.save_model(joblib.load(sys.argv[1]), sys.argv[2], pyfunc_predict_fn="predict_proba",
                          serialization_format="cloudpickle")
