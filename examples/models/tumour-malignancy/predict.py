import joblib

model = joblib.load("model.joblib")


def predict(rows):
    return model.predict_proba(rows)[:, 1]
