package pipeline

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/yuin/goldmark"
	gfm "github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/renderer/html"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

var update = flag.Bool("update", false, "write the golden files")

// hostile is a text that would like to be more than that.
const hostile = "<script>alert(1)</script> | @everyone #12 ::error::x %0A ##[error] ```` </details> \x1b[31m \u202e [a](http://evil.example) **b**"

// sampleReview is a review with something of everything.
func sampleReview() *Review {
	features := []modelmanager.Field{numberField("x"), {Name: "plan", Type: modelmanager.String, Enum: []any{"basic", "plus"}}}
	predictions := []modelmanager.Field{numberField("score"), {Name: "class", Type: modelmanager.String}}
	var rows pairedRows
	for i := range 20 {
		plan, class := "basic", "low"
		if i%2 == 1 {
			plan = "plus"
		}
		if i > 15 {
			class = "high | " + hostile[:8]
		}
		rows.features = append(rows.features, json.RawMessage(fmt.Sprintf(`{"x":%d,"plan":%q}`, i, plan)))
		rows.live = append(rows.live, json.RawMessage(fmt.Sprintf(`{"score":%d,"class":"low"}`, i)))
		rows.new = append(rows.new, json.RawMessage(fmt.Sprintf(`{"score":%g,"class":%s}`, float64(i)+float64(i%2)/4, jsonText(class))))
	}
	rows.numbers = numbered(20)
	shift := compareRows(features, predictions, predictions, rows)
	shift.Of, shift.File = "sample", "models/churn/sample.csv"
	unpinned := Finding{
		Code: FoundUnpinned, Severity: SeverityWarning, File: "templates/propensity/requirements.txt", Line: 2, Column: 1,
		Message: "pandas has no fixed version: what is installed depends on the day", Suggestion: "write pandas==VERSION", Snippet: "pandas\n^^^^^^",
	}
	template := []Cause{{Kind: FromTemplate, Folder: "templates/propensity"}}
	review := &Review{
		Since: "main", Servers: []string{"https://models.example.org"}, Took: spec.Duration(12300 * time.Millisecond), root: "/repository",
		Removed: []Change{{Folder: "models/old", Model: "old", Kind: Removed}},
		Models: []*Report{
			{
				Model: "churn", Folder: "models/churn", Change: &Change{Folder: "models/churn", Model: "churn", Kind: Changed, Because: []Cause{{Kind: OwnFiles}}},
				Start: spec.Duration(820 * time.Millisecond), Took: spec.Duration(3 * time.Second), Memory: &Memory{Peak: 120 << 20, Limit: 512 << 20},
				Examples: []ExampleResult{{Name: "1", Predictions: json.RawMessage(`{"score":0.25,"class":"low"}`)}, {Name: "a customer | of ours", Predictions: json.RawMessage(`{"score":1}`)}},
				Live: []Comparison{{
					Server: "https://models.example.org", Version: 7, live: &spec.Spec{}, Shifts: []Shift{shift},
					Changes: []spec.Change{{Kind: spec.Changed, Path: "resources.memory", Message: "resources.memory changed from 256Mi to 512Mi"}},
				}},
			},
			{
				Model: "risk", Folder: "models/risk", Change: &Change{Folder: "models/risk", Model: "risk", Kind: Moved, From: "old/risk", Because: []Cause{{Kind: OwnFiles}}},
				Start: spec.Duration(90 * time.Millisecond), Took: spec.Duration(2 * time.Second),
				Findings: []Finding{
					{
						Code: FoundBreaking, Severity: SeverityError, File: "models/risk/model.yaml", Line: 12, Column: 5,
						Message: "the feature income was removed", Suggestion: "callers of version 3 can fail; give it a `default`", Snippet: "  - {name: age, type: integer}\n    ^^^",
					},
					{Code: FoundWrong, Severity: SeverityError, File: "models/risk/model.yaml", Line: 30, Column: 3, Message: "example 2: score is 0.9, and should be 0.2", Suggestion: "if the new answer is right, write it into the example"},
					{Code: modelmanager.CodeModelError, Severity: SeverityError, File: "models/risk/" + "pre,dict:1.py", Message: hostile + "\n::stop-commands::x\n````\nsecond line", Suggestion: "look at it"},
				},
				Examples: []ExampleResult{{Name: "1", Predictions: json.RawMessage(`{"score":0.1}`)}, {Name: "2", Predictions: json.RawMessage(`{"score":0.9}`), Problem: "score is 0.9, and should be 0.2"}},
				Output:   []string{"Traceback (most recent call last):", "::add-mask::everything", hostile},
				Live:     []Comparison{{Server: "https://models.example.org", Version: 3, live: &spec.Spec{}, Changes: []spec.Change{{Kind: spec.Removed, Path: "features.income", Breaking: true, Message: "the feature income was removed"}}, Problem: "version 3 can't answer now"}},
			},
			{
				Folder: "models/unreadable", Change: &Change{Folder: "models/unreadable", Kind: Added},
				Findings: []Finding{{Code: modelmanager.CodeInvalidSpec, Severity: SeverityError, File: "models/unreadable/model.yaml", Line: 3, Column: 1, Message: `"ownr" is not a key`, Suggestion: "did you mean `owner`?", Snippet: "ownr: me\n^^^^"}},
				Examples: []ExampleResult{},
			},
		},
	}
	for _, customer := range []string{"st-mary", "north-clinic", "riverside"} {
		review.Models = append(review.Models, &Report{
			Model: customer, Folder: "models/" + customer, Change: &Change{Folder: "models/" + customer, Model: customer, Kind: Changed, Because: template},
			Findings: []Finding{unpinned}, Examples: []ExampleResult{{Name: "1", Predictions: json.RawMessage(`{"y":1}`)}},
			Start: spec.Duration(time.Second), Live: []Comparison{{Server: "https://models.example.org"}},
		})
	}
	review.Valid = true
	for _, report := range review.Models {
		report.loaded = report.Model != ""
		report.finish("")
		review.Valid = review.Valid && report.Valid
	}
	return review
}

