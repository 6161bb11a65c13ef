package pipeline

import (
	"math"
	"slices"
	"strconv"
)

// asNumber reads a number of JSON; one of 64 bits is text there. What isn't a
// finite number counts as null.
func asNumber(value any) (float64, bool) {
	switch value := value.(type) {
	case float64:
		return value, !math.IsNaN(value) && !math.IsInf(value, 0)
	case string:
		number, err := strconv.ParseFloat(value, 64)
		return number, err == nil && !math.IsNaN(number) && !math.IsInf(number, 0)
	}
	return 0, false
}

// difference is y − x, and the largest number there is where that is too large.
func difference(x, y float64) float64 {
	return min(max(y-x, -math.MaxFloat64), math.MaxFloat64)
}

// compareNumbers tells how y differs from x, which are equally long and finite;
// nil if they are empty.
func compareNumbers(x, y []float64) *NumberShift {
	if len(x) == 0 {
		return nil
	}
	differences := make([]float64, len(x))
	sizes := make([]float64, len(x))
	for i := range x {
		differences[i] = difference(x[i], y[i])
		sizes[i] = math.Abs(differences[i])
	}
	slices.Sort(differences)
	return &NumberShift{
		LiveMean: mean(x), NewMean: mean(y), Mean: mean(differences), MeanAbsolute: mean(sizes),
		Quantiles: Quantiles{
			Min: quantile(differences, 0), P5: quantile(differences, 0.05), P25: quantile(differences, 0.25),
			Median: quantile(differences, 0.5), P75: quantile(differences, 0.75), P95: quantile(differences, 0.95),
			Max: quantile(differences, 1),
		},
		Correlation: correlation(x, y), RankCorrelation: correlation(ranks(x), ranks(y)),
	}
}

// mean is finite for finite values, of which there must be one.
func mean(values []float64) float64 {
	sum, n := 0.0, float64(len(values))
	for _, value := range values {
		sum += value
	}
	result := sum / n
	if math.IsInf(sum, 0) || math.IsNaN(sum) {
		result = 0
		for _, value := range values {
			result += value / n
		}
	}
	return min(max(result, slices.Min(values)), slices.Max(values)) // whatever the rounding
}

// quantile is a quantile of sorted numbers, between two of them by their
// distance: type 7, as NumPy and R have it.
func quantile(sorted []float64, share float64) float64 {
	at := share * float64(len(sorted)-1)
	below := int(math.Floor(at))
	above := min(below+1, len(sorted)-1)
	part := at - float64(below)
	if part == 0 || sorted[below] == sorted[above] {
		return sorted[below]
	}
	return sorted[below]*(1-part) + sorted[above]*part
}

// correlation is Pearson's; nil if one of both is constant.
func correlation(x, y []float64) *float64 {
	x, y = centred(x), centred(y)
	if x == nil || y == nil {
		return nil
	}
	var xy, xx, yy float64
	for i := range x {
		xy += x[i] * y[i]
		xx += x[i] * x[i]
		yy += y[i] * y[i]
	}
	r := min(max(xy/math.Sqrt(xx*yy), -1), 1)
	if math.IsNaN(r) {
		return nil
	}
	return &r
}

// centred returns numbers less their mean, scaled so that their squares neither
// overflow nor vanish; nil if all are the same.
func centred(values []float64) []float64 {
	if len(values) == 0 || slices.Min(values) == slices.Max(values) {
		return nil
	}
	largest := 0.0
	for _, value := range values {
		largest = max(largest, math.Abs(value))
	}
	scaled := make([]float64, len(values))
	for i, value := range values {
		scaled[i] = value / largest
	}
	middle, largest := mean(scaled), 0.0
	for i := range scaled {
		scaled[i] -= middle
		largest = max(largest, math.Abs(scaled[i]))
	}
	if largest == 0 {
		return nil
	}
	for i := range scaled {
		scaled[i] /= largest
	}
	return scaled
}

// ranks returns each number's place in their order; equal ones share theirs.
func ranks(values []float64) []float64 {
	order := make([]int, len(values))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		switch {
		case values[a] < values[b]:
			return -1
		case values[a] > values[b]:
			return 1
		}
		return 0
	})
	result := make([]float64, len(values))
	for i := 0; i < len(order); {
		j := i
		for j < len(order) && values[order[j]] == values[order[i]] {
			j++
		}
		for _, k := range order[i:j] {
			result[k] = float64(i+j-1) / 2
		}
		i = j
	}
	return result
}
