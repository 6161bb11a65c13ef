def predict(rows: list):
    for _ in range(1000):
        print("debug: still here, rows look fine, nothing to see, carry on " * 17)
    return [{"y": 2 * row["x"]} for row in rows]
