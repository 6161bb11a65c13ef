import math

WEIGHT = 0.9


def predict(rows: list):
    return [score(row) for row in rows]


def score(row):
    given = sum(row["last_three_years"])
    z = WEIGHT * math.log1p(row["gifts"]) + 0.004 * given + 0.4 * row["newsletter"] - 1.6
    reply = 1 / (1 + math.exp(-z))
    segment = "loyal" if reply > 0.7 else "warm" if reply > 0.35 else "sleeping"
    likes = [1 + 2 * (row["channel"] == name) for name in ("letter", "telephone", "street")]
    return {
        "reply": reply,
        "ask": float(round(row["last_gift"] * (1 + reply) / 5) * 5),
        "segment": segment,
        "best_channel": [like / sum(likes) for like in likes],
    }
