package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"modelmanager.dev"
)

// show prints a value as JSON with -o json, else by people.
func (g *global) show(value any, people func(w io.Writer)) error {
	if g.output == "json" {
		encoder := json.NewEncoder(g.Out)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		return encoder.Encode(value)
	}
	people(g.Out)
	return nil
}

// table prints rows under a header, in aligned columns.
func table(w io.Writer, header []string, rows [][]string) {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(header, "\t"))
	for _, row := range rows {
		for i, cell := range row {
			row[i] = oneLine(cell)
		}
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	t.Flush()
}

// properties prints names and values, one a line, leaving the empty ones out.
func properties(w io.Writer, pairs ...[2]string) {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, pair := range pairs {
		if pair[1] != "" {
			fmt.Fprintf(t, "%s\t%s\n", pair[0], oneLine(pair[1]))
		}
	}
	t.Flush()
}

// oneLine keeps a stranger's text from breaking a table or the terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || 0x80 <= r && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}

// trafficText is a setting of traffic in words: "7 (90%), 8 (10%), shadow 9".
func trafficText(t modelmanager.Traffic) string {
	var parts []string
	for _, share := range t.Versions {
		if share.Percent == 100 {
			parts = append(parts, fmt.Sprint(share.Version))
		} else {
			parts = append(parts, fmt.Sprintf("%d (%d%%)", share.Version, share.Percent))
		}
	}
	if len(parts) == 0 {
		parts = append(parts, "none")
	}
	if t.Shadow != 0 {
		parts = append(parts, fmt.Sprintf("shadow %d", t.Shadow))
	}
	return strings.Join(parts, ", ")
}

// pendingText says what setting of traffic isn't in force yet, and why; "" if
// the one that was asked for is.
func pendingText(t modelmanager.TrafficInfo) string {
	if t.Pending == nil {
		return ""
	}
	return trafficText(t.Traffic) + ": " + t.Pending.Reason
}

func healthText(h modelmanager.Health) string {
	if h.Reason == "" {
		return string(h.State)
	}
	return string(h.State) + ": " + h.Reason
}

func labelsText(labels map[string]string) string {
	var parts []string
	for _, name := range sortedKeys(labels) {
		parts = append(parts, name+"="+labels[name])
	}
	return strings.Join(parts, ",")
}

// ago is a time as people say it.
func ago(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	switch d := time.Since(t); {
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	default:
		return t.Format("2006-01-02")
	}
}

// PrintError prints an error with every row that it names.
func PrintError(w io.Writer, err error) {
	switch {
	case errors.Is(err, errReported):
		return
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(w, "mm: interrupted")
		return
	}
	text := strings.TrimSpace(err.Error())
	var e *modelmanager.Error
	if !errors.As(err, &e) {
		fmt.Fprintf(w, "mm: %s\n", printable(text))
		return
	}
	if len(e.Rows) > 0 {
		// The text names the first row, for logs; here all of them follow.
		for _, cut := range []string{"; row %d: ", ": row %d, "} {
			text, _, _ = strings.Cut(text, fmt.Sprintf(cut, e.Rows[0].Row))
		}
	}
	fmt.Fprintf(w, "mm: %s\n", printable(text))
	const most = 20
	for i, row := range e.Rows {
		if i == most {
			fmt.Fprintf(w, "  … and %d more\n", len(e.Rows)-most)
			break
		}
		if row.Feature == "" {
			fmt.Fprintf(w, "  row %d: %s\n", row.Row, oneLine(row.Message))
		} else {
			fmt.Fprintf(w, "  row %d, %s: %s\n", row.Row, oneLine(row.Feature), oneLine(row.Message))
		}
	}
	if e.Code == modelmanager.CodeUnauthenticated {
		fmt.Fprintln(w, "  mm sends the token of --token, --token-file, $MM_TOKEN, $MM_TOKEN_FILE or the command $MM_TOKEN_COMMAND")
	}
	if e.RetryAfter > 0 {
		fmt.Fprintf(w, "  try again in %s\n", e.RetryAfter)
	}
}

// printable keeps the lines of a text, and nothing that a terminal obeys.
func printable(text string) string {
	lines := strings.Split(strings.ReplaceAll(text, "\t", "    "), "\n")
	for i, line := range lines {
		lines[i] = oneLine(line)
	}
	return strings.Join(lines, "\n")
}
