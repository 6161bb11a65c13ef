package spec

import (
	"math"
	"strings"

	"modelmanager.dev"
)

// typical returns a value that a field allows, as JSON values are in Go: what
// the generated baseline answers, and what an example without data has.
func typical(f *modelmanager.Field) any {
	switch {
	case f.Default != nil:
		return f.Default.Value
	case len(f.Enum) > 0:
		return f.Enum[0]
	case f.Pattern != "" && f.Nullable:
		return nil
	}
	switch f.Type {
	case modelmanager.Boolean:
		return false
	case modelmanager.Integer:
		value := typicalNumber(f, true)
		return int64(value)
	case modelmanager.Number:
		return typicalNumber(f, false)
	case modelmanager.Array:
		items := []any{}
		for range arrayLength(f) {
			items = append(items, typical(f.Items))
		}
		return items
	}
	switch f.Format {
	case modelmanager.FormatDate:
		return "2024-01-31"
	case modelmanager.FormatDateTime:
		return "2024-01-31T12:00:00Z"
	}
	length := 4
	if f.MinLength != nil {
		length = max(length, *f.MinLength)
	}
	if f.MaxLength != nil {
		length = min(length, *f.MaxLength)
	}
	return strings.Repeat("x", length)
}

func arrayLength(f *modelmanager.Field) int {
	switch {
	case f.Items == nil:
		return 0
	case f.Length != nil:
		return *f.Length
	}
	return len(f.Labels)
}

// typicalNumber returns the allowed number that is nearest to zero, or in the
// middle of an open interval that excludes zero.
func typicalNumber(f *modelmanager.Field, whole bool) float64 {
	low, high := math.Inf(-1), math.Inf(1)
	step := 0.0
	if whole {
		step = 1
	}
	if f.Minimum != nil {
		low = *f.Minimum
	}
	if f.Maximum != nil {
		high = *f.Maximum
	}
	if f.ExclusiveMinimum != nil && *f.ExclusiveMinimum >= low {
		low = above(*f.ExclusiveMinimum, high, step)
	}
	if f.ExclusiveMaximum != nil && *f.ExclusiveMaximum <= high {
		high = -above(-*f.ExclusiveMaximum, -low, step)
	}
	value := math.Min(math.Max(0, low), high)
	if f.MultipleOf != nil && *f.MultipleOf > 0 {
		step = *f.MultipleOf
	}
	if step > 0 && value > 0 {
		value = math.Ceil(value/step) * step
	} else if step > 0 {
		value = math.Floor(value/step) * step
	}
	return value
}

// above returns a number above an excluded bound.
func above(bound, high, step float64) float64 {
	switch {
	case step > 0:
		return math.Floor(bound) + 1
	case math.IsInf(high, 1):
		return bound + 1
	}
	return (bound + high) / 2
}
