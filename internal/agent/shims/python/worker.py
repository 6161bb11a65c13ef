"""Runs a Python model for Model Manager's agent.

    python worker.py FILE FUNCTION

loads FILE and answers the agent's requests (file descriptors 3 and 4) with
FUNCTION(rows) or FUNCTION(rows, params). Rows are a pandas DataFrame where
pandas is installed, a list of dicts where it isn't or where the function says
so (`rows: list`). Needs the standard library alone.
"""

import datetime
import difflib
import faulthandler
import importlib.util
import inspect
import json
import math
import os
import sys
import traceback
import types


class RowError(ValueError):
    """Stands in a list of predictions for a row that the model refuses."""


class RowErrors(ValueError):
    """Refuses some rows: RowErrors({row: message}), rows counted from 0.

    The other rows are asked again without them, unless predictions (for all
    rows, whatever in the refused ones) are given.
    """

    def __init__(self, errors, predictions=None):
        self.errors = {int(row): str(message) for row, message in dict(errors).items()}
        self.predictions = predictions
        super().__init__("; ".join("row %d: %s" % item for item in self.errors.items()))


class AnswerError(Exception):
    """What predict returned can't be used; the message is for its author."""


def install_module():
    """Makes `import modelmanager` work inside a model."""
    module = types.ModuleType("modelmanager", "What a model can say to Model Manager.")
    module.RowError = RowError
    module.RowErrors = RowErrors
    RowError.__module__ = RowErrors.__module__ = "modelmanager"
    sys.modules.setdefault("modelmanager", module)


# ---------------------------------------------------------------- loading


