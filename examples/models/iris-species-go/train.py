"""Writes the flowers that the Go program compares with, and measures how good that is.

    pip install scikit-learn==1.9.1
    python train.py
"""

from sklearn.datasets import load_iris
from sklearn.metrics import accuracy_score
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

NEIGHBOURS = 9  # as in model.go


def main():
    iris = load_iris()
    model = make_pipeline(StandardScaler(), KNeighborsClassifier(NEIGHBOURS))
    unseen = cross_val_predict(model, iris.data, iris.target, cv=10)
    print(f"in ten folds: accuracy {accuracy_score(iris.target, unseen):.4f}")
    with open("flowers.csv", "w", encoding="utf-8") as out:
        out.write("sepal_length,sepal_width,petal_length,petal_width,species\n")
        for row, species in zip(iris.data, iris.target):
            out.write(",".join([*(f"{v:g}" for v in row), iris.target_names[species]]) + "\n")
    model.fit(iris.data, iris.target)
    for row in ([5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.0, 1.7], [6.0, 2.7, 5.1, 1.6], [5.9, 3.0, 5.1, 1.8]):
        print(row, model.predict_proba([row]).round(4)[0])


if __name__ == "__main__":
    main()
