package spec

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
	"modelmanager.dev"
)

// FuzzParse feeds anything to Parse: it must not panic, and every problem must
// lie within the file.
func FuzzParse(f *testing.F) {
	full, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(full)
	archives, _ := filepath.Glob("testdata/mistakes/*.txtar")
	for _, name := range archives {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(archive.Files[0].Data)
	}
	for _, text := range hostile(20) {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Parse("model.yaml", data)
		if err == nil {
			again := reread(t, s)
			if err := again.Check(); err != nil && !strings.Contains(string(data), "extends") {
				t.Fatalf("what was parsed doesn't pass Check: %v", err)
			}
			return
		}
		checkPlaces(t, data, err)
	})
}

func reread(t *testing.T, s *Spec) *Spec {
	t.Helper()
	text, err := s.Canonical()
	if err != nil {
		t.Fatalf("Canonical: %v", err)
	}
	again, err := FromCanonical(text)
	if err != nil {
		t.Fatalf("FromCanonical: %v", err)
	}
	if second, _ := again.Canonical(); second != text {
		t.Fatalf("the canonical form changes:\n%s\n%s", text, second)
	}
	return again
}

func checkPlaces(t *testing.T, data []byte, err error) {
	t.Helper()
	var problems Problems
	if !errors.As(err, &problems) || len(problems) == 0 {
		t.Fatalf("not problems: %v", err)
	}
	if modelmanager.CodeOf(err) != modelmanager.CodeInvalidSpec {
		t.Fatalf("the code is %s", modelmanager.CodeOf(err))
	}
	lines := strings.Split(strings.ReplaceAll(strings.TrimPrefix(string(data), "\ufeff"), "\r\n", "\n"), "\n")
	last := Problem{}
	for _, p := range problems {
		if p.Line == 0 {
			continue
		}
		if p.Line < 1 || p.Line > len(lines) || p.Column < 1 || p.Column > len([]rune(lines[p.Line-1]))+1 {
			t.Fatalf("%d:%d is outside of the file: %s", p.Line, p.Column, p.Message)
		}
		if p.Message == "" {
			t.Fatalf("no message at %d:%d", p.Line, p.Column)
		}
		if p.Line < last.Line || p.Line == last.Line && p.Column < last.Column {
			t.Fatalf("out of order: %v before %v", last, p)
		}
		last = p
	}
}

// hostile makes files that are hard to read, n the measure of how hard.
func hostile(n int) map[string]string {
	laughs := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < min(n, 30); i++ {
		one, before := string(rune('a'+i%26))+"x", string(rune('a'+(i-1)%26))+"x"
		if i == 1 {
			before = "a0"
		}
		laughs += one + ": &" + one + " [" + strings.TrimSuffix(strings.Repeat("*"+before+", ", 10), ", ") + "]\n"
	}
	repeat := strings.Repeat
	return map[string]string{
		"billion laughs":     laughs,
		"flow lists":         "a: " + repeat("[", n),
		"closed flow lists":  "a: " + repeat("[", n) + repeat("]", n),
		"flow mappings":      "a: " + repeat("{a: ", n),
		"compact lists":      repeat("- ", n) + "x",
		"complex keys":       repeat("? ", n) + "x",
		"anchors":            "a: " + repeat("&a ", n) + "x",
		"tags":               "a: " + repeat("!!str ", n) + "x",
		"self":               "a: &a [*a]",
		"self in merge":      "a: &a\n  <<: *a\n",
		"merge of text":      "<<: x\n",
		"aliases":            "a: &a x\nb: [" + repeat("*a, ", n) + "]\n",
		"quotes":             repeat("\"", n),
		"plain lines":        "a: " + repeat("x\n   ", n),
		"comments":           repeat("# x\n", n),
		"documents":          repeat("---\n", n),
		"keys":               repeat("a: 1\n", n),
		"unknown keys":       repeatKeys(n),
		"flow keys":          "{" + repeat("a: 1, ", n) + "}",
		"flow map keys":      "params: {" + strings.ReplaceAll(repeatKeys(n), "\n", ", ") + "}",
		"lists of keys":      "a:\n" + repeat("- a: 1\n  b: 2\n", n),
		"colons":             repeat(":", n),
		"colons and spaces":  repeat(": ", n),
		"hyphens":            repeat("-\n", n),
		"carriage returns":   "a: 1\r\nb: '2\r\n  3'\r\n" + repeat("\r", n),
		"literals":           "a: |\n" + repeat("  x\n", n),
		"folded":             "a: >\n" + repeat("  x\n\n", n),
		"escapes":            "a: \"" + repeat("\\u00e9\\x", n) + "\"",
		"nul":                "a: \x00",
		"not utf-8":          "a: \xff\n",
		"utf-16":             "\xff\xfea\x00",
		"byte order mark":    "\ufeffname: x\n",
		"control characters": "a: \x07\n",
		"indentation":        stairs(n),
	}
}

func repeatKeys(n int) string {
	var text strings.Builder
	for i := range n {
		text.WriteString("k" + strings.Repeat("x", i%40) + string(rune('a'+i%26)) + ": 1\n")
	}
	return text.String()
}

func stairs(n int) string {
	var text strings.Builder
	for i := range min(n, 1000) {
		text.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return text.String()
}

// TestHostile reads large files of every hostile kind, in bounded time.
func TestHostile(t *testing.T) {
	for name, text := range hostile(50000) {
		t.Run(name, func(t *testing.T) {
			data := []byte(text)
			if len(data) > maxFile {
				data = data[:maxFile]
			}
			start := time.Now()
			_, err := Parse("model.yaml", data)
			if err == nil {
				t.Fatal("it was accepted")
			}
			checkPlaces(t, data, err)
			if took := time.Since(start); took > 15*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
	if _, err := Parse("model.yaml", make([]byte, 100<<20)); modelmanager.CodeOf(err) != modelmanager.CodeInvalidSpec {
		t.Errorf("100 MB: %v", err)
	}
}
