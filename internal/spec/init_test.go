package spec

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"modelmanager.dev"
	"modelmanager.dev/test/needs"
)

// initCases are models begun without data, and with features of every type.
func initCases() map[string]InitOptions {
	low, high, step, length, most := 5.0, 10.0, 3.0, 2, 3
	return map[string]InitOptions{
		"sample": {Name: "orders-returned"},
		"data": {
			Name: "from-data", Summary: "Yes: a summary # with marks", Owner: "ünï@example.org",
			Features: []modelmanager.Field{
				{Name: "amount", Type: modelmanager.Number, Minimum: &low},
				{Name: "no", Type: modelmanager.String, Enum: []any{"yes", "no", "01067", "a, b", "it's", "2024-01-01", "~", ""}, Nullable: true},
				{Name: "day", Type: modelmanager.String, Format: modelmanager.FormatDate, Default: &modelmanager.Default{}},
				{Name: "code", Type: modelmanager.Integer, Format: modelmanager.FormatInt64, Enum: []any{int64(1), int64(9007199254740993)}},
				{Name: "Übergröße (cm): total", Type: modelmanager.Boolean},
				{Name: "long", Type: modelmanager.String, Enum: many(300), Unknown: "accept"},
				{Name: "history", Type: modelmanager.Array, Items: &modelmanager.Field{Type: modelmanager.Number}, MaxItems: &most},
			},
			Predictions: []modelmanager.Field{
				{Name: "score", Type: modelmanager.Number, ExclusiveMinimum: &low, Maximum: &high},
				{Name: "count", Type: modelmanager.Integer, Minimum: &low, MultipleOf: &step},
				{Name: "class", Type: modelmanager.String, Enum: []any{"ä \"b\"", "c"}},
				{Name: "when", Type: modelmanager.String, Format: modelmanager.FormatDateTime},
				{Name: "both", Type: modelmanager.Array, Items: &modelmanager.Field{Type: modelmanager.Number}, Length: &length, Labels: []string{"a", "b"}},
				{Name: "flag", Type: modelmanager.Boolean},
			},
			Examples: []Example{{
				Features:    raw("amount", "7.5", "no", `"no"`, "code", "1", "Übergröße (cm): total", "true", "long", `"level-7"`, "history", "[1, 2]"),
				Predictions: raw("score", "6"),
			}},
		},
	}
}

func many(n int) []any {
	values := make([]any, n)
	for i := range values {
		values[i] = "level-" + string(rune('0'+i%10)) + string(rune('a'+i/10%26)) + string(rune('a'+i/260))
	}
	return append(values, "level-7")
}

// TestInit loads every generated folder, and has its language compile it.
func TestInit(t *testing.T) {
	for name, opts := range initCases() {
		for _, language := range []string{"python", "r", "java", "go"} {
			t.Run(name+" "+language, func(t *testing.T) {
				opts := opts
				opts.Language = language
				opts.JavaWorker = library(t, "java/ModelWorker.java")
				opts.GoWorker = library(t, "go/worker.go.txt")
				files, err := Init(opts)
				if err != nil {
					t.Fatal(err)
				}
				dir := t.TempDir()
				for _, f := range files {
					write(t, filepath.Join(dir, f.Path), string(f.Data))
				}
				folder, err := LoadFolder(dir)
				if err != nil {
					t.Fatalf("%v\n%s", err, files[0].Data)
				}
				for _, warning := range folder.Warnings {
					t.Errorf("warning: %v", warning)
				}
				if testing.Verbose() {
					t.Logf("%s", files[0].Data)
				}
				if name == "data" && len(folder.Spec.Features) != len(opts.Features) {
					t.Errorf("%d features", len(folder.Spec.Features))
				}
				runGenerated(t, dir, language, folder.Spec)
			})
		}
	}
}

func runGenerated(t *testing.T, dir, language string, s *Spec) {
	t.Helper()
	commands := map[string][][]string{
		"python": {{"python3", "-c", "import predict; a = predict.predict([{'amount': 120.0, 'country': 'at'}]); assert len(a) == 1, a"}},
		"r":      {{"Rscript", "-e", `source("predict.R"); a <- score(data.frame(amount = c(120, 900), country = c("at", "ch"))); stopifnot(nrow(a) == 2, !is.null(names(a)))`}},
	}[language]
	if s.Build != nil && len(s.Build.Command) > 0 {
		commands = [][]string{s.Build.Command, s.Run.Command}
	}
	for _, words := range commands {
		if words[0] != "./model" {
			needs.Program(t, words[0])
		}
		command := exec.CommandContext(t.Context(), words[0], words[1:]...)
		command.Dir = dir
		command.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off", "PYTHONDONTWRITEBYTECODE=1")
		answers := converse(t, command)
		if output, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", words, err, output)
		}
		if text := answers(); language != "python" && language != "r" && &words[0] == &commands[len(commands)-1][0] && !strings.Contains(text, `"predictions":[{`) {
			t.Errorf("%v answered %s", words, text)
		}
	}
}

func library(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "agent", "shims", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// converse gives a command the worker's two descriptors, with a request for one
// row waiting; the result reads what it answered, once it has run.
func converse(t *testing.T, command *exec.Cmd) func() string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "requests"), `{"format": "rows", "features": [], "predictions": [], "params": {}}`+"\n"+
		`{"id": 1, "rows": [{"amount": 120.0, "country": "at"}]}`+"\n")
	requests, err := os.Open(filepath.Join(dir, "requests"))
	if err != nil {
		t.Fatal(err)
	}
	answers, err := os.Create(filepath.Join(dir, "answers"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { requests.Close(); answers.Close() })
	command.ExtraFiles = []*os.File{requests, answers}
	return func() string {
		data, _ := os.ReadFile(filepath.Join(dir, "answers"))
		return string(data)
	}
}

func TestInitRefuses(t *testing.T) {
	for _, opts := range []InitOptions{
		{Name: "My Model", Language: "python"},
		{Name: "x", Language: "cobol"},
		{Name: "x", Language: "r", Features: []modelmanager.Field{{Name: "a", Type: modelmanager.Number}}},
	} {
		if _, err := Init(opts); modelmanager.CodeOf(err) != modelmanager.CodeBadRequest {
			t.Errorf("%+v: %v", opts, err)
		}
	}
}
