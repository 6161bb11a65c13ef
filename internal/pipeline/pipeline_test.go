package pipeline

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/environment"
	"modelmanager.dev/internal/spec"
)

const predictDouble = "def predict(rows: list):\n    return [2 * row['x'] for row in rows]\n"

// writeModel writes a model's folder: a model.yaml of usual parts and more of
// them, and a predict.py.
func writeModel(t *testing.T, dir, more, predict string) {
	t.Helper()
	yaml := fmt.Sprintf(`name: %s
summary: Twice the number.
owner: tests@example.org
features: [{name: x, type: number}]
predictions: [{name: y, type: number}]
run: {python: predict.py:predict}
%s`, filepath.Base(dir), more)
	if !strings.Contains(more, "examples:") {
		yaml += "\nexamples: [{features: {x: 2}, predictions: {y: 4}}, {features: {x: 3}}]\n"
	}
	write(t, filepath.Join(dir, "model.yaml"), yaml)
	write(t, filepath.Join(dir, "predict.py"), predict)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func validator(t *testing.T) *Validator {
	return &Validator{Environments: &environment.Manager{Dir: t.TempDir()}, Scratch: t.TempDir()}
}

// validateFolder does what mm validate does.
func validateFolder(t *testing.T, dir string, progress func(string)) (*Report, error) {
	t.Helper()
	folder, err := spec.LoadFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	options := Options{Scratch: t.TempDir(), Progress: progress}
	prepared, err := Prepare(t.Context(), folder, options)
	if err != nil {
		return nil, err
	}
	defer prepared.Close()
	report, err := validator(t).Validate(t.Context(), prepared, options)
	if err != nil {
		return nil, err
	}
	return report, report.Err()
}

const oneExample = "examples: [{features: {x: 2}, predictions: {y: 4}, tolerance: 0.1}]"

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		name, more, predict string
		want                modelmanager.Code
	}{
		{name: "good", predict: predictDouble},
		{name: "wrong", predict: "def predict(rows: list):\n    return [5.0 for row in rows]\n", want: modelmanager.CodeInvalidPredictions},
		{
			name: "near", more: "examples: [{features: {x: 2}, predictions: {y: 4.05}, tolerance: 0.1}]", predict: predictDouble,
		},
		{
			name: "not-near", more: "examples: [{features: {x: 2}, predictions: {y: 4.2}, tolerance: 0.1}]", predict: predictDouble,
			want: modelmanager.CodeInvalidPredictions,
		},
		{name: "nan", predict: "def predict(rows: list):\n    return [float('nan') for row in rows]\n", want: modelmanager.CodeInvalidPredictions},
		{name: "text", predict: "def predict(rows: list):\n    return ['high' for row in rows]\n", want: modelmanager.CodeInvalidPredictions},
		{
			name:    "by-place",
			predict: "def predict(rows: list):\n    return [4.0 + i for i, row in enumerate(rows)]\n",
			want:    modelmanager.CodeRowDependent,
		},
		{
			name:    "by-order", // alone each row is fine: only the order matters
			predict: "def predict(rows: list):\n    return [2 * row['x'] + (len(rows) > 1 and rows[0]['x'] == 3) for row in rows]\n",
			want:    modelmanager.CodeRowDependent,
		},
		{
			name: "ranks", more: "rows: dependent",
			predict: "def predict(rows: list):\n    return [4.0 + i for i, row in enumerate(rows)]\n",
		},
		// A single example has no others beside it but those that are made of it.
		{
			name: "one-ranked", more: oneExample,
			predict: "def predict(rows: list):\n    return [4.0 + i for i, row in enumerate(rows)]\n",
			want:    modelmanager.CodeRowDependent,
		},
		{
			name: "one-normalised", more: oneExample, // beside itself it is as it is alone
			predict: "def predict(rows: list):\n    mean = sum(row['x'] for row in rows) / len(rows)\n    return [4 + row['x'] - mean for row in rows]\n",
			want:    modelmanager.CodeRowDependent,
		},
		{
			name: "one-less-the-median", more: oneExample,
			predict: "import statistics\ndef predict(rows: list):\n    middle = statistics.median(row['x'] for row in rows)\n    return [4 + row['x'] - middle for row in rows]\n",
			want:    modelmanager.CodeRowDependent,
		},
		{
			name: "one-answer-for-all", more: oneExample,
			predict: "def predict(rows: list):\n    return [4.0]\n",
			want:    modelmanager.CodeModelError,
		},
		{name: "one", more: oneExample, predict: predictDouble},
		{
			name: "one-that-is-known", more: oneExample, // whatever it does for rows that nobody has asked it
			predict: "def predict(rows: list):\n    return [{2: 4.0}[row['x']] for row in rows]\n",
		},
		{name: "raises", predict: "def predict(rows: list):\n    raise ValueError('no luck')\n", want: modelmanager.CodeModelError},
		{name: "bad-import", predict: "import nothing_like_this\n" + predictDouble, want: modelmanager.CodeModelError},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), test.name)
			writeModel(t, dir, test.more, test.predict)
			_, err := validateFolder(t, dir, nil)
			if got := modelmanager.CodeOf(err); got != test.want {
				t.Errorf("code %q, not %q: %v", got, test.want, err)
			}
		})
	}
}

