package pipeline

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"modelmanager.dev"
)

func numberField(name string) modelmanager.Field {
	return modelmanager.Field{Name: name, Type: modelmanager.Number}
}

func numbered(n int) []int64 {
	numbers := make([]int64, n)
	for i := range numbers {
		numbers[i] = int64(i + 1)
	}
	return numbers
}

// TestCompareNumbers holds against what was worked out by hand.
func TestCompareNumbers(t *testing.T) {
	x := []float64{1, 2, 3, 4, 5}
	y := []float64{1.5, 1.5, 3.5, 5, 5}
	got := compareNumbers(x, y)
	r, rank := 10.5/math.Sqrt(123), 0.9486832980505138
	want := &NumberShift{
		LiveMean: 3, NewMean: 3.3, Mean: 0.3, MeanAbsolute: 0.5,
		Quantiles:   Quantiles{Min: -0.5, P5: -0.4, P25: 0, Median: 0.5, P75: 0.5, P95: 0.9, Max: 1},
		Correlation: &r, RankCorrelation: &rank,
	}
	if difference := cmp.Diff(want, got, cmpopts.EquateApprox(1e-9, 1e-12)); difference != "" {
		t.Error(difference)
	}
	if got := compareNumbers(nil, nil); got != nil {
		t.Errorf("of nothing: %v", got)
	}
	if got := compareNumbers([]float64{1, 1}, []float64{1, 2}); got.Correlation != nil {
		t.Errorf("a constant correlates: %v", *got.Correlation)
	}
	huge := compareNumbers([]float64{math.MaxFloat64, -math.MaxFloat64}, []float64{-math.MaxFloat64, math.MaxFloat64})
	if _, err := json.Marshal(huge); err != nil || math.Abs(*huge.Correlation+1) > 1e-9 {
		t.Errorf("%+v, %v", huge, err)
	}
}

func TestCompareRows(t *testing.T) {
	features := []modelmanager.Field{numberField("x"), {Name: "plan", Type: modelmanager.String, Enum: []any{"basic", "plus"}}}
	predictions := []modelmanager.Field{
		numberField("score"), {Name: "class", Type: modelmanager.String, Nullable: true},
		{Name: "p", Type: modelmanager.Array, Length: ptr(2), Items: &modelmanager.Field{Type: modelmanager.Number}, Labels: []string{"no", "yes"}},
		{Name: "fresh", Type: modelmanager.Number},
	}
	var rows pairedRows
	for i := range 12 {
		plan, class, shift := "basic", `"a"`, 0
		if i >= 6 {
			plan, shift = "plus", i
		}
		if i == 7 {
			class = `"b"`
		}
		if i == 8 {
			class = "null"
		}
		rows.features = append(rows.features, json.RawMessage(fmt.Sprintf(`{"x":%d,"plan":%q}`, i, plan)))
		rows.live = append(rows.live, json.RawMessage(fmt.Sprintf(`{"score":%d,"class":"a","p":[0.5,0.5]}`, i)))
		rows.new = append(rows.new, json.RawMessage(fmt.Sprintf(`{"score":%d,"class":%s,"p":[0.25,0.75],"fresh":1}`, i+shift, class)))
	}
	rows.numbers = numbered(12)
	rows.live[0], rows.new[1] = nil, nil // refused
	shift := compareRows(features, predictions[:3], predictions, rows)
	if shift.Rows != 10 || shift.OnlyLive != 1 || shift.OnlyNew != 1 {
		t.Errorf("%d rows, %d, %d", shift.Rows, shift.OnlyLive, shift.OnlyNew)
	}
	var names []string
	for _, p := range shift.Predictions {
		names = append(names, p.Name)
	}
	if want := []string{"score", "class", "p.no", "p.yes"}; !slices.Equal(names, want) {
		t.Fatalf("%v", names)
	}
	score, class, no := shift.Predictions[0], shift.Predictions[1], shift.Predictions[2]
	if score.Changed != 6 || score.Moved[0].Row != 12 || string(score.Moved[0].New) != "22" || len(score.Moved) != mostMoved {
		t.Errorf("%+v", score)
	}
	if difference := cmp.Diff([]Segment{{Feature: "plan", Value: "plus", Rows: 6, Changed: 6, Mean: 8.5}}, score.Parts); difference != "" {
		t.Error(difference)
	}
	if difference := cmp.Diff([]Confusion{{"a", "a", 8}, {"a", "b", 1}}, class.Classes); difference != "" || class.Became != 1 || class.Changed != 2 {
		t.Error(difference, class)
	}
	if no.Numbers == nil || no.Numbers.Mean != -0.25 {
		t.Errorf("%+v", no)
	}
	for _, p := range shift.Predictions {
		t.Log(p.Name, p.Sentence())
	}
}

func ptr[T any](value T) *T { return &value }

// TestShiftProperties: identical predictions don't shift, and nothing breaks the
// numbers, whatever the predictions are: null, mixed up, not numbers.
func TestShiftProperties(t *testing.T) {
	value := rapid.OneOf(
		rapid.Map(rapid.Float64(), func(x float64) string {
			if math.IsNaN(x) || math.IsInf(x, 0) {
				return "null"
			}
			return string(jsonText(x))
		}),
		rapid.SampledFrom([]string{"null", "0", "1", `"high"`, `"NaN"`, "true", "[1]", "{}"}),
	)
	features := []modelmanager.Field{{Name: "f", Type: modelmanager.Boolean}}
	fields := []modelmanager.Field{numberField("n"), {Name: "c", Type: modelmanager.String}}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 30).Draw(t, "n")
		rows := pairedRows{numbers: numbered(n)}
		same := rapid.Bool().Draw(t, "same")
		for range n {
			draw := func() json.RawMessage {
				if rapid.IntRange(0, 9).Draw(t, "refused") == 0 {
					return nil
				}
				return json.RawMessage(fmt.Sprintf(`{"n":%s,"c":%s}`, value.Draw(t, "n"), value.Draw(t, "c")))
			}
			rows.features = append(rows.features, json.RawMessage(fmt.Sprintf(`{"f":%t}`, rapid.Bool().Draw(t, "f"))))
			live := draw()
			rows.live = append(rows.live, live)
			if !same {
				live = draw()
			}
			rows.new = append(rows.new, live)
		}
		shift := compareRows(features, fields, fields, rows)
		if _, err := json.Marshal(shift); err != nil {
			t.Fatalf("it can't be written: %v", err)
		}
		for _, p := range shift.Predictions {
			if p.Rows+p.Became+p.Was > shift.Rows || p.Changed > shift.Rows {
				t.Fatalf("more rows than there are: %+v", p)
			}
			if number := p.Numbers; number != nil {
				q := number.Quantiles
				if !slices.IsSorted([]float64{q.Min, q.P5, q.P25, q.Median, q.P75, q.P95, q.Max}) {
					t.Fatalf("quantiles out of order: %+v", q)
				}
				for _, r := range []*float64{number.Correlation, number.RankCorrelation} {
					if r != nil && (math.IsNaN(*r) || math.Abs(*r) > 1) {
						t.Fatalf("a correlation of %v", *r)
					}
				}
				if same && (q.Min != 0 || q.Max != 0 || number.Mean != 0 || number.Correlation != nil && *number.Correlation != 1) {
					t.Fatalf("the same numbers differ: %+v", number)
				}
			}
			if same && (p.Changed != 0 || len(p.Moved) != 0 || len(p.Parts) != 0) {
				t.Fatalf("the same predictions shift: %+v", p)
			}
			_ = p.Sentence()
		}
	})
}
