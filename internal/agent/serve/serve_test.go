package serve_test

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"go.uber.org/goleak"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/serve"
	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/dataset"
	"modelmanager.dev/internal/problem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// doubler answers y = 2x. It refuses 13, answers 14 out of range, fails a call
// with 15 and asks for another try at 16; it waits for gate where there is one.
type doubler struct {
	predictions *dataset.Schema
	gate        chan struct{}
	began       chan int // rows of each call
}

func (d *doubler) Predict(ctx context.Context, rows arrow.RecordBatch) (*worker.Answer, error) {
	if d.began != nil {
		d.began <- int(rows.NumRows())
	}
	if d.gate != nil {
		select {
		case <-d.gate:
		case <-ctx.Done():
			return nil, modelmanager.Errorf(modelmanager.CodeDeadlineExceeded, "gone")
		}
	}
	var answers []json.RawMessage
	answer := new(worker.Answer)
	xs := rows.Column(0).(*array.Float64)
	for i := range int(rows.NumRows()) {
		switch v := xs.Value(i); v {
		case 13:
			answers = append(answers, json.RawMessage("null"))
			answer.Errors = append(answer.Errors, modelmanager.RowError{Row: int64(i), Message: "unlucky"})
		case 14:
			answers = append(answers, json.RawMessage(`{"y":-1}`))
		case 15:
			return nil, modelmanager.Errorf(modelmanager.CodeModelError, "the model failed: fifteen")
		case 16:
			return nil, &modelmanager.Error{Code: modelmanager.CodeUnavailable, Detail: "later", RetryAfter: time.Second}
		default:
			answers = append(answers, json.RawMessage(fmt.Sprintf(`{"y":%v}`, 2*v)))
		}
	}
	var err error
	answer.Record, err = d.predictions.DecodeAnswers(answers)
	return answer, err
}

func (d *doubler) Close() error { return nil }

func ptr[T any](v T) *T { return &v }

