package batch

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"modelmanager.dev"
)

// propose maps features to headers: as asked, then by the same name, then by
// likeness. It is a proposal for people to confirm; nothing runs on it unseen.
func propose(fields []modelmanager.Field, headers []string, asked map[string]string) map[string]string {
	free := make(map[string]bool, len(headers))
	for _, header := range headers {
		free[header] = header != ""
	}
	mapping := make(map[string]string)
	take := func(feature, header string) {
		mapping[feature] = header
		free[header] = false
	}
	for _, f := range fields {
		if header, ok := asked[f.Name]; ok && free[header] {
			take(f.Name, header)
		}
	}
	for _, f := range fields {
		if _, ok := asked[f.Name]; !ok && free[f.Name] {
			take(f.Name, f.Name)
		}
	}
	for _, alike := range []func(a, b string) bool{sameWords, nearly} {
		for _, f := range fields {
			if _, ok := mapping[f.Name]; ok {
				continue
			}
			if header, ok := only(f.Name, headers, free, alike); ok {
				take(f.Name, header)
			}
		}
	}
	return mapping
}

// only finds the header that is like a feature's name, if there is just one.
func only(name string, headers []string, free map[string]bool, alike func(a, b string) bool) (string, bool) {
	found, n := "", 0
	for _, header := range headers {
		if free[header] && alike(plain(name), plain(header)) {
			found = header
			n++
		}
	}
	return found, n == 1
}

// plain strips what people write differently: case, accents, spaces and signs.
func plain(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, norm.NFD.String(name))
}

func sameWords(a, b string) bool { return a != "" && a == b }

// nearly allows one slip in four letters.
func nearly(a, b string) bool {
	return min(len(a), len(b)) >= 4 && distance([]rune(a), []rune(b)) <= max(len(a), len(b))/4
}

// distance is the least number of letters to insert, delete or replace.
func distance(a, b []rune) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range a {
		diagonal := row[0]
		row[0] = i + 1
		for j := range b {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
