"""Says of every feature which column it came in and which value it had."""

import pandas


def value(v):
    if isinstance(v, (list, tuple)) or hasattr(v, "tolist") and getattr(v, "ndim", 0) == 1:
        return "[" + ",".join(value(item) for item in v) + "]"
    if v is None or v is pandas.NA or v is pandas.NaT or v != v:
        return "NA"
    if type(v).__name__ in ("bool", "bool_"):
        return "=" + str(bool(v)).lower()
    if isinstance(v, str):
        return "=" + v
    if hasattr(v, "tzinfo") and v.tzinfo is not None:
        return "=%d" % ((v - pandas.Timestamp(0, tz="UTC")) // pandas.Timedelta(microseconds=1))
    if hasattr(v, "isoformat"):
        return "=" + (v.isoformat() if not hasattr(v, "hour") else v.isoformat().replace("T00:00:00", ""))
    if type(v).__name__.startswith("int"):
        return "=%d" % v
    return "=%.17g" % v


def kind(column):
    if str(column.dtype) == "category":
        return "category[%s]" % ",".join(str(level) for level in column.cat.categories)
    return str(column.dtype)


def predict(rows):
    answer = {}
    for name in rows.columns:
        column = rows[name]
        answer["saw_" + name] = [kind(column) + "|" + value(v) for v in column]
        answer["back_" + name] = column
    return pandas.DataFrame(answer, index=rows.index)
