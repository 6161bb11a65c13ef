package pipeline

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"modelmanager.dev"
)

// Shift is how the predictions of the same rows differ between the live version
// and the new one.
type Shift struct {
	Of          string            `json:"of"`             // "examples" or "sample"
	File        string            `json:"file,omitempty"` // of a sample
	Rows        int               `json:"rows"`           // that both versions answered
	OnlyLive    int               `json:"only_live,omitempty"`
	OnlyNew     int               `json:"only_new,omitempty"` // rows that the live version refuses
	More        bool              `json:"more,omitempty"`     // the sample has more rows, which were not looked at
	Predictions []PredictionShift `json:"predictions"`
}

// PredictionShift is how one prediction differs. Of numbers it has Numbers, of
// everything else Classes.
type PredictionShift struct {
	Name    string       `json:"name"` // of an array's item: name.label, or name.0
	Rows    int          `json:"rows"` // with a value by both versions
	Changed int          `json:"changed"`
	Became  int          `json:"became_null,omitempty"` // rows with a value by the live version only
	Was     int          `json:"was_null,omitempty"`    // rows with a value by the new version only
	Numbers *NumberShift `json:"numbers,omitempty"`
	Classes []Confusion  `json:"classes,omitempty"`  // what became what, most rows first, equal ones included
	Moved   []MovedRow   `json:"moved,omitempty"`    // the rows that moved most
	Parts   []Segment    `json:"segments,omitempty"` // where it moved most, by a feature's value
}

// NumberShift is how numbers differ: new minus live.
type NumberShift struct {
	LiveMean        float64   `json:"live_mean"`
	NewMean         float64   `json:"new_mean"`
	Mean            float64   `json:"mean"`          // of the differences
	MeanAbsolute    float64   `json:"mean_absolute"` // of their sizes
	Quantiles       Quantiles `json:"quantiles"`     // of the differences
	Correlation     *float64  `json:"correlation"`   // Pearson's; null: one of both is constant
	RankCorrelation *float64  `json:"rank_correlation"`
}

// Quantiles of some numbers.
type Quantiles struct {
	Min    float64 `json:"min"`
	P5     float64 `json:"p5"`
	P25    float64 `json:"p25"`
	Median float64 `json:"median"`
	P75    float64 `json:"p75"`
	P95    float64 `json:"p95"`
	Max    float64 `json:"max"`
}

// Confusion counts the rows whose prediction was From and is To.
type Confusion struct {
	From string `json:"from"`
	To   string `json:"to"`
	Rows int    `json:"rows"`
}

// MovedRow is a row whose prediction has moved.
type MovedRow struct {
	Row      int64           `json:"row"` // 1 is the first
	Live     json.RawMessage `json:"live"`
	New      json.RawMessage `json:"new"`
	Features json.RawMessage `json:"features"`
}

// Segment is the rows that have one value of a feature.
type Segment struct {
	Feature string  `json:"feature"`
	Value   string  `json:"value"`
	Rows    int     `json:"rows"`
	Changed int     `json:"changed"`
	Mean    float64 `json:"mean"` // of the differences; of classes 0
}

// Bounds of what a shift tells.
const (
	mostMoved     = 5
	mostSegments  = 5
	mostConfusion = 20
	mostLevels    = 20 // a feature with more values makes no segments
	leastSegment  = 5  // rows
	mostItems     = 20 // of an array that are looked at one by one
)

// pairedRows are rows with their predictions by both versions, as JSON objects.
type pairedRows struct {
	numbers  []int64
	features []json.RawMessage
	live     []json.RawMessage // nil: refused
	new      []json.RawMessage
}

// compareRows tells how predictions differ. It looks at the predictions that
// both versions have.
func compareRows(features, live, new []modelmanager.Field, rows pairedRows) Shift {
	shift := Shift{Predictions: []PredictionShift{}}
	both := pairedRows{}
	for i := range rows.features {
		switch {
		case rows.live[i] != nil && rows.new[i] != nil:
			both.numbers = append(both.numbers, rows.numbers[i])
			both.features = append(both.features, rows.features[i])
			both.live = append(both.live, rows.live[i])
			both.new = append(both.new, rows.new[i])
		case rows.live[i] != nil:
			shift.OnlyLive++
		case rows.new[i] != nil:
			shift.OnlyNew++
		}
	}
	shift.Rows = len(both.features)
	segments := segmentsOf(features, both.features)
	before, after := objects(both.live), objects(both.new)
	for _, field := range new {
		i := slices.IndexFunc(live, func(f modelmanager.Field) bool { return f.Name == field.Name })
		if i < 0 {
			continue
		}
		for _, column := range columnsOf(live[i], field) {
			column.live, column.new = column.values(before), column.values(after)
			shift.Predictions = append(shift.Predictions, column.shift(both, segments))
		}
	}
	return shift
}

