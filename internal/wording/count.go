package wording

import (
	"fmt"
	"math"
	"strconv"
)

// Cost says what so many seconds of processor time are: "12.5 CPU-seconds",
// "1.25 CPU-hours"; nothing is "".
func Cost(seconds float64) string {
	rounded := func(v, to float64) string { return strconv.FormatFloat(math.Round(v*to)/to, 'f', -1, 64) }
	switch {
	case seconds <= 0:
		return ""
	case seconds < 0.1:
		return "less than 0.1 CPU-seconds"
	case seconds < 360:
		return rounded(seconds, 10) + " CPU-seconds"
	}
	return rounded(seconds/3600, 100) + " CPU-hours"
}

// Count says how many there are of something: "1 row", "2 rows".
func Count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