func TestValidateTellsTheModelsOutput(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "raises")
	writeModel(t, dir, "", "def predict(rows: list):\n    raise ValueError('no luck')\n")
	var told strings.Builder
	if _, err := validateFolder(t, dir, func(text string) { told.WriteString(text + "\n") }); err == nil {
		t.Fatal("a model that fails is valid")
	}
	if text := told.String(); !strings.Contains(text, `File "predict.py", line 2, in predict`) || strings.Contains(text, "worker.py") {
		t.Errorf("the author's frame is wanted, and no other:\n%s", text)
	}
}

func TestPrepareFetches(t *testing.T) {
	data := []byte("weights")
	sum := sha256.Sum256(data)
	good := hex.EncodeToString(sum[:])
	var asked atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(data) }))
	defer elsewhere.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		switch r.URL.Path {
		case "/in/weights":
			w.Write(data)
		case "/in/away":
			http.Redirect(w, r, elsewhere.URL+"/weights", http.StatusFound)
		case "/in/busy":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/in/hangs":
			w.Write(data)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		case "/in/large":
			w.Write(make([]byte, 2000))
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	local := t.TempDir()
	write(t, filepath.Join(local, "in", "weights"), string(data))
	write(t, filepath.Join(local, "out", "weights"), string(data))
	if err := os.Symlink("../out/weights", filepath.Join(local, "in", "link")); err != nil {
		t.Fatal(err)
	}
	files := &Files{Prefixes: []string{server.URL + "/in/", "file://" + local + "/in"}, Limit: 1000, Timeout: time.Second}
	for _, test := range []struct {
		name, uri, sum string
		want           modelmanager.Code
		says           string
	}{
		{name: "good", uri: server.URL + "/in/weights", sum: good},
		{name: "signed", uri: server.URL + "/in/weights?signature=1", sum: good},
		{name: "local", uri: "file://" + local + "/in/weights", sum: good},
		{name: "changed", uri: server.URL + "/in/weights", sum: strings.Repeat("f", 64), want: modelmanager.CodeInvalidSpec, says: "has the file changed?"},
		{name: "absent", uri: server.URL + "/in/nothing", sum: good, want: modelmanager.CodeInvalidSpec, says: "404"},
		{name: "busy", uri: server.URL + "/in/busy", sum: good, want: modelmanager.CodeUnavailable, says: "503"},
		{name: "hangs", uri: server.URL + "/in/hangs?signature=secret", sum: good, want: modelmanager.CodeInvalidSpec, says: "took longer than 1s"},
		{name: "large", uri: server.URL + "/in/large", sum: good, want: modelmanager.CodeInvalidSpec, says: "1000"},
		{name: "outside", uri: server.URL + "/weights", sum: good, want: modelmanager.CodeForbidden, says: "--files-from"},
		{name: "dots", uri: server.URL + "/in/../weights", sum: good, want: modelmanager.CodeForbidden, says: "without dots"},
		{name: "encoded", uri: server.URL + "/in/%2e%2e/weights", sum: good, want: modelmanager.CodeForbidden, says: "without dots"},
		{name: "redirected", uri: server.URL + "/in/away", sum: good, want: modelmanager.CodeForbidden, says: "isn't among"},
		{name: "local-outside", uri: "file://" + local + "/out/weights", sum: good, want: modelmanager.CodeForbidden, says: "isn't among"},
		{name: "local-link", uri: "file://" + local + "/in/link", sum: good, want: modelmanager.CodeForbidden, says: "isn't among"},
		{name: "no-file", uri: "file://" + local + "/in/nothing", sum: good, want: modelmanager.CodeInvalidSpec, says: "no such file"},
		{name: "folder", uri: "file://" + local + "/in", sum: good, want: modelmanager.CodeInvalidSpec, says: "no file"},
		{name: "bucket", uri: "gs://bucket/weights", sum: good, want: modelmanager.CodeForbidden, says: "isn't among"},
		{name: "scheme", uri: "ftp://host/weights", sum: good, want: modelmanager.CodeInvalidSpec, says: "use https"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), test.name)
			writeModel(t, dir, fmt.Sprintf("files: [{path: large/weights.bin, uri: %q, sha256: %s}]", test.uri, test.sum), predictDouble)
			scratch := t.TempDir()
			prepared, err := Prepare(t.Context(), loadFolder(t, dir), Options{Scratch: scratch, Files: files})
			if got := modelmanager.CodeOf(err); got != test.want {
				t.Fatalf("code %q, not %q: %v", got, test.want, err)
			}
			if err != nil && (!strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "secret")) {
				t.Errorf("%q isn't in: %v", test.says, err)
			}
			if err == nil {
				got, err := os.ReadFile(filepath.Join(prepared.Dir, "large", "weights.bin"))
				if err != nil || string(got) != string(data) {
					t.Errorf("fetched %q, %v", got, err)
				}
				prepared.Close()
			}
			if left, _ := os.ReadDir(scratch); len(left) != 0 {
				t.Errorf("%v is left behind", left)
			}
		})
	}

	// What is kept isn't fetched again, and is verified again.
	kept := &Files{Prefixes: files.Prefixes, Cache: filepath.Join(t.TempDir(), "files")}
	file := spec.File{Path: "weights", URI: server.URL + "/in/weights", SHA256: good}
	fetch := func(wanted int32) {
		t.Helper()
		target := filepath.Join(t.TempDir(), "weights")
		before := asked.Load()
		if err := kept.fetch(t.Context(), file, target); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(target); err != nil || string(got) != string(data) || asked.Load()-before != wanted {
			t.Errorf("%q, %v, asked %d times", got, err, asked.Load()-before)
		}
	}
	fetch(1)
	fetch(0)
	write(t, filepath.Join(kept.Cache, good), "spoilt")
	fetch(1)
	fetch(0)
}

