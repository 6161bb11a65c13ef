package modelmanager

import (
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
)

// Numbers is a set of versions' numbers, as ranges: ascending, and apart from
// each other. As text, and in JSON: "2-980,985".
type Numbers []NumberRange

// NumberRange holds the numbers from First to Last.
type NumberRange struct{ First, Last int }

// Has tells whether a number is in the set.
func (n Numbers) Has(number int) bool {
	_, found := slices.BinarySearchFunc(n, number, func(r NumberRange, number int) int {
		switch {
		case r.Last < number:
			return -1
		case r.First > number:
			return 1
		default:
			return 0
		}
	})
	return found
}

// All yields the numbers, ascending.
func (n Numbers) All() iter.Seq[int] {
	return func(yield func(int) bool) {
		for _, r := range n {
			for number := r.First; number <= r.Last; number++ {
				if !yield(number) {
					return
				}
			}
		}
	}
}

// With returns the set with more numbers in it; n stays as it is.
func (n Numbers) With(numbers ...int) Numbers {
	ranges := slices.Clone(n)
	for _, number := range numbers {
		ranges = append(ranges, NumberRange{number, number})
	}
	slices.SortFunc(ranges, func(a, b NumberRange) int { return a.First - b.First })
	var joined Numbers
	for _, r := range ranges {
		if last := len(joined) - 1; last >= 0 && r.First <= joined[last].Last+1 {
			joined[last].Last = max(joined[last].Last, r.Last)
		} else {
			joined = append(joined, r)
		}
	}
	return joined
}

// Without returns the set without some numbers; n stays as it is.
func (n Numbers) Without(numbers ...int) Numbers {
	left := slices.Clone(n)
	for _, number := range numbers {
		at := slices.IndexFunc(left, func(r NumberRange) bool { return r.First <= number && number <= r.Last })
		if at < 0 {
			continue
		}
		var parts []NumberRange
		if r := left[at]; r.First < number {
			parts = append(parts, NumberRange{r.First, number - 1})
		}
		if r := left[at]; r.Last > number {
			parts = append(parts, NumberRange{number + 1, r.Last})
		}
		left = slices.Replace(left, at, at+1, parts...)
	}
	return left
}

func (n Numbers) String() string {
	var b strings.Builder
	for i, r := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(r.First))
		if r.Last > r.First {
			b.WriteString("-" + strconv.Itoa(r.Last))
		}
	}
	return b.String()
}

// MarshalText writes the set as String does.
func (n Numbers) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalText reads what MarshalText wrote, and refuses anything else.
func (n *Numbers) UnmarshalText(text []byte) error {
	*n = nil
	if len(text) == 0 {
		return nil
	}
	for part := range strings.SplitSeq(string(text), ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		low, errLow := strconv.ParseUint(first, 10, 31)
		high, errHigh := strconv.ParseUint(last, 10, 31)
		end := len(*n) - 1
		if errLow != nil || errHigh != nil || low == 0 || high < low || end >= 0 && int(low) <= (*n)[end].Last+1 {
			return fmt.Errorf("%.80q isn't a set of versions' numbers, such as 2-980,985", text)
		}
		*n = append(*n, NumberRange{int(low), int(high)})
	}
	return nil
}