def load(path, name):
    """Returns the function `name` of the file `path`."""
    folder = os.path.dirname(os.path.abspath(path))
    for entry in (os.getcwd(), folder):
        if entry in sys.path:
            sys.path.remove(entry)
        sys.path.insert(0, entry)
    stem = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(stem, os.path.abspath(path))
    if spec is None:
        raise AnswerError("%s is not a Python file" % path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[stem] = module
    spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if function is None:
        names = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        near = difflib.get_close_matches(name, names, 1)
        hint = "; did you mean %s?" % near[0] if near else ""
        raise AnswerError("there is no function %s in it%s" % (name, hint))
    if not callable(function):
        raise AnswerError("%s is not a function" % name)
    return function


def reads_params(function):
    """Whether function takes params as its second argument."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(positional) >= 2:
        return positional[1].name == "params" or positional[1].default is inspect.Parameter.empty
    return any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters)


def wants_list(function):
    """Whether function's first argument is annotated as a list."""
    try:
        first = next(iter(inspect.signature(function).parameters.values()))
    except (TypeError, ValueError, StopIteration):
        return False
    note = first.annotation
    if note is inspect.Parameter.empty:
        return False
    text = note if isinstance(note, str) else getattr(note, "__name__", None) or str(note)
    text = (text if isinstance(note, str) else str(note) + " " + text).lower()
    return "list" in text or "sequence" in text or "iterable" in text


def last_line(error):
    """An exception as one line: its type, its message, its place in the model."""
    text = traceback.format_exception_only(type(error), error)[-1].strip()
    if isinstance(error, SystemExit):
        text = "SystemExit: the model called sys.exit(%s)" % ("" if error.code is None else error.code)
    here, root = os.path.abspath(__file__), os.getcwd() + os.sep
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        name = os.path.abspath(frame.f_code.co_filename)
        if name != here and name.startswith(root) and "site-packages" not in name:
            place = " (%s:%d)" % (name[len(root):], line)
    if isinstance(error, SyntaxError) and (error.filename or "").startswith(root):
        # The frames end in the importer; the exception knows the place itself.
        text = "%s: %s" % (type(error).__name__, error.msg)
        place = " (%s:%s)" % (error.filename[len(root):], error.lineno)
    if isinstance(error, ModuleNotFoundError) and place:
        place += "; is it in requirements.txt?"
    return " ".join(text.split())[:2000] + place


TRANSIENT = {
    "requests.exceptions.ConnectionError", "requests.exceptions.Timeout",
    "urllib3.exceptions.TimeoutError", "urllib3.exceptions.NewConnectionError",
    "urllib3.exceptions.MaxRetryError", "urllib3.exceptions.ProtocolError",
    "httpx.TransportError", "httpx.NetworkError", "httpx.TimeoutException",
    "aiohttp.client_exceptions.ClientConnectionError",
    "sqlalchemy.exc.OperationalError", "psycopg2.OperationalError", "psycopg.OperationalError",
    "redis.exceptions.ConnectionError", "redis.exceptions.TimeoutError",
    "botocore.exceptions.ConnectionError", "botocore.exceptions.HTTPClientError",
    "google.api_core.exceptions.ServiceUnavailable", "google.api_core.exceptions.DeadlineExceeded",
}


def is_transient(error):
    """Whether an exception speaks of a connection or a time-out, not of the rows."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, (ConnectionError, TimeoutError)):
            return True
        kinds = {"%s.%s" % (k.__module__, k.__name__) for k in type(error).__mro__}
        if kinds & TRANSIENT:
            return True
        if "urllib.error.URLError" in kinds and "urllib.error.HTTPError" not in kinds:
            return True
        if "socket.gaierror" in kinds:
            return True
        error = error.__cause__
    return False


# ---------------------------------------------------------------- rows in


def can_be_null(field):
    return bool(field.get("nullable") or field.get("unknown") == "null"
                or ("default" in field and field["default"] is None))


def levels(field):
    """A field's levels, where it has any."""
    enum = field.get("enum")
    if not enum or field["type"] == "boolean" or field.get("unknown") == "accept":
        return None
    if field["type"] == "integer":
        return [int(v) for v in enum]
    return enum


def kind_of(field):
    if field["type"] == "string" and field.get("format") in ("date", "date-time"):
        return field["format"]
    return field["type"]


def parse_date(text):
    return datetime.date.fromisoformat(text)


def parse_time(text):
    text = text.replace("z", "Z").replace("t", "T")
    if text.endswith("Z"):
        text = text[:-1] + "+00:00"
    head, dot, rest = text.partition(".")
    if dot:
        digits = len(rest) - len(rest.lstrip("0123456789"))
        text = head + "." + (rest[:digits] + "000000")[:6] + rest[digits:]
    return datetime.datetime.fromisoformat(text).astimezone(datetime.timezone.utc)


def parser(field):
    """Returns a function from a JSON value to a Python one, or None for the same."""
    kind = kind_of(field)
    if kind == "date":
        return parse_date
    if kind == "date-time":
        return parse_time
    if kind == "integer" and field.get("format") == "int64":
        return int
    if kind == "number":
        return float
    if kind == "array" and field.get("items"):
        inner = parser(field["items"])
        if inner is not None:
            return lambda values: [None if v is None else inner(v) for v in values]
    return None


class ListReader:
    """Makes lists of dicts."""

    formats = ["rows"]

    def __init__(self, features):
        self.parsers = [(f["name"], p) for f in features for p in [parser(f)] if p is not None]

    def rows(self, rows):
        for row in rows:
            for name, parse in self.parsers:
                value = row.get(name)
                if value is not None:
                    row[name] = parse(value)
        return rows

    def without(self, rows, refused):
        return [row for i, row in enumerate(rows) if i not in refused]


class FrameReader:
    """Makes pandas DataFrames, with dtypes from the spec alone."""

    def __init__(self, features):
        import numpy
        import pandas

        self.np, self.pd = numpy, pandas
        self.features = {f["name"]: f for f in features}
        major = int(pandas.__version__.split(".")[0])
        self.unit = "us" if major >= 2 else "ns"
        self.string = "str" if major >= 3 else object
        self.names = pandas.Index(list(self.features))
        # Numbers alone are one block: a frame of them takes a tenth of the time
        # to make, and a model that wants a matrix gets it without a copy.
        self.matrix = bool(features) and all(kind_of(f) == "number" and levels(f) is None for f in features)

    @property
    def formats(self):
        try:
            import pyarrow  # noqa: F401
            import pyarrow.ipc  # noqa: F401
        except ImportError:
            return ["columns"]
        return ["arrow", "columns"]

    def columns(self, n, columns):
        data = {name: self.column(field, columns[name]) for name, field in self.features.items()}
        return self.pd.DataFrame(data, index=self.pd.RangeIndex(n), copy=False)

    def column(self, field, values):
        pd, np, kind = self.pd, self.np, kind_of(field)
        if kind == "integer" and field.get("format") == "int64":
            values = [None if v is None else int(v) for v in values]
        if levels(field) is not None:
            return pd.Categorical(values, categories=levels(field))
        if kind == "boolean":
            return pd.array(values, dtype="boolean") if can_be_null(field) else np.array(values, dtype=bool)
        if kind == "integer":
            return pd.array(values, dtype="Int64") if can_be_null(field) else np.array(values, dtype=np.int64)
        if kind == "number":
            return np.array([math.nan if v is None else v for v in values], dtype=np.float64)
        if kind == "date":
            return pd.Series(np.array(values, dtype="datetime64[D]").astype("datetime64[%s]" % self.unit))
        if kind == "date-time":
            plain = [None if v is None else parse_time(v).replace(tzinfo=None) for v in values]
            return pd.Series(np.array(plain, dtype="datetime64[us]")).astype(
                "datetime64[%s]" % self.unit).dt.tz_localize("UTC")
        if kind == "array":
            parse = parser(field) or list
            cells = np.empty(len(values), dtype=object)
            for i, v in enumerate(values):
                cells[i] = None if v is None else parse(v)
            return cells
        return pd.Series(values, dtype=self.string)

    def arrow(self, body):
        import pyarrow

        with pyarrow.ipc.open_stream(pyarrow.py_buffer(body)) as reader:
            table = reader.read_all()
        if self.matrix:
            cells = self.np.empty((len(self.names), table.num_rows))
            for i, name in enumerate(self.features):
                cells[i] = table.column(name).to_numpy()
            return self.pd.DataFrame(cells.T, index=self.pd.RangeIndex(table.num_rows), columns=self.names, copy=False)
        data = {name: self.arrow_column(field, table.column(name)) for name, field in self.features.items()}
        return self.pd.DataFrame(data, index=self.pd.RangeIndex(table.num_rows), copy=False)

    def arrow_column(self, field, column):
        pd, np, kind = self.pd, self.np, kind_of(field)
        if levels(field) is not None:
            chunk = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
            codes = chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False)
            return pd.Categorical.from_codes(codes, categories=levels(field))
        if kind == "number":
            return column.to_numpy()
        if kind == "integer":
            if can_be_null(field):
                return column.to_pandas(types_mapper={column.type: pd.Int64Dtype()}.get).array
            return column.to_numpy()
        if kind == "boolean":
            if can_be_null(field):
                return column.to_pandas(types_mapper={column.type: pd.BooleanDtype()}.get).array
            return column.to_numpy()
        if kind == "date":
            return column.cast("timestamp[us]").to_numpy().astype("datetime64[%s]" % self.unit)
        if kind == "date-time":
            values = column.to_numpy().astype("datetime64[%s]" % self.unit)
            return pd.Series(values).dt.tz_localize("UTC")
        if kind == "array":
            cells = np.empty(len(column), dtype=object)
            for i, v in enumerate(column.to_pylist()):
                cells[i] = v
            return cells
        return pd.Series(column.to_pylist(), dtype=self.string)

    def without(self, rows, refused):
        return rows[[i not in refused for i in range(len(rows))]].reset_index(drop=True)


