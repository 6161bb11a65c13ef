history = []


def predict(rows: list):
    while len(history) < 1000:
        history.append(b"x" * (8 << 20))
    return [{"y": 2 * row["x"]} for row in rows]
