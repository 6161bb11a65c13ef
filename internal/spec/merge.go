package spec

import "slices"

// freeMaps hold the user's own JSON, in which null is a value. Elsewhere a
// null in a model takes the template's value away.
var freeMaps = []string{"params", "training", "envelope"}

// exclusive lists, of mappings whose keys exclude each other, which keys do.
// A model that takes another way than its template drops the template's whole.
var exclusive = map[string][][]string{
	"run":   {{"python"}, {"r"}, {"command"}, {"http"}, {"job"}},
	"build": {{"image"}, {"dockerfile"}, {"version", "packages", "command"}},
}

// mergeSpecs lays a model's tree over its template's: mappings merge, lists
// and single values replace. A template's name and extends are its own.
func mergeSpecs(base, own *node) *node {
	bare := *base
	bare.entries = slices.DeleteFunc(slices.Clone(base.entries), func(e entry) bool {
		return e.key.text == "name" || e.key.text == "extends"
	})
	return merge(&bare, own, "", false)
}

func merge(base, own *node, key string, free bool) *node {
	if base.kind != kindObject || own.kind != kindObject || otherWay(base, own, key) {
		return own
	}
	free = free || slices.Contains(freeMaps, key)
	merged := &node{kind: kindObject, at: own.at}
	for _, e := range base.entries {
		over := own.get(e.key.text)
		switch {
		case over == nil:
			merged.entries = append(merged.entries, e)
		case over.kind == kindNull && !free:
		default:
			merged.entries = append(merged.entries, entry{ownKey(own, e.key.text), merge(e.value, over, e.key.text, free)})
		}
	}
	for _, e := range own.entries {
		if base.get(e.key.text) == nil {
			merged.entries = append(merged.entries, e)
		}
	}
	merged.measure()
	return merged
}

func ownKey(own *node, name string) *node {
	i := slices.IndexFunc(own.entries, func(e entry) bool { return e.key.text == name })
	return own.entries[i].key
}

// otherWay tells whether own is an alternative to base, not an addition.
func otherWay(base, own *node, key string) bool {
	if key == "rollout" {
		a, b := base.get("strategy"), own.get("strategy")
		return b != nil && (a == nil || a.text != b.text)
	}
	way := func(n *node) int {
		return slices.IndexFunc(exclusive[key], func(keys []string) bool {
			return slices.ContainsFunc(keys, func(k string) bool { return n.get(k) != nil && n.get(k).kind != kindNull })
		})
	}
	if exclusive[key] == nil {
		return false
	}
	a, b := way(base), way(own)
	return a >= 0 && b >= 0 && a != b
}
