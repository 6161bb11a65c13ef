def predict(rows: list):
    return [{"y": 2 * row["x"]} for row in rows[1:]]
