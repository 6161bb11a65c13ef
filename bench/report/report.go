// Package report prints what benchmarks measured, all in one form: a Markdown
// table with a row for each comparison.
package report

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Row is one comparison of ours with a peer.
type Row struct {
	What   string  // what was done: "substring search, 150,000 models, median"
	Peer   string  // with whom: "SQLite 3.53"
	Ours   string  // with unit
	Theirs string  // with unit; "" where there is nobody to compare with
	Ratio  float64 // how many times better ours is; 0: there is none
	Reach  string  // what ours must reach: "5×", "2 KB"
	Aim    string  // what it aims at
}

// Markdown writes rows as a table.
func Markdown(w io.Writer, rows ...Row) error {
	var b strings.Builder
	b.WriteString("| what | ours | peer | theirs | ratio | to reach | aim |\n|---|---|---|---|---|---|---|\n")
	for _, row := range rows {
		ratio := ""
		if row.Ratio > 0 {
			ratio = Times(row.Ratio)
		}
		cells := []string{row.What, row.Ours, row.Peer, row.Theirs, ratio, row.Reach, row.Aim}
		for i, cell := range cells {
			cells[i] = strings.ReplaceAll(strings.Join(strings.Fields(cell), " "), "|", `\|`)
		}
		b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Times writes a ratio: "0.85×", "3.2×", "54×".
func Times(ratio float64) string { return digits(ratio) + "×" }

// Bytes writes a size: "477 B", "1.4 KB", "26 MB", in powers of 1,000.
func Bytes(n float64) string { return scaled(n, 1000, "B", "KB", "MB", "GB", "TB") }

// Duration writes a time: "820 ns", "1.3 ms", "2.4 s".
func Duration(d time.Duration) string {
	return scaled(float64(d), 1000, "ns", "µs", "ms", "s")
}

// Rate writes a number a second: "38 k/s".
func Rate(perSecond float64, what string) string {
	return scaled(perSecond, 1000, "", "k", "M", "G") + " " + what + "/s"
}

func scaled(v, step float64, units ...string) string {
	unit := 0
	for v >= step && unit < len(units)-1 {
		v /= step
		unit++
	}
	return strings.TrimSpace(digits(v) + " " + units[unit])
}

// digits writes two significant digits, or all those before the point.
func digits(v float64) string {
	switch {
	case v >= 10 || v == 0:
		return fmt.Sprintf("%.0f", v)
	case v >= 1:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}
