package worker_test

import (
	"strings"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/spec"
	"modelmanager.dev/test/needs"
)

func rOptions(t *testing.T, features, predictions []modelmanager.Field, text string) worker.Options {
	t.Helper()
	s := newSpec(features, predictions)
	s.Run = spec.Run{R: "predict.R:predict"}
	return optionsOf(t, s, model(t, "predict.R", text))
}

func TestRTypes(t *testing.T) {
	needs.Program(t, "Rscript")
	text := []modelmanager.Field{{Name: "y", Type: modelmanager.String}}
	o := rOptions(t, everything, text, `
predict <- function(rows) {
  s <- paste(names(rows), sapply(rows, function(column) class(column)[[1]]), sep = "=", collapse = ";")
  s <- paste(s, paste(levels(rows$side), collapse = ","), paste(levels(rows$grade), collapse = ","), sep = ";")
  if (nrow(rows) == 2) s <- paste(s, format(rows$at[[1]], "%Y-%m-%d %H:%M:%OS2 %Z"), format(rows$day[[1]]), rows$text[[1]], sum(is.na(rows[2, 2:7])), rows$curve[[1]][[2]], sep = ";")
  rep(s, nrow(rows))
}`)
	s := supervise(t, o)
	both := rowsOf(t, everything, strings.Replace(everythingRows, "9007199254740993", "9007199254740992", 1)) // R has no …993
	for _, rows := range []int64{2, 1} {
		answer, err := s.Predict(within(t, time.Minute), both.NewSlice(2-rows, 2))
		if err != nil {
			t.Fatal(err)
		}
		got := predicted(t, text, answer, int(rows))
		wants := []string{"flag=logical", "count=numeric", "size=numeric", "side=factor", "text=character", "day=Date", "at=POSIXct", "left,right;3,1"}
		if rows == 2 {
			wants = append(wants, "2024-02-29 12:30:00.25 UTC;2024-02-29;grün;6;2.5")
		}
		for _, want := range wants {
			if !strings.Contains(got, want) {
				t.Errorf("there is no %s in %s", want, got)
			}
		}
	}
}

