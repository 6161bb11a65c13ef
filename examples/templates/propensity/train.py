"""Trains the models of all customers on scikit-learn's diabetes data.

    pip install -r requirements.txt
    python train.py

The data knows no customers: every third row goes to each, so that each model
is trained on patients of its own.
"""

import joblib
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

CUSTOMERS = ["st-mary", "north-clinic", "riverside"]
FEATURES = {
    "age": "age", "sex": "sex", "bmi": "bmi", "bp": "blood_pressure", "s1": "total_cholesterol", "s2": "ldl", "s3": "hdl",
    "s4": "cholesterol_ratio", "s5": "log_triglycerides", "s6": "glucose",
}


def main():
    data = load_diabetes(as_frame=True, scaled=False)
    rows = data.data.rename(columns=FEATURES).astype({"age": int, "sex": int})
    progressed = data.target > data.target.median()
    for number, customer in enumerate(CUSTOMERS):
        own = slice(number, None, len(CUSTOMERS))
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
        unseen = cross_val_predict(model, rows[own], progressed[own], cv=10, method="predict_proba")[:, 1]
        model.fit(rows[own], progressed[own])
        joblib.dump(model, f"../../models/{customer}-progression/model.joblib", compress=3)
        print(f"{customer}: rows {len(rows[own])}, auc {roc_auc_score(progressed[own], unseen):.3f} in ten folds,",
              "first two rows of all:", [round(float(p), 4) for p in model.predict_proba(rows[:2])[:, 1]])
    print(rows[:2].T)
    print("median progression:", data.target.median())


if __name__ == "__main__":
    main()