# ---------------------------------------------------------------- answers out


def is_frame(value):
    return type(value).__name__ == "DataFrame" and hasattr(value, "columns") and hasattr(value, "index")


def is_series(value):
    return hasattr(value, "index") and hasattr(value, "dtype") and hasattr(value, "to_numpy") and not is_frame(value)


class Answer:
    """What predict returned, as one sequence a prediction, and the refused rows."""

    def __init__(self, predictions, n):
        self.fields = predictions
        self.n = n
        self.columns = {}
        self.refused = {}

    def fill(self, result):
        if inspect.iscoroutine(result):
            import asyncio
            result = asyncio.run(result)
        if result is None:
            raise AnswerError("predict returned None; it must return predictions for its rows")
        if not is_frame(result) and hasattr(result, "to_pandas"):
            result = result.to_pandas()
        if is_frame(result):
            return self.from_frame(result)
        if is_series(result):
            return self.from_array(self.align(result).array)
        if isinstance(result, dict):
            return self.from_columns(result)
        if hasattr(result, "ndim") and hasattr(result, "shape"):
            return self.from_array(result)
        if isinstance(result, (str, bytes)) or not hasattr(result, "__iter__"):
            raise AnswerError("predict returned a %s; it must return a DataFrame, a list or an array"
                              % type(result).__name__)
        return self.from_list(list(result))

    def check_length(self, length):
        if length != self.n:
            raise AnswerError("predict returned %d predictions for %d row%s; it must return one for each"
                              % (length, self.n, "" if self.n == 1 else "s"))

    def align(self, value):
        """Puts a Series or DataFrame into the order of the rows, by its index."""
        index = value.index
        if type(index).__name__ == "RangeIndex" and index.start == 0 and index.step == 1:
            self.check_length(len(index))
            return value
        labels = list(index)
        if labels == list(range(self.n)):
            return value
        missing = set(range(self.n)).difference(labels)
        if len(labels) == self.n and not missing:
            return value.sort_index()
        if missing and len(labels) < self.n and set(labels) <= set(range(self.n)):
            shown = ", ".join(str(i) for i in sorted(missing)[:5]) + (" …" if len(missing) > 5 else "")
            raise AnswerError("predict returned %d predictions for %d rows: there is none for row %s"
                              % (len(labels), self.n, shown))
        self.check_length(len(labels))
        raise AnswerError("the index of what predict returned is not that of its rows, so that predictions "
                          "can't be told apart; keep the index of `rows`, or return an array")

    def from_frame(self, frame):
        frame = self.align(frame)
        names = [f["name"] for f in self.fields]
        if not set(names) & {str(c) for c in frame.columns}:
            plain = [c for c in frame.columns if isinstance(c, int)]
            if len(plain) == len(frame.columns) == len(names):
                frame.columns = names
        for position, name in enumerate(frame.columns):
            if str(name) in self.columns:
                raise AnswerError("predict returned two columns named %s" % name)
            self.columns[str(name)] = frame.iloc[:, position].array

    def from_columns(self, columns):
        for name, values in columns.items():
            if is_series(values):
                values = self.align(values).array
            elif isinstance(values, (str, bytes)) or not hasattr(values, "__len__"):
                raise AnswerError("predict returned a dict, but its %s is a %s and not one value per row"
                                  % (name, type(values).__name__))
            else:
                self.check_length(len(values))
            self.columns[str(name)] = values

    def from_array(self, values):
        shape = getattr(values, "shape", (len(values),))
        if len(shape) == 0:
            raise AnswerError("predict returned a single value; it must return one per row")
        self.check_length(shape[0])
        if len(shape) == 1:
            self.only_field(1)
            self.columns[self.fields[0]["name"]] = values
        elif len(shape) == 2:
            self.from_matrix(values, shape[1])
        else:
            raise AnswerError("predict returned an array of %d dimensions" % len(shape))

    def from_matrix(self, values, width):
        if len(self.fields) == 1 and self.fields[0]["type"] == "array":
            self.columns[self.fields[0]["name"]] = [list(row) for row in values]
            return
        self.only_field(width)
        for i, field in enumerate(self.fields):
            self.columns[field["name"]] = values[:, i]

    def only_field(self, width):
        if width == len(self.fields):
            return
        hint = "predict_proba? take [:, 1]" if width == 2 and len(self.fields) == 1 else \
            "return a DataFrame, or a column for each of " + ", ".join(f["name"] for f in self.fields)
        raise AnswerError("predict returned %d column%s for %d prediction%s: %s" % (
            width, "" if width == 1 else "s", len(self.fields), "" if len(self.fields) == 1 else "s", hint))

    def from_list(self, items):
        self.check_length(len(items))
        for i, item in enumerate(items):
            if item is None or isinstance(item, RowError):
                self.refused[i] = "" if item is None else str(item)
        kept = [item for i, item in enumerate(items) if i not in self.refused]
        if not kept:
            self.columns = {f["name"]: [None] * self.n for f in self.fields}
        elif all(isinstance(item, dict) for item in kept):
            self.from_dicts(items)
        elif all(isinstance(item, (list, tuple)) or getattr(item, "ndim", 0) == 1 for item in kept):
            self.from_lists(items, kept)
        else:
            self.only_field(1)
            self.columns[self.fields[0]["name"]] = [None if i in self.refused else v for i, v in enumerate(items)]

    def from_dicts(self, items):
        names = {}
        for item in items:
            if isinstance(item, dict):
                names.update(dict.fromkeys(item))
        for i, item in enumerate(items):
            absent = [f["name"] for f in self.fields if i not in self.refused and f["name"] not in item]
            if absent:
                raise AnswerError("the prediction for row %d lacks %s" % (i, ", ".join(absent)))
        for name in names:
            self.columns[str(name)] = [item.get(name) if isinstance(item, dict) else None for item in items]

    def from_lists(self, items, kept):
        if len(self.fields) == 1 and self.fields[0]["type"] == "array":
            self.columns[self.fields[0]["name"]] = [
                None if i in self.refused else list(v) for i, v in enumerate(items)]
            return
        for item in kept:
            self.only_field(len(item))
        for position, field in enumerate(self.fields):
            self.columns[field["name"]] = [
                None if i in self.refused else v[position] for i, v in enumerate(items)]

    # -- as the protocol's formats

    def errors(self):
        return [{"row": row, "message": message} for row, message in sorted(self.refused.items())]

    def lists(self):
        """The columns as lists of JSON values."""
        fields = {f["name"]: f for f in self.fields}
        out = {}
        for name, values in self.columns.items():
            if hasattr(values, "tolist"):
                values = values.tolist()
            field = fields.get(name, {})
            cells = [plain(v, field) for v in values]
            for row in self.refused:
                cells[row] = None
            out[name] = cells
        return out

    def arrow(self):
        """The columns as an Arrow IPC stream."""
        import pyarrow

        fields = {f["name"]: f for f in self.fields}
        arrays = []
        for name, values in self.columns.items():
            if self.refused:
                values = [None if i in self.refused else v for i, v in enumerate(values)]
            arrays.append(arrow_array(pyarrow, name, values, fields.get(name, {"type": ""})))
        batch = pyarrow.record_batch(arrays, names=list(self.columns))
        sink = pyarrow.BufferOutputStream()
        with pyarrow.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        return sink.getvalue()


