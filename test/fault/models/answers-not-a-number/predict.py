def predict(rows: list):
    return [{"y": float("nan") if row["x"] == 13 else 2 * row["x"]} for row in rows]
