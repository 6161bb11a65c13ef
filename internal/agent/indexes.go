package agent

import (
	"fmt"
	"strconv"
	"strings"
)

// Indexes writes indexes, which are sorted and differ, as text: "0-3,7".
func Indexes(list []int) string {
	var text strings.Builder
	for i := 0; i < len(list); {
		last := i
		for last+1 < len(list) && list[last+1] == list[last]+1 {
			last++
		}
		if i > 0 {
			text.WriteByte(',')
		}
		text.WriteString(strconv.Itoa(list[i]))
		if last > i {
			text.WriteByte('-')
			text.WriteString(strconv.Itoa(list[last]))
		}
		i = last + 1
	}
	return text.String()
}

// mostIndexes bounds what ParseIndexes makes of a text: it comes from outside.
const mostIndexes = 1_000_000

// ParseIndexes reads what Indexes wrote; "" is none.
func ParseIndexes(text string) ([]int, error) {
	if text == "" {
		return nil, nil
	}
	var list []int
	for part := range strings.SplitSeq(text, ",") {
		low, high, isRange := strings.Cut(part, "-")
		first, err := strconv.Atoi(low)
		last := first
		if err == nil && isRange {
			last, err = strconv.Atoi(high)
		}
		after := -1
		if len(list) > 0 {
			after = list[len(list)-1]
		}
		if err != nil || first <= after || last < first || len(list)+last-first >= mostIndexes {
			return nil, fmt.Errorf("%q is no list of indexes such as 0-3,7", part)
		}
		for index := first; index <= last; index++ {
			list = append(list, index)
		}
	}
	return list, nil
}
