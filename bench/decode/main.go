// Command decode measures decoding and validating requests of 30 features
// beside encoding/json into maps, checked by santhosh-tekuri/jsonschema. Both
// get the same bytes and the same schema, in turns; medians are compared.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"modelmanager.dev"
	"modelmanager.dev/bench/report"
	"modelmanager.dev/internal/dataset"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("decode", flag.ContinueOnError)
	span := flags.Duration("span", 3*time.Second, "how long to measure each size")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ours, err := dataset.Compile(fields())
	if err != nil {
		return err
	}
	general, err := compile(dataset.RowSchema(fields()))
	if err != nil {
		return err
	}
	var rows []report.Row
	for _, n := range []int{1, 100} {
		measured, err := compare(ours, general, n, *span)
		if err != nil {
			return err
		}
		rows = append(rows, measured...)
	}
	return report.Markdown(os.Stdout, rows...)
}

// contestant decodes and validates a body; it fails if a row is invalid.
type contestant func(body []byte) error

// compare measures requests of n rows: as rows that are ready to be sent to a
// worker in JSON, and as the Arrow arrays that other workers get.
func compare(ours *dataset.Schema, general *jsonschema.Schema, n int, span time.Duration) ([]report.Row, error) {
	body := request(n)
	times, err := interleave(body, span, []contestant{
		func(body []byte) error {
			request, err := ours.DecodeRequest(body, 0)
			if err == nil && request.Rows != n {
				err = fmt.Errorf("decoded %d rows of %d", request.Rows, n)
			}
			return err
		},
		func(body []byte) error {
			request, err := ours.DecodeRequest(body, 0)
			if err == nil && len(request.Record.Columns()) != len(ours.Fields()) {
				err = fmt.Errorf("decoded %d columns of %d", len(request.Record.Columns()), len(ours.Fields()))
			}
			return err
		},
		func(body []byte) error {
			var request struct{ Rows []any }
			if err := json.Unmarshal(body, &request); err != nil {
				return err
			}
			for _, row := range request.Rows {
				if err := general.Validate(row); err != nil {
					return err
				}
			}
			return nil
		},
	})
	if err != nil {
		return nil, err
	}
	perRow := func(d time.Duration) string { return report.Duration(d/time.Duration(n)) + "/row" }
	row := func(what string, t time.Duration) report.Row {
		return report.Row{
			What: fmt.Sprintf("decode and validate, 30 features (%d bytes a row), %s a request, %s; median", len(record()), count(n), what),
			Peer: "encoding/json into maps + santhosh-tekuri/jsonschema",
			Ours: perRow(t), Theirs: perRow(times[2]), Ratio: float64(times[2]) / float64(t), Reach: "25×", Aim: "70×",
		}
	}
	return []report.Row{
		row("into columns", times[0]),
		row("and Arrow arrays over the columns made", times[1]),
	}, nil
}

func count(n int) string {
	if n == 1 {
		return "1 row"
	}
	return strconv.Itoa(n) + " rows"
}

// turn is how long one contestant runs before the next: long enough that it
// finds its own code and data in the caches, as a server under load does.
const turn = 20 * time.Millisecond

// interleave runs the contestants in turns, and returns their median times.
func interleave(body []byte, span time.Duration, contestants []contestant) ([]time.Duration, error) {
	times := make([][]time.Duration, len(contestants))
	for end := time.Now().Add(span); time.Now().Before(end); {
		for i, decode := range contestants {
			runtime.GC() // nobody pays for another's garbage
			for begin, start := time.Now(), time.Now(); start.Sub(begin) < turn; {
				if err := decode(body); err != nil {
					return nil, err
				}
				now := time.Now()
				times[i] = append(times[i], now.Sub(start))
				start = now
			}
		}
	}
	medians := make([]time.Duration, len(contestants))
	for i := range times {
		slices.Sort(times[i])
		medians[i] = times[i][len(times[i])/2]
	}
	return medians, nil
}

// fields are 30 numbers, as measured from a digitised biopsy image.
func fields() []modelmanager.Field {
	zero := 0.0
	var fields []modelmanager.Field
	for _, statistic := range []string{"mean", "se", "worst"} {
		for _, feature := range []string{"radius", "texture", "perimeter", "area", "smoothness", "compactness",
			"concavity", "points", "symmetry", "fractal"} {
			fields = append(fields, modelmanager.Field{Name: statistic + "_" + feature, Type: modelmanager.Number, Minimum: &zero})
		}
	}
	return fields
}

// record is one row, of 771 bytes.
func record() []byte {
	values := []string{
		"17.99", "10.38", "122.8", "1001", "0.1184", "0.2776", "0.3001", "0.1471", "0.2419", "0.07871",
		"1.095", "0.9053", "8.589", "153.4", "0.006399", "0.04904", "0.05373", "0.01587", "0.03003", "0.006193",
		"25.38", "17.33", "184.6", "2019", "0.1622", "0.6656", "0.7119", "0.2654", "0.4601", "0.1189",
	}
	const size = 771
	length := len("{}") - len(", ")
	for i, f := range fields() {
		length += len(f.Name) + len(`"": , `) + len(values[i])
	}
	for i := 0; length < size; i++ { // more digits make up the size
		if n := i % len(values); strings.Contains(values[n], ".") {
			values[n] += strconv.Itoa(1 + i%9)
			length++
		}
	}
	var row bytes.Buffer
	for i, f := range fields() {
		fmt.Fprintf(&row, ", %q: %s", f.Name, values[i])
	}
	return append(append([]byte("{"), row.Bytes()[2:]...), '}')
}

func request(rows int) []byte {
	row := append(record(), ", "...)
	all := bytes.TrimSuffix(bytes.Repeat(row, rows), []byte(", "))
	return append(append([]byte(`{"rows": [`), all...), "]}"...)
}

func compile(schema any) (*jsonschema.Schema, error) {
	text, err := json.Marshal(schema)
	if err != nil {
		return nil, err
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("row.json", document); err != nil {
		return nil, err
	}
	return c.Compile("row.json")
}
