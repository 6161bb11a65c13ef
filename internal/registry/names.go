package registry

import (
	"math/bits"
	"slices"
	"strings"

	"modelmanager.dev"
)

const maxNameLength = 40

// CheckName refuses a name that isn't a DNS label of at most 40 characters:
// the rule for every model, in every store.
func CheckName(name string) error {
	if validName(name) {
		return nil
	}
	shown := name
	if len(shown) > 2*maxNameLength {
		shown = shown[:2*maxNameLength] + "…"
	}
	return modelmanager.Errorf(modelmanager.CodeBadRequest,
		"%q can't be a model's name: use lower-case letters, digits and hyphens, at most %d of them, with no hyphen at either end",
		shown, maxNameLength)
}

func validName(name string) bool {
	if len(name) == 0 || len(name) > maxNameLength || name[0] == '-' || name[len(name)-1] == '-' {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if c != '-' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// SameRepository tells whether two addresses name one repository: git's
// several ways to write an address must not take a model from its owner.
func SameRepository(a, b string) bool {
	return a == b || plainRepository(a) == plainRepository(b)
}

func plainRepository(address string) string {
	rest := strings.TrimSpace(address)
	if _, after, found := strings.Cut(rest, "://"); found {
		rest = after
	} else if host, path, found := strings.Cut(rest, ":"); found && !strings.Contains(host, "/") {
		rest = host + "/" + path // git@host:path
	}
	host, path, found := strings.Cut(rest, "/")
	if _, after, hasUser := strings.Cut(host, "@"); hasUser {
		host = after
	}
	if !found {
		return strings.ToLower(host)
	}
	path = strings.TrimSuffix(strings.Trim(path, "/"), ".git")
	return strings.ToLower(host) + "/" + path
}

// nearestNames returns up to three names within two typing errors of name,
// nearest first.
func nearestNames(name string, names func(yield func(string) bool)) []string {
	const reach = 2
	type near struct {
		name     string
		distance int
	}
	var found []near
	letters := letterSet(name)
	for other := range names {
		if len(other)-len(name) > reach || len(name)-len(other) > reach ||
			bits.OnesCount64(letters^letterSet(other)) > 2*reach {
			continue
		}
		if d := editDistance(name, other, reach); d <= reach {
			found = append(found, near{strings.Clone(other), d})
		}
	}
	slices.SortFunc(found, func(a, b near) int {
		if a.distance != b.distance {
			return a.distance - b.distance
		}
		return strings.Compare(a.name, b.name)
	})
	var nearest []string
	for _, n := range found[:min(3, len(found))] {
		nearest = append(nearest, n.name)
	}
	return nearest
}

func letterSet(s string) uint64 {
	var set uint64
	for i := range len(s) {
		set |= 1 << (s[i] & 63)
	}
	return set
}

// editDistance counts insertions, deletions, substitutions and swaps of
// neighbours between a and b; anything above limit is limit+1.
func editDistance(a, b string, limit int) int {
	var rows [3][maxNameLength + 3]int
	if len(b) > maxNameLength+2 {
		return limit + 1
	}
	before, last, row := &rows[0], &rows[1], &rows[2]
	for j := range len(b) + 1 {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		smallest := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
			smallest = min(smallest, row[j])
		}
		if smallest > limit {
			return limit + 1
		}
		before, last, row = last, row, before
	}
	return min(last[len(b)], limit+1)
}
