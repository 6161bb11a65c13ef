// Package wording is what messages need to speak of names and texts of others:
// how near two names are, and a text that is no longer than its place. Both
// count characters, in any script. It also has what the command line and the
// page say in the same words.
package wording

import "unicode/utf8"

// Shorten cuts a text to at most so many characters, the last of which is then
// an ellipsis. Bytes that are no UTF-8 count as one character each, and stay.
func Shorten(text string, most int) string {
	if len(text) <= most {
		return text
	}
	end := 0 // of the first most−1 characters
	for n, at := 0, 0; at < len(text); n++ {
		if n == most-1 {
			end = at
		}
		if n == most {
			return text[:end] + "…"
		}
		_, size := utf8.DecodeRuneInString(text[at:])
		at += size
	}
	return text
}

// short is how many characters Distance compares without allocating.
const short = 64

// Distance is the number of characters to insert, delete, replace, or swap with
// their neighbour, to make one text of the other; limit if it is at least that.
func Distance(from, to string, limit int) int {
	var letters [2][short]rune
	a, b := runes(letters[0][:0], from), runes(letters[1][:0], to)
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	var rows [3][short + 1]int
	before, last, row := rows[0][:], rows[1][:], rows[2][:]
	if len(b) > short {
		before, last, row = make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	}
	for j := range len(b) + 1 {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		least := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
			least = min(least, row[j])
		}
		if least >= limit {
			return limit
		}
		before, last, row = last, row, before
	}
	return min(last[len(b)], limit)
}

func runes(dst []rune, text string) []rune {
	for _, r := range text {
		dst = append(dst, r)
	}
	return dst
}