def arrow_type(pyarrow, field):
    kind = kind_of(field)
    if kind == "array":
        item = arrow_type(pyarrow, field.get("items") or {"type": ""})
        return item and pyarrow.list_(item)
    return {"boolean": pyarrow.bool_(), "integer": pyarrow.int64(), "number": pyarrow.float64(),
            "string": pyarrow.string(), "date": pyarrow.date32(),
            "date-time": pyarrow.timestamp("us", "UTC")}.get(kind)


def arrow_array(pyarrow, name, values, field):
    """One column of answers. What doesn't have its field's type keeps its own,
    and the agent says what is wrong with it."""
    nulls = can_be_null(field)
    if not isinstance(values, list) and getattr(getattr(values, "dtype", None), "kind", "O") != "O":
        array = pyarrow.array(values, from_pandas=nulls)
    else:
        cells = [simple(v, nulls) for v in values]
        try:
            array = pyarrow.array(cells, type=arrow_type(pyarrow, field))
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, TypeError, ValueError, OverflowError):
            try:
                array = pyarrow.array(cells)
            except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, TypeError, ValueError, OverflowError) as error:
                raise AnswerError("the prediction %s is of mixed or unknown types: %s" % (name, error))
    return array.combine_chunks() if isinstance(array, pyarrow.ChunkedArray) else array


