"""Answers in the way that the rows ask for: some right, some wrong."""

import numpy
import pandas


def predict(rows):
    how, x = rows["how"].iloc[0], rows["x"]
    frame = pandas.DataFrame({"p": x}, index=rows.index)
    labelled = frame.assign(label=["a" if v < 0.5 else "b" for v in x])
    return {
        "frame": lambda: frame,
        "series": lambda: x,
        "array": lambda: x.to_numpy(),
        "list": lambda: x.tolist(),
        "dicts": lambda: [{"p": v} for v in x],
        "permuted": lambda: frame.sort_values("p", ascending=False),
        "permuted series": lambda: x.sort_values(ascending=False),
        "foreign": lambda: frame.set_index(frame.index + 100),
        "proba": lambda: numpy.column_stack([1 - x, x]),
        "wide": lambda: numpy.column_stack([x, x, x]),
        "few": lambda: x.to_numpy()[1:],
        "many": lambda: numpy.append(x, 0.5),
        "fewer": lambda: frame.iloc[1:],
        "nan": lambda: x.where(x < 0.8).to_numpy(),
        "beyond": lambda: x.to_numpy() * 8,
        "text": lambda: ["high"] * len(x),
        "name": lambda: frame.rename(columns={"p": "pp"}),
        "extra": lambda: frame.assign(q=1.0),
        "nothing": lambda: None,
        "labelled": lambda: labelled,
        "turned": lambda: labelled[["label", "p"]],
        "pairs": lambda: [[v, "a"] for v in x],
        "level": lambda: labelled.assign(label="c"),
        "half": lambda: frame,
    }[how]()
