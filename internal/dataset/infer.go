package dataset

import (
	"context"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	modelmanager "modelmanager.dev"
)

// Bounds of what Infer looks at, and of what it takes for an enum.
const (
	inferRows    = 200_000
	inferSamples = 5
	inferLevels  = 50
	inferOdd     = 500 // texts of a column that may be dates
)

// Inferred is what a file's rows suggest.
type Inferred struct {
	Fields  []modelmanager.Field
	Traits  []Trait          // of each field's column
	Null    []string         // words that stand for null besides the empty cell
	Dates   string           // how dates are written; "": as in input
	Samples []map[string]any // the first rows, as values of their fields
	Rows    int64            // rows that were looked at
	All     bool             // whether those are all rows of the file
}

// Trait is what people should know of a column before it becomes a feature.
type Trait struct {
	Counts   bool // it numbers the rows, from 0 or 1 on
	Unique   bool // no two rows have the same value; of integers and texts
	Constant bool // all rows have the same value, or none has one
	Naive    bool // its date-times have no offset from UTC
}

// Infer suggests a field for every column of a sniffed file: its type, whether
// it is nullable, and for texts that recur an enum in the order of their first
// appearance. Bounds are not guessed: what was seen is not what is allowed. It
// reads at most 200,000 rows, and says so. Words such as NA among a CSV
// column's numbers stand for null, and a layout of dates holds, in the whole file.
func Infer(ctx context.Context, src Source, input modelmanager.JobInput) (*Inferred, error) {
	result, i, err := infer(ctx, src, input)
	if err != nil {
		return nil, err
	}
	words, layout := i.nullWords(), i.layout()
	if len(words) == 0 && layout == "" {
		return result, nil
	}
	input.Null = append(slices.Clone(input.Null), words...)
	input.Dates = defaultTo(input.Dates, layout)
	if result, _, err = infer(ctx, src, input); err != nil {
		return nil, err
	}
	result.Null, result.Dates = words, layout
	return result, nil
}

// infer is one reading of the file.
func infer(ctx context.Context, src Source, input modelmanager.JobInput) (*Inferred, *inferrer, error) {
	empty, err := Compile(nil)
	if err != nil {
		return nil, nil, err
	}
	input.Columns = nil
	r, err := NewReader(ctx, src, input, empty, Whole(), ReaderOptions{})
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	rules, err := newTextRules(input)
	if err != nil {
		return nil, nil, err
	}
	i := &inferrer{header: r.Header(), rules: rules, input: input, text: input.Format == formatCSV, known: map[string]int{}}
	if err := i.checkHeader(); err != nil {
		return nil, nil, err
	}
	for _, name := range i.header.Columns {
		i.column(name)
	}
	if i.header.arrow != nil {
		for column, field := range i.header.arrow.Fields() {
			id := plainType(field.Type).ID()
			i.columns[column].floating = arrow.IsFloating(id) || arrow.IsDecimal(id)
		}
	}
	result := &Inferred{}
	for result.Rows < inferRows {
		batch, err := r.Next()
		if err == io.EOF {
			result.All = true
			break
		}
		if err != nil {
			return nil, nil, err
		}
		for row := range batch.Rows {
			if result.Rows == inferRows {
				break
			}
			i.add(&batch.Extra, row, result.Rows)
			result.Rows++
		}
	}
	i.finish(result)
	return result, i, nil
}

// checkHeader refuses a header that is data: a file without names.
func (i *inferrer) checkHeader() error {
	for _, name := range i.header.Columns {
		if name == "" {
			continue
		}
		if _, ok := cellFloat([]byte(name), i.rules.decimal()); !ok {
			return nil
		}
	}
	if len(i.header.Columns) == 0 || i.input.Format != formatCSV && i.input.Format != formatXLSX {
		return nil
	}
	return modelmanager.Errorf(modelmanager.CodeInvalidInput,
		"row %d, which would be the header, has nothing but numbers: give the columns names, in a row above the data", i.input.HeaderRow)
}

