"""Trains model.joblib on scikit-learn's breast cancer data and writes the sample files.

    pip install -r requirements.txt
    python train.py
"""

import joblib
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, brier_score_loss, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

SAMPLES = "../../data/tumour-malignancy"


def load():
    data = load_breast_cancer(as_frame=True)
    rows = data.data.rename(columns=lambda name: name.replace(" ", "_"))
    return rows, (data.target == 0).rename("malignant")  # the data's 0 is malignant


def write_samples(rows):
    """Writes all rows with an id, and the same with one cell that is no number."""
    samples = rows.copy()
    samples.insert(0, "sample_id", [f"S{i:04d}" for i in range(1, len(rows) + 1)])
    samples.to_csv(f"{SAMPLES}.csv", index=False)
    broken = samples.astype({"mean_area": object})
    broken.loc[41, "mean_area"] = "illegible"
    broken.to_csv(f"{SAMPLES}-broken.csv", index=False)


def main():
    rows, malignant = load()
    write_samples(rows)
    train, test, train_is, test_is = train_test_split(rows, malignant, test_size=0.25, stratify=malignant, random_state=7)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=2000))
    model.fit(train, train_is)
    joblib.dump(model, "model.joblib", compress=3)

    chance = model.predict_proba(test)[:, 1]
    print(f"rows: {len(train)}, tested on {len(test)}")
    print(f"auc: {roc_auc_score(test_is, chance):.4f}")
    print(f"accuracy: {accuracy_score(test_is, chance > 0.5):.4f}")
    print(f"brier: {brier_score_loss(test_is, chance):.4f}")
    for i in (0, 19, 13):
        one = pd.DataFrame(rows.iloc[[i]])
        print(i, malignant[i], round(float(model.predict_proba(one)[0, 1]), 6))


if __name__ == "__main__":
    main()
