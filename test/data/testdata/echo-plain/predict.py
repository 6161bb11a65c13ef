"""Says of every feature of which type it was and which value it had."""

import datetime

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def value(v):
    if isinstance(v, list):
        return "[" + ",".join(value(item) for item in v) + "]"
    if v is None:
        return "NA"
    if isinstance(v, bool):
        return "=" + str(v).lower()
    if isinstance(v, datetime.datetime):
        return "=%d" % ((v - EPOCH) // datetime.timedelta(microseconds=1))
    if isinstance(v, datetime.date):
        return "=" + v.isoformat()
    if isinstance(v, float):
        return "=%.17g" % v
    return "=" + str(v)


def predict(rows: list):
    answers = []
    for row in rows:
        answer = {}
        for name, v in row.items():
            answer["saw_" + name] = type(v).__name__ + "|" + value(v)
            answer["back_" + name] = v
        answers.append(answer)
    return answers
