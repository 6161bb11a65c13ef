def predict(rows: list):
    order = sorted(row["x"] for row in rows)
    return [{"y": order.index(row["x"])} for row in rows]