def simple(value, nulls):
    """A value of an object column as pyarrow takes it."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, float) and nulls and math.isnan(value):
        return None
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return simple(value.item(), nulls)
    if hasattr(value, "tolist"):
        return value.tolist()
    return value


def plain(value, field):
    """A value as JSON takes it. NaN is null only where null is allowed; else
    the agent refuses its row."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return str(value) if field.get("format") == "int64" else value
    if isinstance(value, float):
        return None if math.isnan(value) and can_be_null(field) else value
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return plain(value.item(), field)
    if isinstance(value, datetime.datetime):
        if kind_of(field or {"type": ""}) == "date":
            return value.date().isoformat()
        if value.tzinfo is None:
            value = value.replace(tzinfo=datetime.timezone.utc)
        return value.isoformat()
    if isinstance(value, datetime.date):
        return value.isoformat()
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(v, field.get("items") or {}) for v in value]
    if isinstance(value, dict):
        return {str(k): plain(v, {}) for k, v in value.items()}
    try:
        return plain(float(value), field)
    except (TypeError, ValueError):
        raise AnswerError("a prediction is a %s, which is no JSON value" % type(value).__name__)


# ---------------------------------------------------------------- serving


class Worker:
    def __init__(self, requests, answers, function):
        self.requests, self.answers = requests, answers
        self.function = function
        self.with_params = reads_params(function)
        self.pid = os.getpid()
        self.answered = lambda: None

    def say(self, message, body=None):
        line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        if body is not None:
            line += body
        view = memoryview(line)
        while view:
            view = view[os.write(self.answers, view):]

    def serve(self, reader_of):
        line = self.requests.readline()
        if not line:
            return
        hello = json.loads(line)
        self.format, self.fields = hello["format"], hello["predictions"]
        self.params = hello.get("params") or {}
        self.reader = reader_of(hello["features"])
        while True:
            line = self.requests.readline()
            if not line:
                return
            request = json.loads(line)
            body = self.requests.read(request["bytes"]) if "bytes" in request else None
            message, body = self.answer(request, body)
            if os.getpid() != self.pid:
                os._exit(0)  # the model forked, and its child came back here
            self.say(message, body)
            self.answered()

    def answer(self, request, body):
        try:
            if body is not None:
                rows = self.reader.arrow(body)
            elif "columns" in request:
                rows = self.reader.columns(request["n"], request["columns"])
            else:
                rows = self.reader.rows(request["rows"])
            answer = self.predict(rows, len(rows))
            message = {"id": request["id"]}
            if answer.refused:
                message["errors"] = answer.errors()
            if self.format == "arrow":
                data = answer.arrow()
                message["bytes"] = data.size
                return message, data.to_pybytes()
            columns = answer.lists()
            if self.format == "columns":
                message["n"], message["columns"] = answer.n, columns
            else:
                message["predictions"] = self.objects(columns, answer)
            return message, None
        except AnswerError as error:
            return {"id": request["id"], "error": str(error)}, None
        except BaseException as error:
            if os.getpid() == self.pid:
                traceback.print_exc()
            message = {"id": request["id"], "error": last_line(error)}
            if is_transient(error):
                message["retry"] = True
            return message, None

    @staticmethod
    def objects(columns, answer):
        names = list(columns)
        rows = [dict(zip(names, cells)) for cells in zip(*columns.values())] if names else [{}] * answer.n
        for row in answer.refused:
            rows[row] = None
        return rows

    def predict(self, rows, n):
        answer = Answer(self.fields, n)
        try:
            answer.fill(self.call(rows))
            return answer
        except RowErrors as error:
            refused = {row: message for row, message in error.errors.items() if 0 <= row < n}
            if not refused:
                raise
            return self.predict_others(rows, n, refused, error.predictions)

    def predict_others(self, rows, n, refused, predictions):
        """Answers for the rows that aren't refused, asking again if need be."""
        answer = Answer(self.fields, n)
        if predictions is not None:
            answer.fill(predictions)
            answer.refused.update(refused)
            return answer
        kept = [i for i in range(n) if i not in refused]
        answer.columns = {f["name"]: [None] * n for f in self.fields}
        answer.refused.update(refused)
        if not kept:
            return answer
        others = self.predict(self.reader.without(rows, refused), len(kept))
        answer.columns = {}
        for name, values in others.columns.items():
            cells = [None] * n
            for i, value in zip(kept, values):
                cells[i] = value
            answer.columns[name] = cells
        for row, message in others.refused.items():
            answer.refused[kept[row]] = message
        return answer

    def call(self, rows):
        result = self.function(rows, self.params) if self.with_params else self.function(rows)
        if inspect.isgenerator(result):
            result = list(result)
        return result


