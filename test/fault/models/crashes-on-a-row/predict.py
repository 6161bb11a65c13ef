import ctypes


def score(x):
    if x == 13:
        ctypes.string_at(0)  # what a bug in a C library does: the whole process is gone
    return {"y": 2 * x}


def predict(rows: list):
    return [score(row["x"]) for row in rows]