func TestPrepareBuilds(t *testing.T) {
	for _, test := range []struct {
		name, command string
		want          modelmanager.Code
	}{
		{name: "good", command: `[sh, -c, "echo built > built.txt"]`},
		{name: "fails", command: `[sh, -c, "echo what went wrong; exit 3"]`, want: modelmanager.CodeInvalidSpec},
		{name: "no-program", command: `[nothing-like-this]`, want: modelmanager.CodeInvalidSpec},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), test.name)
			writeModel(t, dir, "build: {command: "+test.command+"}", predictDouble)
			folder, err := spec.LoadFolder(dir)
			if err != nil {
				t.Fatal(err)
			}
			scratch := t.TempDir()
			prepared, err := Prepare(t.Context(), folder, Options{Scratch: scratch})
			if got := modelmanager.CodeOf(err); got != test.want {
				t.Fatalf("code %q, not %q: %v", got, test.want, err)
			}
			if test.name == "fails" && !strings.Contains(err.Error(), "what went wrong") {
				t.Errorf("the error doesn't show the build's output: %v", err)
			}
			if err == nil {
				if _, err := os.Stat(filepath.Join(prepared.Dir, "built.txt")); err != nil {
					t.Error(err)
				}
				if _, err := os.Stat(filepath.Join(dir, "built.txt")); err == nil {
					t.Error("the build has written into the author's folder")
				}
				prepared.Close()
			}
			if left, _ := os.ReadDir(scratch); len(left) != 0 {
				t.Errorf("%v is left behind", left)
			}
		})
	}
}

func TestPrepareNeedsKubernetes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "in-an-image")
	writeModel(t, dir, "build: {dockerfile: Dockerfile}", predictDouble)
	write(t, filepath.Join(dir, "Dockerfile"), "FROM scratch\n")
	folder, err := spec.LoadFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Prepare(t.Context(), folder, Options{}); modelmanager.CodeOf(err) != modelmanager.CodeNeedsKubernetes {
		t.Errorf("%v", err)
	}
}