func compile(t testing.TB, fields ...modelmanager.Field) *dataset.Schema {
	t.Helper()
	schema, err := dataset.Compile(fields)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func features(t testing.TB) *dataset.Schema {
	return compile(t, modelmanager.Field{Name: "x", Type: modelmanager.Number, Maximum: ptr(100.0)})
}

func predictions(t testing.TB) *dataset.Schema {
	return compile(t, modelmanager.Field{Name: "y", Type: modelmanager.Number, Minimum: ptr(0.0)})
}

func handler(t testing.TB) *serve.Handler {
	t.Helper()
	p := predictions(t)
	queue := serve.NewQueue(&doubler{predictions: p}, serve.QueueOptions{Waiting: 100, BatchRows: 100})
	t.Cleanup(func() { queue.Drain(context.Background()) })
	return &serve.Handler{Model: "double", Version: 3, Features: features(t), Predictions: p, Queue: queue, TimeoutHeader: "Mm-Timeout-Ms"}
}

func TestAnswers(t *testing.T) {
	const csv = "text/csv"
	tests := []struct {
		name, contentType, target, body string
		status                          int
		want                            string // the body, or of a problem code and rows
	}{
		{name: "rows", body: `{"rows":[{"x":1},{"x":2.5}]}`, status: 200, want: `{"model":"double","version":3,"predictions":[{"y":2},{"y":5}]}`},
		{name: "ids", body: `{"ids":["a",7],"rows":[{"x":1},{"x":2}]}`, status: 200, want: `{"model":"double","version":3,"predictions":[{"y":2},{"y":4}],"ids":["a",7]}`},
		{name: "none", body: `{"rows":[]}`, status: 200, want: `{"model":"double","version":3,"predictions":[]}`},
		{name: "invalid rows", body: `{"rows":[{"x":1},{"x":200},{"z":1}]}`, status: 422, want: "invalid_rows 1:x 2:z 2:x"},
		{name: "partial", body: `{"on_error":"partial","rows":[{"x":200},{"x":1},{"x":13},{"x":14}]}`, status: 200,
			want: `{"model":"double","version":3,"predictions":[null,{"y":2},null,null],"errors":[{"row":0,"feature":"x","message":`},
		{name: "partial, all bad", body: `{"on_error":"partial","rows":[{"x":200}]}`, status: 200, want: `{"model":"double","version":3,"predictions":[null],"errors":[`},
		{name: "refused", body: `{"rows":[{"x":1},{"x":13}]}`, status: 422, want: "invalid_rows 1:"},
		{name: "invalid predictions", body: `{"rows":[{"x":1},{"x":14}]}`, status: 502, want: "invalid_predictions 1:y"},
		{name: "model error", body: `{"rows":[{"x":15}]}`, status: 502, want: "model_error"},
		{name: "later", body: `{"rows":[{"x":16}]}`, status: 503, want: "unavailable"},
		{name: "no JSON", body: `rows`, status: 400, want: "bad_request"},
		{name: "media type", contentType: "application/xml", body: `<rows/>`, status: 415, want: "unsupported_media_type"},
		{name: "too many rows", body: `{"rows":[` + strings.Repeat(`{"x":1},`, serve.MaxRows) + `{"x":1}]}`, status: 413, want: "too_large"},
		{name: "too many bytes", body: strings.Repeat(" ", serve.MaxBytes+1), status: 413, want: "too_large"},
		{name: "CSV", contentType: csv, body: "id,x\na,1\nb,2.5\n", status: 200, want: "id,x,y\na,1,2\nb,2.5,5"},
		{name: "CSV, charset", contentType: "text/csv; charset=utf-8", body: "x\n1\n", status: 200, want: "x,y\n1,2"},
		{name: "CSV, invalid", contentType: csv, body: "x\n1\nyes\n", status: 422, want: "invalid_rows 2:x"},
		{name: "CSV, refused", contentType: csv, body: "x\n1\n13\n", status: 422, want: "invalid_rows 2:"},
		{name: "CSV, column", contentType: csv, body: "z\n1\n", status: 422, want: "missing_column 0:x"},
		{name: "CSV, partial", contentType: csv, target: "?on_error=partial", body: "x\n200\n1\n13\n", status: 200, want: "x,y,_error\n200,,"},
	}
	h := handler(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			request := httptest.NewRequest(http.MethodPost, "/predict"+test.target, strings.NewReader(test.body))
			if test.contentType == "" {
				test.contentType = "application/json"
			}
			request.Header.Set("Content-Type", test.contentType)
			recorder := httptest.NewRecorder()
			h.ServeHTTP(recorder, request)
			if recorder.Code != test.status {
				t.Fatalf("status %d, want %d: %s", recorder.Code, test.status, recorder.Body)
			}
			got := strings.ReplaceAll(strings.TrimSpace(recorder.Body.String()), "\r\n", "\n")
			if test.status != 200 {
				var p problem.Problem
				if err := json.Unmarshal([]byte(got), &p); err != nil {
					t.Fatal(err)
				}
				got = string(p.Code)
				for _, e := range p.Errors {
					got += fmt.Sprintf(" %d:%s", e.Row, e.Feature)
				}
				if got != test.want {
					t.Errorf("got %q, want %q: %s", got, test.want, p.Detail)
				}
			} else if !strings.HasPrefix(got, test.want) {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// TestDialects: a CSV in a call is read as a job would read it, and the answer
// says how.
func TestDialects(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write([]byte("x\n1.5\n"))
	z.Close()
	utf16 := func(text string) string {
		out := "\xff\xfe"
		for _, c := range []byte(text) {
			out += string([]byte{c, 0})
		}
		return out
	}
	h := handler(t)
	for _, test := range []struct {
		name, charset, target, accept, body string
		status                              int
		want                                string // of the body
		readAs                              string // a part of it
	}{
		{name: "semicolons and decimal commas", body: "id;x\na;1,5\n", want: "id;x;y\na;1,5;3", readAs: `"delimiter":";","encoding":"utf-8","decimal":","`},
		{name: "a byte order mark", body: "\ufeffx\n1.5\n", want: "\ufeffx,y\n1.5,3", readAs: `"encoding":"utf-8"`},
		{name: "windows-1252", body: "name,x\nM\xfcller,1.5\n", want: "name,x,y\nM\xfcller,1.5,3", readAs: `"encoding":"windows-1252"`},
		{name: "a charset", charset: "; charset=ISO-8859-15", body: "name,x\nM\xfcller,1.5\n", want: "name,x,y\nM\xfcller,1.5,3", readAs: `"encoding":"iso-8859-15"`},
		{name: "utf-16", body: utf16("x\n1.5\n"), want: utf16("x,y\n1.5,3\n"), readAs: `"encoding":"utf-16le"`},
		{name: "rows above the header", body: "Orders of May\n\nid\tx\na\t1.5\n", want: "id\tx\ty\na\t1.5\t3", readAs: `"header_row":3`},
		{name: "gzip", body: packed.String(), want: "x,y\n1.5,3", readAs: `"compression":"gzip"`},
		{name: "said by the caller", target: "?delimiter=%3B&decimal=,&null=&null=-&header_row=1", body: "x;z\n1,5;-\n", want: "x;z;y\n1,5;-;3", readAs: `"null":["","-"]`},
		{name: "no row", target: "?header_row=top", body: "x\n1\n", status: 400, want: "bad_request"},
		{name: "a charset that is none", charset: "; charset=latin-99", body: "x\n1\n", status: 422, want: "invalid_input"},
		{name: "JSON out", accept: "application/json", body: "id;x\na;1,5\nb;2\n", want: `{"model":"double","version":3,"predictions":[{"y":3},{"y":4}]}`, readAs: `"delimiter":";"`},
		{name: "JSON out, partial", accept: "application/json", target: "?on_error=partial", body: "x\nmuch\n2\n13\n",
			want: `{"model":"double","version":3,"predictions":[null,{"y":4},null],"errors":[{"row":0,"feature":"x",`},
		{name: "JSON out, invalid", accept: "application/json", body: "x\nmuch\n", status: 422, want: "invalid_rows"},
		{name: "JSON out, none", accept: "application/json", body: "x\n", want: `{"model":"double","version":3,"predictions":[]}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			request := httptest.NewRequest(http.MethodPost, "/predict"+test.target, strings.NewReader(test.body))
			request.Header.Set("Content-Type", "text/csv"+test.charset)
			if test.accept != "" {
				request.Header.Set("Accept", test.accept)
			}
			recorder := httptest.NewRecorder()
			h.ServeHTTP(recorder, request)
			if recorder.Code != cmp.Or(test.status, 200) {
				t.Fatalf("status %d: %s", recorder.Code, recorder.Body)
			}
			if got := recorder.Body.String(); test.status == 0 && !strings.HasPrefix(got, test.want) || !strings.Contains(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if got := recorder.Header().Get(serve.HeaderReadAs); !strings.Contains(got, test.readAs) {
				t.Errorf("read as %s, want %s", got, test.readAs)
			}
		})
	}
}

func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &doubler{predictions: predictions(t), gate: make(chan struct{})}
		queue := serve.NewQueue(d, serve.QueueOptions{Waiting: 1, BatchRows: 100})
		h := &serve.Handler{Model: "double", Version: 3, Features: features(t), Predictions: d.predictions, Queue: queue, TimeoutHeader: "Mm-Timeout-Ms"}
		request := httptest.NewRequest(http.MethodPost, "/predict", strings.NewReader(`{"rows":[{"x":1}]}`))
		request.Header.Set("Mm-Timeout-Ms", "1500")
		recorder := httptest.NewRecorder()
		begin := time.Now()
		h.ServeHTTP(recorder, request)
		if recorder.Code != http.StatusGatewayTimeout || time.Since(begin) != 1500*time.Millisecond {
			t.Errorf("status %d after %v", recorder.Code, time.Since(begin))
		}
		close(d.gate)
		queue.Drain(context.Background())
	})
}

// TestWaitingRequestsFormTheNextCall holds a worker in its first call.
func TestWaitingRequestsFormTheNextCall(t *testing.T) {
	for _, dependent := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			d := &doubler{predictions: predictions(t), gate: make(chan struct{}), began: make(chan int, 100)}
			queue := serve.NewQueue(d, serve.QueueOptions{Waiting: 5, BatchRows: 100, Dependent: dependent})
			var wait sync.WaitGroup
			ask := func(ctx context.Context, x float64, code modelmanager.Code) {
				wait.Go(func() {
					answer, err := queue.Predict(ctx, record(t, x))
					if got := modelmanager.CodeOf(err); got != code {
						t.Errorf("%v: code %q, want %q", x, got, code)
					}
					if err == nil && x != 13 && answer.Record.Column(0).(*array.Float64).Value(0) != 2*x {
						t.Errorf("%v: another's answer", x)
					}
					if x == 13 && (len(answer.Errors) != 1 || answer.Errors[0].Row != 0) {
						t.Errorf("%v: errors %v", x, answer.Errors)
					}
				})
			}
			ctx := context.Background()
			ask(ctx, 1, "")
			synctest.Wait()
			hurried, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			ask(hurried, 2, modelmanager.CodeDeadlineExceeded)
			for _, x := range []float64{3, 13, 4} {
				ask(ctx, x, "")
			}
			ask(ctx, 15, modelmanager.CodeModelError)
			synctest.Wait()
			ask(ctx, 5, modelmanager.CodeTooManyRequests)
			synctest.Wait()
			if load := queue.Load(); load.InFlight != 1 || load.Waiting != 5 {
				t.Errorf("load %+v", load)
			}
			time.Sleep(2 * time.Second)
			close(d.gate)
			wait.Wait()
			queue.Drain(ctx)
			close(d.began)
			var calls []int
			for rows := range d.began {
				calls = append(calls, rows)
			}
			want := "[1 4 1 1 1 1]" // together, and then request by request
			if dependent {
				want = "[1 1 1 1 1]"
			}
			if got := fmt.Sprint(calls); got != want {
				t.Errorf("calls of %s rows, want %s", got, want)
			}
			if _, err := queue.Predict(ctx, record(t, 1)); modelmanager.CodeOf(err) != modelmanager.CodeUnavailable {
				t.Errorf("after draining: %v", err)
			}
		})
	}
}

func record(t testing.TB, x float64) arrow.RecordBatch {
	request, err := features(t).DecodeRequest(fmt.Appendf(nil, `{"rows":[{"x":%v}]}`, x), 0)
	if err != nil {
		t.Error(err)
		return nil
	}
	return request.Record
}

func BenchmarkOneRow(b *testing.B) {
	p := predictions(b)
	queue := serve.NewQueue(&doubler{predictions: p}, serve.QueueOptions{Waiting: 100, BatchRows: 100})
	defer queue.Drain(context.Background())
	h := &serve.Handler{Model: "double", Version: 3, Features: features(b), Predictions: p, Queue: queue, TimeoutHeader: "Mm-Timeout-Ms"}
	b.ReportAllocs()
	for b.Loop() {
		request := httptest.NewRequest(http.MethodPost, "/predict", strings.NewReader(`{"rows":[{"x":1}]}`))
		request.Header.Set("Content-Type", "application/json")
		h.ServeHTTP(httptest.NewRecorder(), request)
	}
}
