package batch

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"modelmanager.dev"
)

// Bounds of a distribution.
const (
	maxSpreads = 24 // columns whose distribution is told
	maxBins    = 20
	maxValues  = 12
)

// spread collects how one column of predictions is spread.
type spread struct {
	name   string
	column int // of the predictions
	item   int // of a list; −1: the column itself
	whole  bool
	count  int64
	null   int64
	number []float64
	texts  map[string]int64
}

// spreadsOf prepares the distributions of predictions: of an array with a
// column for each item, one of each.
func spreadsOf(fields []modelmanager.Field) []*spread {
	var spreads []*spread
	add := func(name string, field modelmanager.Field, column, item int) {
		s := &spread{name: name, column: column, item: item, whole: field.Type == modelmanager.Integer}
		if field.Type != modelmanager.Number && field.Type != modelmanager.Integer {
			s.texts = make(map[string]int64)
		}
		if len(spreads) < maxSpreads {
			spreads = append(spreads, s)
		}
	}
	for i, field := range fields {
		switch {
		case field.Type != modelmanager.Array:
			add(field.Name, field, i, -1)
		case len(field.Labels) > 0:
			for item, label := range field.Labels {
				add(field.Name+"."+label, *field.Items, i, item)
			}
		case field.Length != nil:
			for item := range *field.Length {
				add(fmt.Sprintf("%s.%d", field.Name, item), *field.Items, i, item)
			}
		}
	}
	return spreads
}

// add takes the rows of a record.
func (s *spread) add(record arrow.RecordBatch) {
	column := record.Column(s.column)
	list, _ := column.(array.ListLike)
	for row := range column.Len() {
		values, at := column, row
		missing := column.IsNull(row)
		if s.item >= 0 && list != nil && !missing {
			start, end := list.ValueOffsets(row)
			values, at = list.ListValues(), int(start)+s.item
			missing = int64(at) >= end
		}
		s.count++
		if missing || values.IsNull(at) {
			s.null++
			continue
		}
		s.value(values, at)
	}
}

func (s *spread) value(values arrow.Array, at int) {
	switch values := values.(type) {
	case *array.Float64:
		s.number = append(s.number, values.Value(at))
	case *array.Int64:
		if s.texts == nil {
			s.number = append(s.number, float64(values.Value(at)))
			return
		}
		s.texts[values.ValueStr(at)]++
	default:
		if s.texts == nil {
			s.null++
			return
		}
		s.texts[values.ValueStr(at)]++
	}
}

func (s *spread) distribution() modelmanager.Distribution {
	d := modelmanager.Distribution{Name: s.name, Count: s.count, Null: s.null}
	if s.texts != nil {
		d.Values, d.Others = mostFrequent(s.texts)
		return d
	}
	if len(s.number) == 0 {
		return d
	}
	d.Min, d.Max = slices.Min(s.number), slices.Max(s.number)
	for _, v := range s.number {
		d.Mean += v / float64(len(s.number))
	}
	d.Bins = binned(s.number, d.Min, d.Max, s.whole)
	return d
}

func mostFrequent(counts map[string]int64) (values []modelmanager.ValueCount, others int64) {
	for value, n := range counts {
		values = append(values, modelmanager.ValueCount{Value: value, Count: n})
	}
	slices.SortFunc(values, func(a, b modelmanager.ValueCount) int {
		return cmp.Or(-cmp.Compare(a.Count, b.Count), strings.Compare(a.Value, b.Value))
	})
	if len(values) > maxValues {
		for _, rest := range values[maxValues:] {
			others += rest.Count
		}
		values = values[:maxValues]
	}
	for i := range values {
		values[i].Value = shorten(values[i].Value)
	}
	return values, others
}

// binned counts numbers in bins with round borders; whole numbers in bins that
// are whole.
func binned(numbers []float64, low, high float64, whole bool) []modelmanager.Bin {
	width := roundUp((high - low) / maxBins)
	if whole {
		width = max(width, 1)
	}
	if width <= 0 || math.IsInf(width, 0) || low+width == low || high-width == high {
		return []modelmanager.Bin{{From: low, To: high, Count: int64(len(numbers))}}
	}
	first := math.Floor(low/width + 1e-9)
	count := int(math.Floor(high/width+1e-9)-first) + 1
	if !whole && count > 1 && high <= (first+float64(count-1))*width {
		count-- // the highest lies on the last border
	}
	bins := make([]modelmanager.Bin, count)
	for i := range bins {
		bins[i].From, bins[i].To = exact((first+float64(i))*width), exact((first+float64(i)+1)*width)
	}
	for _, v := range numbers {
		i := int(math.Floor(v/width+1e-9) - first)
		bins[min(max(i, 0), count-1)].Count++
	}
	return bins
}

// roundUp is the next of 1, 2, 2.5 and 5 times a power of ten.
func roundUp(width float64) float64 {
	if width <= 0 {
		return 0
	}
	power := math.Pow(10, math.Floor(math.Log10(width)))
	for _, step := range []float64{1, 2, 2.5, 5, 10} {
		if width <= step*power*(1+1e-9) {
			return step * power
		}
	}
	return 10 * power
}

// exact takes the noise of a product away: 0.30000000000000004 is 0.3.
func exact(v float64) float64 {
	if v == 0 || math.IsInf(v, 0) {
		return 0
	}
	scale := math.Pow(10, 12-math.Ceil(math.Log10(math.Abs(v))))
	if rounded := math.Round(v*scale) / scale; !math.IsInf(rounded, 0) && !math.IsNaN(rounded) {
		return rounded
	}
	return v
}
