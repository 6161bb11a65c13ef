def predict(rows: list):
    return [{"y": 1 / (row["x"] - 13)} for row in rows]
