package batch

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"modelmanager.dev"
	"modelmanager.dev/internal/wording"
)

// How a feature's column was found.
const (
	matchedAsked    = "asked"
	matchedName     = "name"
	matchedLikeness = "likeness"
	matchedOrder    = "order"
	matchedItems    = "items" // of an array, one column each
	matchedNone     = "none"  // as asked: it has no column
)

// propose maps features to headers: as asked, then by the same name, then by
// likeness, and at last by their order. It is a proposal for people to confirm;
// nothing runs on it unseen.
func propose(fields []modelmanager.Field, headers []string, asked map[string]string) (mapping, matched map[string]string) {
	free := make(map[string]bool, len(headers))
	for _, header := range headers {
		free[header] = header != ""
	}
	mapping, matched = make(map[string]string), make(map[string]string)
	take := func(feature, header, how string) {
		mapping[feature], matched[feature] = header, how
		free[header] = false
	}
	for _, f := range fields {
		switch header, ok := asked[f.Name]; {
		case ok && header == "":
			matched[f.Name] = matchedNone
		case ok && free[header]:
			take(f.Name, header, matchedAsked)
		}
	}
	for _, f := range fields {
		if _, ok := asked[f.Name]; ok {
			continue
		}
		if free[f.Name] {
			take(f.Name, f.Name, matchedName)
		} else if slices.ContainsFunc(headers, func(header string) bool { return free[header] && strings.HasPrefix(header, f.Name+".") }) &&
			f.Type == modelmanager.Array {
			matched[f.Name] = matchedItems
		}
	}
	for _, alike := range []func(a, b string) bool{sameWords, nearly} {
		for _, f := range fields {
			if matched[f.Name] != "" {
				continue
			}
			if header, ok := only(f.Name, headers, free, alike); ok {
				take(f.Name, header, matchedLikeness)
			}
		}
	}
	inOrder(fields, headers, free, take, matched)
	return mapping, matched
}

// inOrder takes the rest by their places, in a file that has just as many
// columns as there are features, most of which are where they belong: what
// stands between them is likely the feature whose place it has.
func inOrder(fields []modelmanager.Field, headers []string, free map[string]bool, take func(feature, header, how string), matched map[string]string) {
	if len(fields) != len(headers) {
		return
	}
	known := 0
	for i, f := range fields {
		switch {
		case matched[f.Name] == matchedNone, matched[f.Name] == "" && !free[headers[i]]:
			return
		case matched[f.Name] != "":
			known++
		}
	}
	if known*2 < len(fields) {
		return
	}
	for i, f := range fields {
		if matched[f.Name] == "" {
			take(f.Name, headers[i], matchedOrder)
		}
	}
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
	least, most := utf8.RuneCountInString(a), utf8.RuneCountInString(b)
	if least > most {
		least, most = most, least
	}
	return least >= 4 && wording.Distance(a, b, most/4+1) <= most/4
}
