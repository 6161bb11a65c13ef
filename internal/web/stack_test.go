package web_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"modelmanager.dev/internal/activity"
	"modelmanager.dev/internal/platform"
)

// TestACellOfAStackedTableSaysWhatItIs: on a narrow page the rows of such a
// table stand one below the other, without its header. So each cell has a label,
// and what is no table to the eye stays one to a screen reader.
func TestACellOfAStackedTableSaysWhatItIs(t *testing.T) {
	w := newJobsWorld(t)
	w.mu.Lock()
	w.loads = []activity.Load{{Ref: platform.Ref{Model: "doubler", Version: 1}, InFlight: 1}}
	w.mu.Unlock()
	w.publishAs(map[string]any{"features": []any{
		map[string]any{"name": "x", "type": "number", "description": "What is doubled."},
		map[string]any{"name": "side", "type": "string"},
	}})
	_, check := w.upload("a.csv", []byte("x,side\n1,left\nmuch,left\n"))
	w.submit("/models/doubler/batch/run", checkForm(t, check))
	job := w.at.Path
	w.finished()
	pages := map[string]string{"the check": check}
	for _, address := range []string{
		"/", "/models/doubler", "/models/doubler/try", "/models/doubler/batch", "/models/doubler/batch?version=1", "/models/doubler/versions",
		"/models/doubler/versions/1", "/models/doubler/versions/1/logs", "/models/doubler/compare", "/models/doubler/traffic",
		"/models/doubler/traffic/change?do=promote&version=1", "/jobs", job, job + "/logs", "/operations",
	} {
		_, pages[address] = w.visit(address)
	}
	seen := map[string]bool{}
	for address, page := range pages {
		document, err := html.Parse(strings.NewReader(page))
		if err != nil {
			t.Fatal(err)
		}
		for node := range document.Descendants() {
			if node.Data == "table" && strings.Contains(" "+attributeOf(node, "class")+" ", " stack ") {
				checkStacked(t, address, node)
				seen[attributeOf(node.Parent, "aria-label")] = true
			}
		}
	}
	for _, label := range stackedTables(t) {
		if !seen[label] {
			t.Errorf("no page that was looked at has the table %q", label)
		}
	}
}

// stackedTables are those of all templates, by the labels of their regions.
func stackedTables(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("templates/*.html")
	if err != nil {
		t.Fatal(err)
	}
	var labels []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, table := range regexp.MustCompile(`aria-label="([^"]*)"><table [^>]*class="[^"]*\bstack\b`).FindAllSubmatch(text, -1) {
			labels = append(labels, string(table[1]))
		}
	}
	if len(labels) == 0 {
		t.Fatal("no template has a stacked table")
	}
	return labels
}

func checkStacked(t *testing.T, address string, table *html.Node) {
	t.Helper()
	var headers []string
	roles := map[string]string{"table": "table", "thead": "rowgroup", "tbody": "rowgroup", "tr": "row", "td": "cell"}
	column := 0
	if got := attributeOf(table, "role"); got != roles["table"] {
		t.Errorf("%s: a table has the role %q", address, got)
	}
	for node := range table.Descendants() {
		want := roles[node.Data]
		switch {
		case node.Type != html.ElementNode:
			continue
		case node.Data == "tr":
			column = 0
		case node.Data == "th" && attributeOf(node, "scope") == "col":
			want = "columnheader"
			headers = append(headers, textOf(node))
		case node.Data == "th":
			want = "rowheader"
			column++
		case node.Data == "td":
			if column++; attributeOf(node, "data-label") == "" {
				t.Errorf("%s: a cell of the column %q has no label", address, headers[column-1])
			}
		}
		if got := attributeOf(node, "role"); want != "" && got != want {
			t.Errorf("%s: a %s has the role %q, not %q", address, node.Data, got, want)
		}
	}
}

func attributeOf(node *html.Node, name string) string {
	for _, a := range node.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func textOf(node *html.Node) string {
	var b strings.Builder
	for child := range node.Descendants() {
		if child.Type == html.TextNode {
			b.WriteString(child.Data)
		}
	}
	return b.String()
}