func TestRAnswers(t *testing.T) {
	needs.Program(t, "Rscript")
	number := []modelmanager.Field{{Name: "p", Type: modelmanager.Number}}
	two := []modelmanager.Field{{Name: "p", Type: modelmanager.Number}, {Name: "label", Type: modelmanager.String, Enum: []any{"a", "b"}}}
	numbers := []modelmanager.Field{{Name: "p", Type: modelmanager.Number}, {Name: "q", Type: modelmanager.Number}}
	fixed := 3
	classes := []modelmanager.Field{{Name: "classes", Type: modelmanager.Array, Length: &fixed, Labels: []string{"a", "b", "c"}, Items: &modelmanager.Field{Type: modelmanager.Number}}}
	tests := []struct {
		name        string
		predictions []modelmanager.Field
		body, want  string
	}{
		{"vector", number, `rows$x * 0.1`, `[{"p":0.1},{"p":0.2},{"p":0.30000000000000004}]`},
		{"data.frame", two, `data.frame(label = factor(c("b", "a", "b")), p = rows$x)`, `[{"p":1,"label":"b"},{"p":2,"label":"a"},{"p":3,"label":"b"}]`},
		{"list", two, `list(label = c("a", "a", "a"), p = 1:3)`, `[{"p":1,"label":"a"},{"p":2,"label":"a"},{"p":3,"label":"a"}]`},
		{"permuted", number, `{ f <- data.frame(p = rows$x); f[order(-f$p), , drop = FALSE] }`, `[{"p":1},{"p":2},{"p":3}]`},
		{"matrix", number, `cbind(rows$x, rows$x)`, `take [, 2]`},
		{"too few", number, `1`, `the function returned 1 predictions for 3 rows`},
		{"stops", number, `stop("no such thing")`, `no such thing`},
		{"prints", number, `{ print(rows); cat("hello\n"); rows$x }`, `[{"p":1},{"p":2},{"p":3}]`},
		{"NaN", number, `c(NaN, 1, 2)`, `0:p`},
		{"matrix by name", numbers, `matrix(1:6, 3, dimnames = list(NULL, c("q", "p")))`, `[{"p":4,"q":1},{"p":5,"q":2},{"p":6,"q":3}]`},
		{"matrix of others", two, `matrix(1:6, 3, dimnames = list(NULL, c("u", "v")))`, `the columns u, v, none of which is a prediction`},
		{"matrix, permuted", number, `{ m <- cbind(p = rows$x); rownames(m) <- 1:3; m[c(3, 1, 2), , drop = FALSE] }`, `[{"p":1},{"p":2},{"p":3}]`},
		{"frame, one twice", number, `structure(data.frame(p = rows$x, q = 9), names = c("p", "p"))`, `two columns named p`},
		{"vector, permuted", number, `{ v <- setNames(rows$x, 1:3); sort(v, decreasing = TRUE) }`, `[{"p":1},{"p":2},{"p":3}]`},
		{"vector of other rows", number, `setNames(rows$x, c(7, 8, 9))`, `are not those of rows`},
		{"list, permuted", two, `list(label = setNames(c("a", "b", "b"), c(2, 1, 3)), p = rows$x)`, `[{"p":1,"label":"b"},{"p":2,"label":"a"},{"p":3,"label":"b"}]`},
		{"list of rows", two, `lapply(rows$x, function(v) list(label = "b", p = v))`, `[{"p":1,"label":"b"},{"p":2,"label":"b"},{"p":3,"label":"b"}]`},
		{"list of rows, another name", number, `lapply(rows$x, function(v) list(q = v))`, `"q", which is no prediction`},
		{"classes", classes, `matrix(c(.1, .2, .7), 3, 3, byrow = TRUE, dimnames = list(NULL, c("c", "a", "b")))`, `[{"classes":[0.2,0.7,0.1]},{"classes":[0.2,0.7,0.1]},{"classes":[0.2,0.7,0.1]}]`},
		{"classes in a frame", classes, `data.frame(c = rows$x, a = .2, b = .7)`, `[{"classes":[0.2,0.7,1]},{"classes":[0.2,0.7,2]},{"classes":[0.2,0.7,3]}]`},
		{"classes by row", classes, `I(lapply(rows$x, function(v) c(b = 2, a = 1, c = v)))`, `[{"classes":[1,2,1]},{"classes":[1,2,2]},{"classes":[1,2,3]}]`},
		{"other classes", classes, `matrix(1, 3, 3, dimnames = list(NULL, c("c", "a", "d")))`, `the items of classes are named c, a, d, and the labels are a, b, c`},
		{"connection", number, `stop("cannot open the connection to 'http://features.example.org/'")`, `the model can't answer right now`},
		{"refused", number, `close(socketConnection("127.0.0.1", 1, timeout = 2))`, `the model can't answer right now`},
		{"no such file", number, `readRDS("gone.rds")`, `the model failed: `},
		{"class", number, `stop(errorCondition("the feature store is away", class = "connection_error"))`, `the model can't answer right now: Error`},
		{"class of a cause", number, `stop(errorCondition("no features", parent = errorCondition("slow", class = "TimeoutError")))`, `the model can't answer right now`},
		{"class of curl", number, `stop(errorCondition("x", class = c("curl_error_operation_timedout", "curl_error")))`, `the model can't answer right now`},
		{"another class", number, `stop(errorCondition("no such customer", class = "lookup_error"))`, `the model failed: `},
		{"params", number, `rows$x * params$factor`, `[{"p":3},{"p":6},{"p":9}]`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := rOptions(t, []modelmanager.Field{x}, test.predictions, "predict <- function(rows, params) "+test.body)
			o.Spec.Params = map[string]any{"factor": 3}
			s := supervise(t, o)
			answer, err := s.Predict(within(t, time.Minute), record(t, 1, 2, 3))
			var got string
			if err != nil {
				got = err.Error()
			} else {
				got = predicted(t, test.predictions, answer, 3)
			}
			if !strings.Contains(got, test.want) {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// TestRRefusesWhatItsNumbersCantHold: R has doubles alone, and a prediction of
// another number than the row's would be silently wrong.
func TestRRefusesWhatItsNumbersCantHold(t *testing.T) {
	needs.Program(t, "Rscript")
	features := []modelmanager.Field{{Name: "id", Type: modelmanager.Integer, Format: modelmanager.FormatInt64}}
	predictions := []modelmanager.Field{{Name: "p", Type: modelmanager.Number}}
	s := supervise(t, rOptions(t, features, predictions, "predict <- function(rows) data.frame(p = rows$id / 2)[order(-rows$id), , drop = FALSE]"))
	for _, test := range []struct {
		rows string
		want []string // of each row: its prediction, or a part of why there is none
	}{
		{`[{"id":"2"},{"id":"9007199254740993"},{"id":"-4"},{"id":"9223372036854775807"}]`, []string{"1", "9007199254740993 exactly", "-2", "make the feature a string"}},
		{`[{"id":"9007199254740993"}]`, []string{"exactly"}},
		{`[{"id":"9007199254740994"}]`, []string{"4.503599627370497e+15"}},
	} {
		rows := rowsOf(t, features, `{"rows":`+test.rows+`}`)
		answer, err := s.Predict(within(t, time.Minute), rows)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]string, rows.NumRows())
		for i := range got {
			got[i] = answer.Record.Column(0).ValueStr(i)
		}
		for _, e := range answer.Errors {
			got[e.Row] = e.Message
		}
		for i, want := range test.want {
			if !strings.Contains(got[i], want) {
				t.Errorf("row %d of %s: %q, want %q", i, test.rows, got[i], want)
			}
		}
	}
}

// TestRRefusesItemsThatItsNumbersCantHold: as of features, of an array's items.
func TestRRefusesItemsThatItsNumbersCantHold(t *testing.T) {
	needs.Program(t, "Rscript")
	features := []modelmanager.Field{{Name: "ids", Type: modelmanager.Array, MaxItems: new(3), Nullable: true,
		Items: &modelmanager.Field{Type: modelmanager.Integer, Format: modelmanager.FormatInt64, Nullable: true}}}
	predictions := []modelmanager.Field{{Name: "p", Type: modelmanager.Number}}
	s := supervise(t, rOptions(t, features, predictions, "predict <- function(rows) vapply(rows$ids, function(v) sum(as.numeric(v), na.rm = TRUE), 0)"))
	rows := rowsOf(t, features, `{"rows":[{"ids":["1",null,"2"]},{"ids":["1","9007199254740993"]},{"ids":[]},{"ids":null},{"ids":["9007199254740994"]}]}`)
	answer, err := s.Predict(within(t, time.Minute), rows)
	if err != nil {
		t.Fatal(err)
	}
	const want = "ids: R can't hold 9007199254740993 exactly, its numbers are doubles; make the feature's items strings"
	if len(answer.Errors) != 1 || answer.Errors[0].Row != 1 || answer.Errors[0].Message != want {
		t.Errorf("refused: %+v", answer.Errors)
	}
	if got := predicted(t, predictions, answer, int(rows.NumRows())); !strings.HasPrefix(got, `[{"p":3},{"p":null},{"p":0},{"p":0},{"p":9007199254740994}]`) {
		t.Errorf("predictions: %s", got)
	}
}

func TestRModelsThatDontLoad(t *testing.T) {
	needs.Program(t, "Rscript")
	tests := []struct{ text, want string }{
		{"library(randomForestOfOld)", "predict.R failed to load: Error in library(randomForestOfOld): there is no package called ‘randomForestOfOld’"},
		{"predikt <- function(rows) 1", "there is no function predict in it; did you mean predikt?"},
	}
	for _, test := range tests {
		s := supervise(t, rOptions(t, []modelmanager.Field{x}, []modelmanager.Field{y}, test.text))
		state := until(t, s, "it has failed", func(s worker.State) bool { return s.Failed })
		if !strings.Contains(state.Reason, test.want) {
			t.Errorf("the reason is %q", state.Reason)
		}
	}
}