func objects(rows []json.RawMessage) []map[string]any {
	list := make([]map[string]any, len(rows))
	for i, row := range rows {
		_ = json.Unmarshal(row, &list[i]) // what isn't an object has no values
	}
	return list
}

// shiftColumn is one prediction, or one item of an array.
type shiftColumn struct {
	name    string
	field   string
	item    int // of an array; −1: the value itself
	numbers bool

	live, new []any // nil: null
}

// columnsOf tells what of a prediction is compared: an array of fixed length
// item by item.
func columnsOf(live, new modelmanager.Field) []shiftColumn {
	number := func(f modelmanager.Field) bool {
		return f.Type == modelmanager.Number || f.Type == modelmanager.Integer
	}
	if new.Type == modelmanager.Array && live.Type == modelmanager.Array && new.Length != nil && live.Length != nil &&
		*new.Length == *live.Length && *new.Length <= mostItems && new.Items != nil && live.Items != nil {
		var columns []shiftColumn
		for i := range *new.Length {
			label := fmt.Sprint(i)
			if i < len(new.Labels) {
				label = new.Labels[i]
			}
			columns = append(columns, shiftColumn{
				name: new.Name + "." + label, field: new.Name, item: i, numbers: number(*new.Items) && number(*live.Items),
			})
		}
		return columns
	}
	return []shiftColumn{{name: new.Name, field: new.Name, item: -1, numbers: number(new) && number(live)}}
}

// values returns the column's value in each row.
func (c shiftColumn) values(rows []map[string]any) []any {
	values := make([]any, len(rows))
	for i, row := range rows {
		value := row[c.field]
		if c.item >= 0 {
			items, _ := value.([]any)
			value = nil
			if c.item < len(items) {
				value = items[c.item]
			}
		}
		if c.numbers {
			if number, ok := asNumber(value); ok {
				values[i] = number
			}
			continue
		}
		values[i] = value
	}
	return values
}

// shift compares the column's values.
func (c shiftColumn) shift(rows pairedRows, segments []segment) PredictionShift {
	result := PredictionShift{Name: c.name}
	var x, y []float64
	changed := make([]bool, len(c.live))
	distance := make([]float64, len(c.live))
	counts := map[[2]string]int{}
	for i := range c.live {
		a, b := c.live[i], c.new[i]
		switch {
		case a == nil && b == nil:
			continue
		case b == nil:
			result.Became++
			changed[i] = true
			result.Changed++
			continue
		case a == nil:
			result.Was++
			changed[i] = true
			result.Changed++
			continue
		}
		result.Rows++
		if c.numbers {
			x, y = append(x, a.(float64)), append(y, b.(float64))
			distance[i] = difference(a.(float64), b.(float64))
		} else {
			counts[[2]string{classText(a), classText(b)}]++
		}
		if changed[i] = !nearValue(a, b, 0); changed[i] {
			result.Changed++
		}
	}
	if c.numbers {
		result.Numbers = compareNumbers(x, y)
	} else {
		result.Classes = confusion(counts)
	}
	result.Moved = c.moved(rows, changed, distance)
	result.Parts = biggestSegments(segments, changed, distance)
	return result
}

// moved returns the rows that moved most: of classes, the first that changed.
func (c shiftColumn) moved(rows pairedRows, changed []bool, distance []float64) []MovedRow {
	var indexes []int
	for i := range changed {
		if changed[i] {
			indexes = append(indexes, i)
		}
	}
	slices.SortStableFunc(indexes, func(a, b int) int {
		return cmp.Compare(max(distance[b], -distance[b]), max(distance[a], -distance[a]))
	})
	var moved []MovedRow
	for _, i := range indexes[:min(len(indexes), mostMoved)] {
		moved = append(moved, MovedRow{Row: rows.numbers[i], Live: jsonText(c.live[i]), New: jsonText(c.new[i]), Features: rows.features[i]})
	}
	return moved
}

func jsonText(value any) json.RawMessage {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return json.RawMessage("null")
	}
	return bytes.TrimSpace(b.Bytes())
}

func confusion(counts map[[2]string]int) []Confusion {
	var list []Confusion
	for pair, rows := range counts {
		list = append(list, Confusion{From: pair[0], To: pair[1], Rows: rows})
	}
	slices.SortFunc(list, func(a, b Confusion) int {
		return cmp.Or(cmp.Compare(b.Rows, a.Rows), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	if len(list) > mostConfusion { // what changed is what is wanted
		slices.SortStableFunc(list, func(a, b Confusion) int {
			return cmp.Compare(btoi(a.From == a.To), btoi(b.From == b.To))
		})
		list = list[:mostConfusion]
	}
	return list
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// classText is a value as a class's name.
func classText(value any) string {
	if text, ok := value.(string); ok {
		return text
	}
	return string(jsonText(value))
}