def choose_reader(function):
    """Returns what makes rows for function, and its formats."""
    if not wants_list(function):
        try:
            return FrameReader, FrameReader([]).formats
        except ImportError:
            pass
    return ListReader, ListReader.formats


def keep_from_children(descriptors):
    """Keeps forked children from the agent's pipes."""
    def close():
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in descriptors:
            os.dup2(null, descriptor)
        os.close(null)

    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    os.register_at_fork(after_in_child=close)


# ---------------------------------------------------------------- modules

# Modules that do something to the machine or the process when they are imported.
NEVER_BEFOREHAND = {"__main__", "antigravity", "this", "idlelib", "turtle", "turtledemo", "test", "modelmanager"}


def module_roots():
    """The folders of the standard library and of the environment's packages."""
    import site
    import sysconfig

    paths = sysconfig.get_paths()
    roots = [paths[k] for k in ("stdlib", "platstdlib", "purelib", "platlib")] + site.getsitepackages()
    return tuple({os.path.join(os.path.realpath(r), "") for r in roots} | {os.path.join(r, "") for r in roots})


class Imports:
    """Notes which modules of the environment a model needs, in the order of
    their import: a zygote imports them beforehand. They are kept in a file in
    the worker's home. Modules of the model's own folder are never among them."""

    name = ".modules.json"

    def __init__(self, known=()):
        self.path = os.path.join(os.environ.get("HOME", "/nonexistent"), self.name)
        self.known = set(known)
        self.seen = 0

    def note(self):
        if len(sys.modules) == self.seen:
            return
        self.seen = len(sys.modules)
        try:
            roots = module_roots()
            names = [n for n, m in list(sys.modules.items()) if self.belongs(n, m, roots)]
            if not self.known.issuperset(names):
                self.known.update(names)
                with open(self.path + ".new", "w") as file:
                    json.dump({"modules": names}, file)
                os.replace(self.path + ".new", self.path)
        except Exception as error:  # a worker without a home, or with odd modules, works as well
            print("the worker's modules are not noted: %s" % error, file=sys.stderr)

    @staticmethod
    def belongs(name, module, roots):
        try:
            spec = module.__spec__
            return (spec.name == name and name.split(".")[0] not in NEVER_BEFOREHAND
                    and isinstance(spec.origin, str) and spec.origin.startswith(roots))
        except Exception:
            return False


def run(path, name, known=()):
    install_module()
    keep_from_children([3, 4])
    requests = os.fdopen(3, "rb", buffering=1 << 16, closefd=False)
    imports = Imports(known)
    worker = Worker(requests, 4, lambda rows: rows)
    try:
        function = load(path, name)
        reader, formats = choose_reader(function)
    except BaseException as error:
        if os.getpid() != worker.pid:
            os._exit(0)
        if isinstance(error, AnswerError):
            reason = str(error)
        else:
            traceback.print_exc()
            reason = last_line(error)
        worker.say({"error": "%s failed to load: %s" % (path, reason)})
        sys.exit(1)
    worker = Worker(requests, 4, function)
    worker.say({"ready": True, "protocol": 1, "formats": formats})
    imports.note()
    worker.answered = imports.note
    worker.serve(reader)


# ---------------------------------------------------------------- zygote


