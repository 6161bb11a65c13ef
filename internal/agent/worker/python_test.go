package worker_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/spec"
)

// everything has a feature of each type.
var everything = []modelmanager.Field{
	{Name: "flag", Type: modelmanager.Boolean},
	{Name: "count", Type: modelmanager.Integer, Nullable: true},
	{Name: "size", Type: modelmanager.Number, Nullable: true},
	{Name: "side", Type: modelmanager.String, Enum: []any{"left", "right"}, Nullable: true},
	{Name: "text", Type: modelmanager.String, Nullable: true},
	{Name: "day", Type: modelmanager.String, Format: modelmanager.FormatDate, Nullable: true},
	{Name: "at", Type: modelmanager.String, Format: modelmanager.FormatDateTime, Nullable: true},
	{Name: "big", Type: modelmanager.Integer, Format: modelmanager.FormatInt64},
	{Name: "grade", Type: modelmanager.Integer, Enum: []any{int64(3), int64(1)}},
	{Name: "curve", Type: modelmanager.Array, Items: &modelmanager.Field{Type: modelmanager.Number}, MaxItems: ptr(5)},
}

func ptr[T any](v T) *T { return &v }

const everythingRows = `{"rows":[
 {"flag":true,"count":3,"size":1.5,"side":"right","text":"grün","day":"2024-02-29","at":"2024-02-29T12:30:00.25Z","big":"9007199254740993","grade":1,"curve":[1,2.5]},
 {"flag":false,"count":null,"size":null,"side":null,"text":null,"day":null,"at":null,"big":"-1","grade":3,"curve":[]}]}`

// rowsOf decodes a request.
func rowsOf(t testing.TB, fields []modelmanager.Field, body string) arrow.RecordBatch {
	t.Helper()
	request, err := compile(t, fields).DecodeRequest([]byte(body), 0)
	if err != nil {
		t.Fatal(err)
	}
	return request.Record
}

// model writes a model's file, and returns its folder.
func model(t testing.TB, name, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// flavour is a Python with or without pandas and pyarrow.
type flavour struct {
	name   string
	python string
	env    []string
}

func flavours(t testing.TB) []flavour {
	return []flavour{
		{name: "standard library", python: python(t)},
		{name: "pandas", python: scientific(t), env: []string{"MM_TEST_NO_ARROW=1"}},
		{name: "pyarrow", python: scientific(t)},
	}
}

func pythonOptions(t testing.TB, f flavour, s *spec.Spec, text string) worker.Options {
	t.Helper()
	if len(f.env) > 0 {
		// Without pyarrow, frames come as columns of JSON.
		text = "import sys\nsys.modules['pyarrow'] = None\n" + text
	}
	s.Run = spec.Run{Python: "predict.py:predict"}
	o := optionsOf(t, s, model(t, "predict.py", text))
	o.Environment.Python = f.python
	return o
}

func newSpec(features, predictions []modelmanager.Field) *spec.Spec {
	return &spec.Spec{
		Name: "test", Rows: spec.Independent, Features: features, Predictions: predictions,
		Resources: spec.Resources{CPU: 1000, Memory: 1 << 30},
		Timeouts:  spec.Timeouts{Start: spec.Duration(time.Minute), Predict: spec.Duration(30 * time.Second)},
	}
}

// TestPythonTypes checks that a model sees the types of docs/data.md, whatever
// the values and the libraries at hand.
func TestPythonTypes(t *testing.T) {
	text := []modelmanager.Field{{Name: "y", Type: modelmanager.String}}
	for _, f := range flavours(t) {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			o := pythonOptions(t, f, newSpec(everything, text), `
def predict(rows):
    if isinstance(rows, list):
        return [{"y": ";".join("%s=%s" % (k, type(v).__name__) for k, v in row.items())} for row in rows]
    s = ";".join("%s=%s" % (k, rows[k].dtype) for k in rows)
    s += ";" + ",".join(map(str, rows.side.cat.categories)) + ";" + ",".join(map(str, rows.grade.cat.categories))
    if len(rows) == 2:
        s += ";" + repr(rows.at[0, "at"]) + ";" + str(rows.at[0, "big"]) + ";" + str(list(rows.at[0, "curve"])) + str(rows.loc[1].isna().sum())
    return [s] * len(rows)
`)
			s := supervise(t, o)
			both := rowsOf(t, everything, everythingRows)
			for from := range int64(2) {
				// One row, and the one with nulls alone: types stay.
				for _, rows := range []arrow.RecordBatch{both, both.NewSlice(from, from+1)} {
					answer, err := s.Predict(within(t, time.Minute), rows)
					if err != nil {
						t.Fatal(err)
					}
					got := predicted(t, text, answer, int(rows.NumRows()))
					wants := []string{"flag=bool", "count=Int64", "size=float64", "side=category", "day=datetime64[us]",
						"at=datetime64[us, UTC]", "big=int64", "grade=category", "left,right;3,1"}
					if f.name == "standard library" {
						wants = []string{"flag=bool", "big=int"}
						if rows.NumRows() == 2 || from == 0 {
							wants = append(wants, "day=date;", "at=datetime", "curve=list", "size=float")
						}
					} else if rows.NumRows() == 2 {
						wants = append(wants, "2024-02-29 12:30:00.250000+0000", "9007199254740993", "[1.0, 2.5]6")
					}
					for _, want := range wants {
						if !strings.Contains(got, want) {
							t.Errorf("there is no %s in %s", want, got)
						}
					}
				}
			}
		})
	}
}

