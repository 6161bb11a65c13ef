def predict(rows: list):
    return [{"y": 2 * row["x"] + 1} for row in rows]
