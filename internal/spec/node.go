package spec

import (
	"encoding/json"
	"fmt"
	"math"
	"modelmanager.dev/internal/wording"
	"regexp"
	"strconv"
	"strings"
)

// kind is what a node of a file is.
type kind int

const (
	kindNull kind = iota
	kindBoolean
	kindInteger
	kindNumber
	kindText
	kindList
	kindObject
	// kindOdd is a plain scalar that YAML readers disagree about: 007, 1_000,
	// 0x1F, .inf, .nan. Nothing accepts it; the message says what to write.
	kindOdd
)

// node is a piece of a file with its place. A tree may share nodes where the
// file had aliases; nobody changes a node once it is made.
type node struct {
	kind    kind
	text    string // a scalar as written, a text's value
	quoted  bool
	boolean bool
	integer int64
	number  float64 // of kindInteger too
	items   []*node
	entries []entry
	at      place
	size    int // nodes in this tree, shared ones as often as they appear
	depth   int
}

type entry struct{ key, value *node }

// get returns the value of an object's key, or nil.
func (n *node) get(key string) *node {
	if n == nil {
		return nil
	}
	for _, e := range n.entries {
		if e.key.text == key {
			return e.value
		}
	}
	return nil
}

// find follows a path of keys and indexes; it returns the deepest node there
// is on the way, and whether that is the path's end.
func (n *node) find(path []any) (*node, bool) {
	for _, step := range path {
		var next *node
		switch step := step.(type) {
		case string:
			next = n.get(step)
		case int:
			if step < len(n.items) {
				next = n.items[step]
			}
		}
		if next == nil {
			return n, false
		}
		n = next
	}
	return n, true
}

// measure sets a container's size and depth from its children.
func (n *node) measure() {
	n.size, n.depth = 1, 1
	add := func(child *node) {
		n.size = min(n.size+child.size, math.MaxInt32)
		n.depth = max(n.depth, child.depth+1)
	}
	for _, item := range n.items {
		add(item)
	}
	for _, e := range n.entries {
		add(e.value)
	}
}

// what names a node's kind in a message.
func (n *node) what() string {
	switch n.kind {
	case kindNull:
		return "empty"
	case kindBoolean:
		return "a boolean, " + n.text
	case kindInteger, kindNumber:
		return "a number, " + shorten(n.text)
	case kindText:
		return "text, " + quote(n.text)
	case kindList:
		return "a list"
	case kindObject:
		return "a mapping"
	}
	return shorten(n.text)
}

// path writes a path as people read it: features[2].minimum.
func pathText(path []any) string {
	var text strings.Builder
	for _, step := range path {
		switch step := step.(type) {
		case int:
			fmt.Fprintf(&text, "[%d]", step)
		case string:
			if !plainKey.MatchString(step) {
				fmt.Fprintf(&text, "[%s]", quote(step))
				continue
			}
			if text.Len() > 0 {
				text.WriteByte('.')
			}
			text.WriteString(step)
		}
	}
	return text.String()
}

var plainKey = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,63}$`)

// quote quotes a name or a value for a message, shortened.
func quote(text string) string { return strconv.Quote(shorten(text)) }

func shorten(text string) string { return wording.Shorten(text, 60) }

var (
	integerText = regexp.MustCompile(`^[-+]?(0|[1-9][0-9]*)$`)
	numberText  = regexp.MustCompile(`^[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)
	oddText     = regexp.MustCompile(`^[-+]?(0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?|\.(inf|Inf|INF)|\.(nan|NaN|NAN))$`)
)

// plainScalar reads an unquoted scalar by the core schema of YAML 1.2, in
// which yes, no, on and off are text, and so are dates.
func plainScalar(text string, at place) *node {
	n := &node{text: text, at: at, size: 1, depth: 1}
	switch text {
	case "", "~", "null", "Null", "NULL":
		n.kind = kindNull
		return n
	case "true", "True", "TRUE", "false", "False", "FALSE":
		n.kind, n.boolean = kindBoolean, text[0] == 't' || text[0] == 'T'
		return n
	}
	switch {
	case integerText.MatchString(text):
		n.kind = kindInteger
		var err error
		if n.integer, err = strconv.ParseInt(text, 10, 64); err != nil {
			n.kind = kindNumber
		}
		n.number, _ = strconv.ParseFloat(text, 64)
	case numberText.MatchString(text):
		n.kind = kindNumber
		n.number, _ = strconv.ParseFloat(text, 64)
	case oddText.MatchString(text):
		n.kind = kindOdd
	default:
		n.kind = kindText
	}
	if n.kind == kindNumber && math.IsInf(n.number, 0) {
		n.kind = kindOdd
	}
	return n
}

func textNode(text string, at place) *node {
	return &node{kind: kindText, text: text, quoted: true, at: at, size: 1, depth: 1}
}

// jsonNode makes a tree of a JSON document, without places. Keys come in the
// order that a map gives after sorting, for messages that don't change.
func jsonNode(value any) *node {
	n := &node{size: 1, depth: 1}
	switch value := value.(type) {
	case nil:
	case bool:
		return plainScalar(strconv.FormatBool(value), place{})
	case json.Number:
		return plainScalar(value.String(), place{})
	case string:
		return textNode(value, place{})
	case []any:
		n.kind = kindList
		for _, item := range value {
			n.items = append(n.items, jsonNode(item))
		}
		n.measure()
	case map[string]any:
		n.kind = kindObject
		for _, key := range sortedKeys(value) {
			n.entries = append(n.entries, entry{textNode(key, place{}), jsonNode(value[key])})
		}
		n.measure()
	}
	return n
}