// TestReports holds every format against a golden file.
func TestReports(t *testing.T) {
	review := sampleReview()
	for file, write := range map[string]func(io.Writer) error{
		"report.txt":       func(w io.Writer) error { return review.WriteText(w, TextOptions{}) },
		"report-color.txt": func(w io.Writer) error { return review.WriteText(w, TextOptions{Color: true}) },
		"report.json":      review.WriteJSON,
		"report.xml":       review.WriteJUnit,
		"report.github":    review.WriteGitHub,
		"report.md":        review.WriteMarkdown,
	} {
		var got bytes.Buffer
		if err := write(&got); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", file)
		if *update {
			if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s is another; go test ./internal/pipeline -run TestReports -update, and look at the difference", path)
		}
	}
}

// TestStrangersTextStaysText: nothing of a model's own text commands a terminal,
// a runner of CI, or a web page.
func TestStrangersTextStaysText(t *testing.T) {
	review := sampleReview()
	render := func(write func(io.Writer) error) string {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		if !utf8.Valid(b.Bytes()) {
			t.Error("the report isn't UTF-8")
		}
		return b.String()
	}
	text := render(func(w io.Writer) error { return review.WriteText(w, TextOptions{}) })
	if strings.ContainsAny(text, "\x1b\u202e") || strings.Contains(text, "##[") || regexp.MustCompile(`(?m)^\s*::`).MatchString(text) {
		t.Errorf("the text commands its reader:\n%q", text)
	}
	for line := range strings.Lines(render(review.WriteGitHub)) {
		if !regexp.MustCompile(`^::(error|warning|notice) [^:]*::[^\r\n]*\n$`).MatchString(line) {
			t.Errorf("no annotation: %q", line)
		}
		if strings.Contains(line, "pre,dict") {
			t.Errorf("a comma or a colon of a property isn't escaped: %q", line)
		}
	}
	decoder := xml.NewDecoder(strings.NewReader(render(review.WriteJUnit)))
	for {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the XML can't be read: %v", err)
		}
	}
	var value map[string]any
	if err := json.Unmarshal([]byte(render(review.WriteJSON)), &value); err != nil || value["format"] != float64(reviewFormat) {
		t.Errorf("%v, %v", value["format"], err)
	}
	page := asPage(t, render(review.WriteMarkdown))
	prose := regexp.MustCompile(`(?s)<pre>.*?</pre>|<code>.*?</code>`).ReplaceAllString(page, "")
	for _, bad := range []string{"<script", "@everyone", "#12 ", "evil.example\"", "<strong>b</strong>"} {
		if strings.Contains(prose, bad) {
			t.Errorf("the page has %q:\n%s", bad, prose)
		}
	}
	if opened, closed := strings.Count(prose, "<details>"), strings.Count(prose, "</details>"); opened != closed || opened == 0 {
		t.Errorf("%d details opened, %d closed", opened, closed)
	}
	for _, table := range regexp.MustCompile(`(?s)<table>.*?</table>`).FindAllString(page, -1) {
		columns := strings.Count(table, "<th") - strings.Count(table, "<thead")
		for _, row := range regexp.MustCompile(`(?s)<tr>.*?</tr>`).FindAllString(table, -1)[1:] {
			if got := strings.Count(row, "<td"); got != columns {
				t.Errorf("a row of %d cells below %d headers:\n%s", got, columns, row)
			}
		}
	}
}

// asPage renders Markdown as GitHub does, HTML in it included.
func asPage(t *testing.T, text string) string {
	t.Helper()
	var page bytes.Buffer
	markdown := goldmark.New(goldmark.WithExtensions(gfm.GFM), goldmark.WithRendererOptions(html.WithUnsafe()))
	if err := markdown.Convert([]byte(text), &page); err != nil {
		t.Fatal(err)
	}
	return page.String()
}

func TestMarkdownFits(t *testing.T) {
	reports := []Report{*sampleReview().Models[0], *sampleReview().Models[1]}
	for _, models := range []int{0, 1, 40, 300} {
		for _, long := range []int{1, 40} {
			review := &Review{Models: []*Report{}}
			for i := range models {
				report := reports[i%2]
				report.Findings = slices.Clone(report.Findings)
				report.Model = fmt.Sprintf("model-%d", i)
				report.Folder = "models/" + report.Model
				report.Change = nil
				for j := range report.Findings {
					report.Findings[j].Message = report.Model + strings.Repeat(" is a long story, and a sad one: @you", long)
				}
				review.Models = append(review.Models, &report)
			}
			var b bytes.Buffer
			if err := review.WriteMarkdown(&b); err != nil {
				t.Fatal(err)
			}
			if b.Len() > 65536 || b.Len() < 20 {
				t.Errorf("%d models: %d bytes", models, b.Len())
			}
			page := asPage(t, b.String())
			if opened, closed := strings.Count(page, "<details>"), strings.Count(page, "</details>"); opened != closed {
				t.Errorf("%d models: %d details opened, %d closed", models, opened, closed)
			}
		}
	}
}
