package dataset

import (
	"context"
	"encoding/json"
	"io"
	"math"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"

	modelmanager "modelmanager.dev"
)

// Bounds of what Infer looks at, and of what it takes for an enum.
const (
	inferRows    = 200_000
	inferSamples = 5
	inferLevels  = 50
)

// Inferred is what a file's rows suggest.
type Inferred struct {
	Fields  []modelmanager.Field
	Samples []map[string]any // the first rows, as values of their fields
	Rows    int64            // rows that were looked at
	All     bool             // whether those are all rows of the file
}

// Infer suggests a field for every column of a sniffed file: its type, whether
// it is nullable, and for texts that recur an enum in the order of their first
// appearance. Bounds are not guessed: what was seen is not what is allowed. It
// reads at most 200,000 rows, and says so.
func Infer(ctx context.Context, src Source, input modelmanager.JobInput) (*Inferred, error) {
	empty, err := Compile(nil)
	if err != nil {
		return nil, err
	}
	input.Columns = nil
	r, err := NewReader(ctx, src, input, empty, Whole(), ReaderOptions{})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	rules, err := newTextRules(input)
	if err != nil {
		return nil, err
	}
	i := &inferrer{header: r.Header(), rules: rules, input: input, text: input.Format == formatCSV, known: map[string]int{}}
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
			return nil, err
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
	return result, nil
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

// guess is what the values of a column have in common so far.
type guess struct {
	name     string
	seen     int64 // values that aren't null
	rows     int64 // rows that have the column
	null     bool
	bools    int64
	integers int64
	numbers  int64 // integers too
	dates    int64
	times    int64
	arrays   int64
	lengths  [2]int // least and most
	items    *guess
	large    bool // integers beyond 2^53
	floating bool // the file says that the column is no integers
	levels   map[string]bool
	order    []any
	many     bool // too many levels
}

func (i *inferrer) column(name string) *guess {
	if at, ok := i.known[name]; ok {
		return i.columns[at]
	}
	i.known[name] = len(i.columns)
	i.columns = append(i.columns, newGuess(name))
	return i.columns[len(i.columns)-1]
}

func newGuess(name string) *guess {
	return &guess{name: name, levels: map[string]bool{}, lengths: [2]int{math.MaxInt, 0}}
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

// add looks at one value. Of a CSV cell only its text is known.
func (g *guess) add(v value, text bool, rules *TextRules) {
	g.rows++
	if v.kind == valueNull {
		g.null = true
		return
	}
	g.seen++
	switch {
	case v.kind == valueBool:
		g.bools++
	case v.kind == valueNumber:
		g.number(v.text, '.')
	case v.kind == valueJSON:
		g.array(v.text, rules)
	case text:
		g.cell(v.text, rules)
	default:
		g.moment(v.text, rules)
	}
	if v.kind == valueText && !g.many {
		g.level(string(v.text))
	}
}

func (g *guess) level(text string) {
	if g.levels[text] {
		return
	}
	if len(g.order) == inferLevels || len(text) > 100 {
		g.many = true
		return
	}
	g.levels[text] = true
	g.order = append(g.order, text)
}

func (g *guess) cell(text []byte, rules *TextRules) {
	trimmed := trim(text)
	switch lower := string(trimmed); {
	case len(trimmed) == 0:
	case len(trimmed) <= 5 && isBoolean(lower):
		g.bools++
	case !leadingZero(trimmed) && g.number(trimmed, rules.decimal()):
	default:
		g.moment(trimmed, rules)
	}
}

func isBoolean(text string) bool {
	switch text {
	case "true", "false", "True", "False", "TRUE", "FALSE":
		return true
	}
	return false
}

// leadingZero tells a code such as 00123 from a number.
func leadingZero(text []byte) bool {
	return len(text) > 1 && text[0] == '0' && text[1] >= '0' && text[1] <= '9'
}

func (g *guess) number(text []byte, decimal byte) bool {
	_, ok := cellFloat(text, decimal)
	if !ok {
		return false
	}
	g.numbers++
	if n, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		g.integers++
		g.large = g.large || n > maxInteger || n < -maxInteger
	} // 5.0 is an integer where one is needed, but was a number where it comes from
	return true
}

func (g *guess) moment(text []byte, rules *TextRules) {
	if _, fault := parseDate(text); fault == "" {
		g.dates++
		return
	}
	if _, fault := parseTime(text); fault == "" {
		g.times++
		return
	}
	if _, fault := parseNaive(text); fault == "" {
		g.times++
		return
	}
	if rules.Dates != "" {
		if at, fault := parseLayout(text, rules.Dates); fault == "" {
			if at.micros == 0 {
				g.dates++
			} else {
				g.times++
			}
		}
	}
}

func (g *guess) array(text []byte, rules *TextRules) {
	var items []json.RawMessage
	if json.Unmarshal(text, &items) != nil {
		return
	}
	g.arrays++
	g.lengths = [2]int{min(g.lengths[0], len(items)), max(g.lengths[1], len(items))}
	if g.items == nil {
		g.items = newGuess("")
	}
	for _, item := range items {
		g.items.add(valueOf(item), false, rules)
	}
}

// field says what the column is. One that is empty throughout is a nullable text.
func (g *guess) field(rows int64) modelmanager.Field {
	f := modelmanager.Field{Name: g.name, Type: modelmanager.String, Nullable: g.null || g.seen == 0}
	if g.rows < rows {
		f.Default = &modelmanager.Default{} // a key that some rows lack
		f.Nullable = true
	}
	switch {
	case g.seen == 0:
	case g.bools == g.seen:
		f.Type = modelmanager.Boolean
	case g.integers == g.seen && !g.floating:
		f.Type = modelmanager.Integer
		if g.large {
			f.Format = modelmanager.FormatInt64
		}
	case g.numbers == g.seen:
		f.Type = modelmanager.Number
	case g.dates == g.seen:
		f.Format = modelmanager.FormatDate
	case g.dates+g.times == g.seen:
		f.Format = modelmanager.FormatDateTime
	case g.arrays == g.seen:
		f.Type = modelmanager.Array
		item := g.items.field(g.items.rows)
		item.Enum, item.Name = nil, ""
		f.Items = &item
		if g.lengths[0] == g.lengths[1] && g.lengths[0] > 0 {
			f.Length = &g.lengths[0]
		} else {
			most := max(g.lengths[1], 1)
			f.MaxItems = &most
		}
	case !g.many && g.seen >= 2*int64(len(g.order)):
		f.Enum = g.order
	}
	return f
}

func (i *inferrer) finish(result *Inferred) {
	for _, g := range i.columns {
		result.Fields = append(result.Fields, g.field(result.Rows))
	}
	for _, values := range i.samples {
		sample := map[string]any{}
		for column, v := range values {
			sample[i.columns[column].name] = typed(v, result.Fields[column], i.rules)
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
	if n, ok := d.Value.(float64); ok && f.Type == modelmanager.Integer {
		return int64(n)
	}
	return d.Value
}
