package registry

import (
	"math/bits"
	"slices"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/internal/wording"
)

const maxNameLength = 40

// CheckName refuses a name that isn't a DNS label of at most 40 characters:
// the rule for every model, in every store.
func CheckName(name string) error {
	if validName(name) {
		return nil
	}
	return modelmanager.Errorf(modelmanager.CodeBadRequest,
		"%q can't be a model's name: use lower-case letters, digits and hyphens, at most %d of them, with no hyphen at either end",
		wording.Shorten(name, 2*maxNameLength), maxNameLength)
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
		if d := wording.Distance(name, other, reach+1); d <= reach {
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
