import threading

lock = threading.Lock()


def score(x):
    with lock:
        return {"y": 2 * x}


def predict(rows: list):
    with lock:
        return [score(row["x"]) for row in rows]