// layout is how all dates that aren't ISO 8601 are written; "" if there are
// none, or if it isn't clear.
func (i *inferrer) layout() string {
	found := ""
	for _, g := range i.columns {
		if g.dates+g.times > 0 || i.input.Dates != "" {
			return "" // a file has one layout
		}
		if g.odd == 0 || g.numbers > 0 {
			continue
		}
		layout, err := g.layouts.layout()
		if err != nil || layout != "" && found != "" && layout != found {
			return ""
		}
		found = defaultTo(found, layout)
	}
	return found
}

// nullWords are the words for null among the values of columns that have no
// other texts.
func (i *inferrer) nullWords() []string {
	found := map[string]bool{}
	for _, g := range i.columns {
		unknown := int64(0)
		for _, n := range g.words {
			unknown += n
		}
		if typed := max(g.bools, g.numbers, g.dates+g.times); typed > 0 && typed+unknown == g.seen {
			for word := range g.words {
				found[word] = true
			}
		}
	}
	return sortedKeys(found)
}

type inferrer struct {
	header  *Header
	rules   *TextRules
	input   modelmanager.JobInput
	text    bool // cells are texts, whatever they mean
	columns []*guess
	known   map[string]int
	values  []value
	samples [][]value
}

func (i *inferrer) column(name string) *guess {
	if at, ok := i.known[name]; ok {
		return i.columns[at]
	}
	i.known[name] = len(i.columns)
	i.columns = append(i.columns, newGuess(name))
	return i.columns[len(i.columns)-1]
}

func (i *inferrer) add(extra *Extra, row int, number int64) {
	if extra.json != nil {
		values := make([]value, len(i.columns))
		_ = eachKey(extra.json.row(row), func(key string, raw json.RawMessage) {
			g := i.column(key)
			v := valueOf(raw)
			g.add(v, false, i.rules)
			if at := i.known[key]; at < len(values) {
				values[at] = v
			}
		})
		i.sample(values, number)
		return
	}
	values, ok := extra.values(i.values[:0], row)
	i.values = values
	if !ok {
		return
	}
	for column, v := range values {
		i.columns[column].add(v, i.text, i.rules)
	}
	i.sample(values, number)
}

func (i *inferrer) sample(values []value, number int64) {
	if number >= inferSamples {
		return
	}
	kept := make([]value, len(values))
	for column, v := range values {
		kept[column] = value{kind: v.kind, text: append([]byte(nil), v.text...)}
	}
	i.samples = append(i.samples, kept)
}

func (i *inferrer) finish(result *Inferred) {
	for _, g := range i.columns {
		result.Fields = append(result.Fields, g.field(result.Rows))
		result.Traits = append(result.Traits, g.traits(result.Rows))
	}
	rules := *i.rules
	if rules.Timezone == nil {
		rules.Timezone = time.UTC // an example needs some offset
	}
	for _, values := range i.samples {
		sample := map[string]any{}
		for column, v := range values {
			sample[i.columns[column].name] = typed(v, result.Fields[column], &rules)
		}
		result.Samples = append(result.Samples, sample)
	}
}

// typed turns a cell into what an example in model.yaml has.
func typed(v value, f modelmanager.Field, rules *TextRules) any {
	if v.kind == valueNull {
		return nil
	}
	if v.kind == valueText {
		r, err := compileRule(&modelmanager.Field{Name: f.Name, Type: f.Type, Format: f.Format, Items: f.Items, Length: f.Length, MaxItems: f.MaxItems})
		if err != nil {
			return string(v.text)
		}
		v.text = r.appendItem(nil, v.text, true, rules)
	}
	var d modelmanager.Default // reads whole numbers as integers
	if d.UnmarshalJSON(v.text) != nil {
		return string(v.text)
	}
	switch n := d.Value.(type) {
	case float64:
		if f.Type == modelmanager.Integer {
			return int64(n)
		}
	case int64:
		if n > maxInteger || n < -maxInteger { // in JSON a string
			return strconv.FormatInt(n, 10)
		}
	}
	return d.Value
}
