package dataset

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"

	modelmanager "modelmanager.dev"
)

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
	many     bool             // too many levels
	words    map[string]int64 // texts that may stand for null
	naive    bool             // a date-time has no offset
	layouts  dateSniffer      // of texts that are no dates of ISO 8601
	odd      int              // how many of those it has seen
	first    string           // value, as a text
	varies   bool
	next     int64           // of a column that counts rows
	skips    bool            // it doesn't
	distinct map[string]bool // nil: a value came twice, or is no name for a row
}

func newGuess(name string) *guess {
	return &guess{name: name, levels: map[string]bool{}, lengths: [2]int{math.MaxInt, 0}, distinct: map[string]bool{}}
}

// add looks at one value. Of a CSV cell only its text is known.
func (g *guess) add(v value, text bool, rules *TextRules) {
	g.rows++
	if v.kind == valueNull {
		g.null = true
		return
	}
	g.seen++
	g.trait(v)
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

// trait follows what Trait says.
func (g *guess) trait(v value) {
	if g.seen == 1 {
		g.first = string(v.text)
	} else if !g.varies {
		g.varies = g.first != string(v.text)
	}
	if !g.skips {
		n, err := strconv.ParseInt(string(v.text), 10, 64)
		if g.rows == 1 && (n == 0 || n == 1) {
			g.next = n
		}
		g.skips = err != nil || n != g.next || g.seen != g.rows
		g.next++
	}
	if g.distinct != nil {
		_, err := strconv.ParseInt(string(v.text), 10, 64)
		if text := string(v.text); v.kind == valueText && len(text) <= 100 && !strings.ContainsAny(text, ".,") || err == nil {
			if !g.distinct[text] {
				g.distinct[text] = true
				return
			}
		}
		g.distinct = nil
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
	case isNullWord(lower):
		if g.words == nil {
			g.words = map[string]int64{}
		}
		g.words[string(text)]++
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
		g.naive = true
		return
	}
	if rules.Dates == "" && len(text) <= 20 && g.odd < inferOdd {
		g.layouts.add(string(text))
		g.odd++
	}
	if rules.Dates != "" {
		if at, fault := parseLayout(text, rules.Dates); fault == "" {
			if at.micros == 0 {
				g.dates++
			} else {
				g.times++
				g.naive = true
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
	case !g.many && g.varies && g.seen >= 2*int64(len(g.order)):
		f.Enum = g.order
	}
	return f
}

func (g *guess) traits(rows int64) Trait {
	return Trait{
		Counts:   !g.skips && g.seen == rows && g.next > 1,
		Unique:   g.distinct != nil && g.seen == rows && g.varies,
		Constant: !g.varies && (g.seen == rows || g.seen == 0),
		Naive:    g.naive,
	}
}

// isNullWord knows what programs and people write where a value is unknown.
func isNullWord(text string) bool {
	switch strings.ToLower(text) {
	case "na", "n/a", "#n/a", "nan", "null", "none", "-", "?", ".":
		return true
	}
	return false
}
