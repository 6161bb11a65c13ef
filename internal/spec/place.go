package spec

import (
	"strconv"
	"strings"
)

// Place says where the files that a folder's spec was read from say something:
// a path as a Change has it (features.mean_radius.minimum), or with the numbers
// of items (examples.0.predictions). Of a path that isn't there, it is the place
// of as much of it as is. The result has no message.
func (f *Folder) Place(path string) Problem {
	if f.tree == nil {
		return Problem{Path: path}
	}
	n, at := f.tree, place{}
	for rest := path; rest != ""; {
		step, after, _ := strings.Cut(rest, ".")
		next, where := n.step(step)
		if next == nil {
			break
		}
		n, at, rest = next, where, after
	}
	if at.source == nil {
		at = f.tree.at
	}
	return at.problem(path, "", "")
}

// step returns what is one step further down, and the place that stands for it:
// of a mapping's value, that of its key.
func (n *node) step(name string) (*node, place) {
	for _, e := range n.entries {
		if e.key.text == name {
			if e.key.at.source != nil {
				return e.value, e.key.at
			}
			return e.value, e.value.at
		}
	}
	for _, item := range n.items {
		if own := item.get("name"); own != nil && own.text == name {
			return item, own.at
		}
	}
	if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(n.items) {
		return n.items[i], n.items[i].at
	}
	return nil, place{}
}