class Zygote:
    """Forks workers from a process that has imported what they import.

    A connection brings one line of JSON, {"file", "function", "dir", "env",
    "nice"}, with four descriptors: requests, answers, stdout and stderr. It
    gets back {"pid": …}, and {"status": …} as waitpid gives it once the worker
    is dead. When the connection closes first, the worker's group is killed.

    The zygote runs no code of a model: it imports what lies in the environment
    and the standard library, and nothing else. It doesn't even read a request:
    its child does, so that no model's secrets lie in memory that another one's
    worker gets a copy of. It has one thread, and never more.
    """

    def __init__(self, path, modules):
        import ctypes
        import gc
        import select
        import signal
        import socket
        import struct

        self.signal, self.socket, self.select, self.struct, self.ctypes = signal, socket, select, struct, ctypes
        self.libc = ctypes.CDLL(None)
        self.libc.prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: what workers leave behind comes here
        self.parent = os.getppid()
        self.places = {name: self.place(name) for name in ("HOME", "MM_WORKER_ID")}
        install_module()
        self.prepare(modules, os.path.join(os.path.dirname(path), "threads"))
        self.known = [n for n in sys.modules]
        gc.collect()
        gc.freeze()
        self.workers = {}  # pid → connection
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        old = os.umask(0o177)
        self.listener.bind(path)
        os.umask(old)
        self.listener.listen(64)
        self.poll = select.epoll()
        self.handlers = {}
        self.watch(self.listener, select.EPOLLIN, self.accept)
        self.wake, wakeup = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(wakeup, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.poll.register(self.wake, select.EPOLLIN)
        self.handlers[self.wake] = self.reap

    def prepare(self, modules, report):
        """Imports modules, as far as that is safe."""
        import importlib

        roots = module_roots()
        for name in modules:
            if name in sys.modules or not self.trusted(name, roots):
                continue
            try:
                importlib.import_module(name)
            except BaseException as error:
                print("not imported: %s: %s" % (name, error), file=sys.stderr)
            if threads() != {"main"}:
                # A fork copies one thread, and whatever the others have locked.
                with open(report, "w") as file:
                    file.write(name)
                sys.exit("importing %s starts threads" % name)

    @staticmethod
    def trusted(name, roots):
        top = name.split(".")[0]
        if top in NEVER_BEFOREHAND:
            return False
        try:
            spec = importlib.util.find_spec(top)
            places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or [])
        except Exception:
            return False
        return bool(places) and all(p in ("built-in", "frozen") or os.path.realpath(p).startswith(roots) for p in places)

    def place(self, name):
        """Where the environment that the kernel shows has a value, and how long
        it is: workers are found by what stands there (place_value)."""
        self.libc.getenv.restype = self.ctypes.c_void_p
        address = self.libc.getenv(name.encode())
        return (address, len(os.environb[name.encode()])) if address else None

    def place_value(self, name, value):
        place, value = self.places[name], value.encode()
        if place and len(value) <= place[1]:
            self.ctypes.memmove(place[0], value.ljust(place[1], b"\0"), place[1])

    def watch(self, connection, events, handler):
        self.poll.register(connection.fileno(), events)
        self.handlers[connection.fileno()] = lambda: handler(connection)

    def unwatch(self, connection):
        self.poll.unregister(connection.fileno())
        del self.handlers[connection.fileno()]

    def run(self):
        """Serves for ever; returns, in a forked worker, what to run."""
        while True:
            for descriptor, _ in self.poll.poll():
                handler = self.handlers.get(descriptor)
                work = handler() if handler else None
                if work is not None:
                    return work

    def accept(self, listener):
        connection, _ = listener.accept()
        if self.may_ask(connection):
            self.watch(connection, self.select.EPOLLIN, self.begin)
        else:
            connection.close()

    def may_ask(self, connection):
        """Agents may ask, children of the server as the zygote is, and the
        server itself: workers, which are children of agents or of a zygote,
        may not. This stops a worker that talks to the socket, not one that
        attacks other processes of its user: that takes another user for each
        model, or a pod."""
        credentials = connection.getsockopt(self.socket.SOL_SOCKET, self.socket.SO_PEERCRED, 12)
        pid = self.struct.unpack("3i", credentials)[0]
        return self.parent in (pid, parent_of(pid))

    def begin(self, connection):
        self.unwatch(connection)
        try:
            # The request stays where it is: the worker reads it.
            if not connection.recv(1, self.socket.MSG_PEEK | self.socket.MSG_DONTWAIT):
                raise OSError("closed")
        except OSError:
            connection.close()
            return None
        pid = os.fork()
        if pid == 0:
            return self.become(connection)
        try:
            os.setpgid(pid, pid)
        except OSError:
            pass  # it has done so itself, or is gone
        self.workers[pid] = connection
        self.watch(connection, self.select.EPOLLRDHUP, lambda c: self.gone(pid, c))
        self.tell(pid, {"pid": pid})
        return None

    def tell(self, pid, message):
        try:
            self.workers[pid].sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            pass  # closed: gone follows

    def gone(self, pid, connection):
        """The agent has closed its end."""
        self.unwatch(connection)
        connection.close()
        if self.workers.pop(pid, None) is not None:
            try:
                os.killpg(pid, self.signal.SIGKILL)
            except OSError:
                pass

    def reap(self):
        try:
            os.read(self.wake, 4096)
        except BlockingIOError:
            pass
        ended = False
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            ended = True
            connection = self.workers.pop(pid, None)
            if connection is not None:
                try:
                    os.killpg(pid, self.signal.SIGKILL)
                except OSError:
                    pass
                self.unwatch(connection)
                try:
                    connection.sendall(json.dumps({"status": status}).encode() + b"\n")
                except OSError:
                    pass
                connection.close()
        if ended:
            self.end_orphans()

    def end_orphans(self):
        """Kills what workers that are dead have left behind."""
        me, alive = os.getpid(), None
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) in self.workers or parent_of(int(entry)) != me:
                continue
            if alive is None:
                alive = {marker_of(worker) for worker in self.workers} - {None}
            if marker_of(int(entry)) not in alive:
                try:
                    os.kill(int(entry), self.signal.SIGKILL)
                except OSError:
                    pass

    def become(self, connection):
        """Turns a forked process into a worker."""
        signal = self.signal
        self.libc.prctl(1, int(signal.SIGKILL), 0, 0, 0)  # PR_SET_PDEATHSIG
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        connection.settimeout(5)
        line, descriptors, _, _ = self.socket.recv_fds(connection, 1 << 20, 4)
        while line and not line.endswith(b"\n"):
            more = connection.recv(1 << 20)
            line = line + more if more else b""
        if not line or len(descriptors) != 4:
            os._exit(1)
        request = json.loads(line)
        # Nothing of the zygote's stays open, least of all its other workers' sockets.
        for other in [self.poll, self.listener, connection, *self.workers.values()]:
            other.close()
        null = os.open(os.devnull, os.O_RDONLY)
        moved = [os.dup(d) for d in [null] + [descriptors[i] for i in (2, 3, 0, 1)]]
        while min(moved) < 5:
            moved = [d if d >= 5 else os.dup(d) for d in moved]
        for target, descriptor in enumerate(moved):
            os.dup2(descriptor, target)
        os.closerange(5, max(int(d) for d in os.listdir("/proc/self/fd")) + 1)
        os.environ.clear()
        os.environ.update(request["env"])
        for name in self.places:
            self.place_value(name, request["env"].get(name, ""))
        os.setpriority(os.PRIO_PROCESS, 0, max(request.get("nice", 0), os.getpriority(os.PRIO_PROCESS, 0)))
        os.chdir(request["dir"])
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(line_buffering=True, write_through=True)
        sys.argv = [sys.argv[0], request["file"], request["function"]]
        faulthandler.enable()
        self.differ(request["env"])
        return request["file"], request["function"], self.known

    @staticmethod
    def differ(environ):
        """Gives a worker what no two may share, and libraries what they have
        read from the environment of the zygote."""
        import time

        time.tzset()
        loaded = sys.modules.get
        if loaded("tempfile"):
            loaded("tempfile").tempdir = None
        if loaded("numpy.random"):
            loaded("numpy.random").seed()
        if loaded("torch"):
            loaded("torch").seed()
        wanted = environ.get("OMP_NUM_THREADS", "1")
        if wanted.isdigit() and int(wanted) > 1 and loaded("threadpoolctl"):
            loaded("threadpoolctl").threadpool_limits(int(wanted))


def threads():
    """The names of this process's threads, but for jemalloc's: it sees to its own when a process forks."""
    names = set()
    for thread in os.listdir("/proc/self/task"):
        try:
            with open("/proc/self/task/%s/comm" % thread) as file:
                name = file.read().strip()
        except OSError:
            continue  # it has ended
        names.add("main" if int(thread) == os.getpid() else name)
    return names - {"jemalloc_bg_thd"}


def parent_of(pid):
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return None


def marker_of(pid):
    try:
        with open("/proc/%d/environ" % pid, "rb") as file:
            for entry in file.read().split(b"\0"):
                if entry.startswith(b"MM_WORKER_ID="):
                    return entry
    except OSError:
        pass
    return None


def fork_workers(path, modules):
    work = Zygote(path, modules).run()
    code = 0
    try:
        run(*work)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    import atexit
    import threading

    threading._shutdown()  # waits for the model's threads, as a program's end does
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.path.pop(0)
    if sys.argv[1] == "--zygote":
        fork_workers(sys.argv[2], sys.stdin.read().split())
    else:
        run(sys.argv[1], sys.argv[2])
