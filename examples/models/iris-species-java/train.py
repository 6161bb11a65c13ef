"""Trains the coefficients that the Java program scores with.

    pip install scikit-learn==1.9.1
    python train.py
"""

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import cross_val_predict

FEATURES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]


def main():
    iris = load_iris()
    model = LogisticRegression(C=1.0, max_iter=1000)
    unseen = cross_val_predict(model, iris.data, iris.target, cv=10, method="predict_proba")
    print(f"in ten folds: accuracy {accuracy_score(iris.target, unseen.argmax(axis=1)):.4f}, log loss {log_loss(iris.target, unseen):.4f}")
    model.fit(iris.data, iris.target)
    with open("coefficients.csv", "w", encoding="utf-8") as out:
        out.write(",".join(["species", "intercept", *FEATURES]) + "\n")
        for species, intercept, weights in zip(iris.target_names, model.intercept_, model.coef_):
            out.write(",".join([species, *(repr(float(v)) for v in (intercept, *weights))]) + "\n")
    for i in (0, 77, 149):
        print(iris.data[i], iris.target_names[iris.target[i]], model.predict_proba(iris.data[[i]]).round(4)[0])


if __name__ == "__main__":
    main()