// TestPythonAnswers returns predictions in many shapes.
func TestPythonAnswers(t *testing.T) {
	number := []modelmanager.Field{{Name: "p", Type: modelmanager.Number}}
	two := []modelmanager.Field{{Name: "p", Type: modelmanager.Number}, {Name: "label", Type: modelmanager.String, Enum: []any{"a", "b"}}}
	array := []modelmanager.Field{{Name: "p", Type: modelmanager.Array, Items: &modelmanager.Field{Type: modelmanager.Number}, Length: ptr(2)}}
	nullable := []modelmanager.Field{{Name: "p", Type: modelmanager.Number, Nullable: true}}
	const any_, frames = false, true
	tests := []struct {
		name        string
		frames      bool // needs pandas
		predictions []modelmanager.Field
		body        string // of predict(rows)
		want        string // the answer, or a part of the error
	}{
		{"dicts", any_, number, `return [{"p": i} for i in range(len(rows))]`, `[{"p":0},{"p":1},{"p":2}]`},
		{"scalars", any_, number, `return [0.5] * len(rows)`, `[{"p":0.5},{"p":0.5},{"p":0.5}]`},
		{"tuples", any_, two, `return [(0.5, "b")] * len(rows)`, `[{"p":0.5,"label":"b"},{"p":0.5,"label":"b"},{"p":0.5,"label":"b"}]`},
		{"columns", any_, two, `return {"label": ["a"] * 3, "p": [1, 2, 3]}`, `[{"p":1,"label":"a"},{"p":2,"label":"a"},{"p":3,"label":"a"}]`},
		{"generator", any_, number, `return (i for i in range(3))`, `[{"p":0},{"p":1},{"p":2}]`},
		{"refused", any_, number, `return [1, None, modelmanager.RowError("too odd")]`, `[{"p":1},{"p":null},{"p":null}] 1:the model refused this row and gave no reason 2:too odd`},
		{"row errors", any_, number, `
    if len(rows) == 3: raise modelmanager.RowErrors({1: "too odd"})
    return [7] * len(rows)`, `[{"p":7},{"p":null},{"p":7}] 1:too odd`},
		{"arrays", any_, array, `return [[1, 2]] * 3`, `[{"p":[1,2]},{"p":[1,2]},{"p":[1,2]}]`},
		{"too few", any_, number, `return [1]`, `predict returned 1 predictions for 3 rows`},
		{"lacking", any_, two, `return [{"p": 1}] * 3`, `lacks label`},
		{"nothing", any_, number, `pass`, `predict returned None`},
		{"raises", any_, number, `raise ValueError("no  such\nthing")`, `ValueError: no such thing (predict.py:`},
		{"exits", any_, number, `import sys; sys.exit(3)`, `the model called sys.exit(3)`},
		{"forks", any_, number, `
    import os
    if os.fork() == 0: return [5] * 3
    return [4] * 3`, `[{"p":4},{"p":4},{"p":4}]`},
		{"prints", any_, number, `
    print('{"id": 1, "predictions": []}', flush=True)
    return [1, 2, 3]`, `[{"p":1},{"p":2},{"p":3}]`},
		{"NaN", any_, number, `return [float("nan"), 1, 2]`, `0:p`},
		{"NaN for null", any_, nullable, `return [None if False else float("nan"), 1, 2]`, `[{"p":null},{"p":1},{"p":2}]`},
		{"Series", frames, number, `return rows.x * 2`, `[{"p":2},{"p":4},{"p":6}]`},
		{"permuted", frames, number, `return (rows.x * 2).sort_values(ascending=False)`, `[{"p":2},{"p":4},{"p":6}]`},
		{"foreign", frames, number, `return (rows.x * 2).set_axis([7, 8, 9])`, `the index of what predict returned`},
		{"dropped", frames, number, `return rows[rows.x > 1].x`, `there is none for row 0`},
		{"DataFrame", frames, two, `
    import pandas
    return pandas.DataFrame({"label": pandas.Categorical(["b", "a", "b"]), "p": rows.x})`, `[{"p":1,"label":"b"},{"p":2,"label":"a"},{"p":3,"label":"b"}]`},
		{"ndarray", frames, number, `return rows.x.to_numpy().astype("float32")`, `[{"p":1},{"p":2},{"p":3}]`},
		{"matrix", frames, array, `return rows[["x", "x"]].to_numpy()`, `[{"p":[1,1]},{"p":[2,2]},{"p":[3,3]}]`},
		{"predict_proba", frames, number, `return rows[["x", "x"]].to_numpy()`, `predict_proba? take [:, 1]`},
		{"extra", frames, number, `return rows.assign(p=1.0)`, `x`},
		{"nullable ints", frames, number, `return rows.x.astype("Int64")`, `[{"p":1},{"p":2},{"p":3}]`},
	}
	// Workers are forked where they may be, so that pandas is imported once.
	zygote, err := worker.StartZygote(worker.ZygoteOptions{
		Python: scientific(t), Dir: t.TempDir(), Modules: []string{"pandas", "pyarrow"}, Env: []string{"PATH=" + os.Getenv("PATH")},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { zygote.Close() })
	for _, f := range flavours(t) {
		for _, test := range tests {
			if test.frames && f.name == "standard library" {
				continue
			}
			t.Run(f.name+"/"+test.name, func(t *testing.T) {
				t.Parallel()
				o := pythonOptions(t, f, newSpec([]modelmanager.Field{x}, test.predictions),
					"import modelmanager\ndef predict(rows):\n    "+test.body+"\n")
				if f.name == "pyarrow" {
					o.Zygote = zygote.Socket()
				}
				s := supervise(t, o)
				answer, err := s.Predict(within(t, time.Minute), record(t, 1, 2, 3))
				var got string
				if err == nil {
					_, _, checkErr := compile(t, test.predictions).CheckPredictions(answer.Record, 3)
					if err = checkErr; err == nil {
						got = predicted(t, test.predictions, answer, 3)
					}
				}
				if err != nil {
					got = err.Error()
				}
				if !strings.Contains(got, test.want) {
					t.Errorf("got %s, want %s", got, test.want)
				}
				if worker.Lost(err) {
					t.Error("the worker was lost")
				}
			})
		}
	}
}

func TestPythonModelsThatDontLoad(t *testing.T) {
	tests := []struct{ text, want string }{
		{"import xgboost_of_old\n", "predict.py failed to load: ModuleNotFoundError: No module named 'xgboost_of_old' (predict.py:1); is it in requirements.txt?"},
		{"def predikt(rows): pass\n", "there is no function predict in it; did you mean predikt?"},
		{"x = 1\ndef predict(rows)\n", "predict.py failed to load: SyntaxError: expected ':' (predict.py:2)"},
		{"import sys; sys.exit(4)\n", "the model called sys.exit(4)"},
		{"import os; os._exit(5)\n", "predict.py failed to load: it exited with code 5"},
		{"import os, signal; os.kill(os.getpid(), signal.SIGABRT)\n", "was killed by SIGABRT: Fatal Python error: Aborted"},
	}
	for _, test := range tests {
		t.Run(test.want, func(t *testing.T) {
			t.Parallel()
			s := supervise(t, pythonOptions(t, flavour{python: python(t)}, newSpec([]modelmanager.Field{x}, []modelmanager.Field{y}), test.text))
			state := until(t, s, "it has failed", func(s worker.State) bool { return s.Failed })
			if !strings.Contains(state.Reason, test.want) {
				t.Errorf("the reason is %q", state.Reason)
			}
		})
	}
}

func TestPythonParamsAndRetry(t *testing.T) {
	o := pythonOptions(t, flavour{python: python(t)}, newSpec([]modelmanager.Field{x}, []modelmanager.Field{y}), `
import helper
def predict(rows: list, params):
    if rows[0]["x"] == 13:
        raise ConnectionRefusedError("feature store")
    return [helper.double(row["x"]) + params["plus"] for row in rows]
`)
	if err := os.WriteFile(filepath.Join(o.Dir, "helper.py"), []byte("def double(v): return 2 * v\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o.Spec.Params = map[string]any{"plus": 1}
	s := supervise(t, o)
	answer, err := s.Predict(within(t, time.Minute), record(t, 1, 2))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := predicted(t, o.Spec.Predictions, answer, 2), `[{"y":3},{"y":5}]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if _, err := s.Predict(within(t, time.Minute), record(t, 13)); modelmanager.CodeOf(err) != modelmanager.CodeUnavailable {
		t.Errorf("got %v", err)
	}
}
