package spec

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// builder makes nodes of a parsed document: it resolves scalars, anchors and
// merge keys, and finds duplicate keys.
type builder struct {
	src      *source
	anchors  map[string]*node // nil while the anchor's own value is being built
	problems []Problem        // that leave no meaning
	twice    []Problem        // duplicate keys: the first one counts, for what else is wrong
	full     bool             // of nodes; said once
}

func (b *builder) report(at place, message, suggestion string) {
	b.problems = append(b.problems, at.problem("", message, suggestion))
}

// build never returns nil: what is wrong becomes a null with a problem.
func (b *builder) build(n ast.Node, depth int) *node {
	if n == nil {
		return plainScalar("", place{source: b.src, line: 1, column: 1})
	}
	at := tokenPlace(b.src, n.GetToken())
	null := plainScalar("", at)
	if depth > 2*maxDepth {
		b.report(at, "the nesting is too deep", fmt.Sprintf("a model.yaml nests at most %d levels", maxDepth))
		return null
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		return b.object(n.Values, objectPlace(b.src, n), depth)
	case *ast.MappingValueNode:
		return b.object([]*ast.MappingValueNode{n}, tokenPlace(b.src, n.Key.GetToken()), depth)
	case *ast.SequenceNode:
		at.width = 1
		list := &node{kind: kindList, at: at}
		for _, value := range n.Values {
			list.items = append(list.items, b.build(value, depth+1))
		}
		return b.counted(list)
	case *ast.AnchorNode:
		return b.anchor(n, depth)
	case *ast.AliasNode:
		return b.alias(n)
	case *ast.TagNode:
		return b.tag(n, depth)
	case *ast.LiteralNode:
		return b.counted(textNode(n.Value.Value, at))
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode, *ast.InfinityNode, *ast.NanNode:
		return b.counted(scalar(n.GetToken(), at))
	}
	b.report(at, "this kind of YAML is not supported here", "write a plain value, a list or a mapping")
	return null
}

func scalar(t *token.Token, at place) *node {
	switch t.Type {
	case token.SingleQuoteType, token.DoubleQuoteType:
		return textNode(t.Value, at)
	case token.ImplicitNullType:
		at.width = 1
		return plainScalar("", at)
	}
	return plainScalar(strings.TrimSpace(t.Value), at)
}

func objectPlace(src *source, n *ast.MappingNode) place {
	at := tokenPlace(src, firstToken(n))
	if n.IsFlowStyle {
		at.width = 1
	}
	return at
}

func (b *builder) counted(n *node) *node {
	if n.kind == kindList || n.kind == kindObject {
		n.measure()
	}
	if !b.full && (n.size > maxNodes || n.depth > maxDepth) {
		b.full = true
		b.report(n.at, "with its aliases written out, this is too large or too deep", fmt.Sprintf("a model.yaml has at most %d values, %d levels deep", maxNodes, maxDepth))
	}
	return n
}

func (b *builder) object(values []*ast.MappingValueNode, at place, depth int) *node {
	object := &node{kind: kindObject, at: at}
	seen := make(map[string]*node, len(values))
	var merged []*node
	for _, value := range values {
		if _, ok := value.Key.(*ast.MergeKeyNode); ok {
			merged = append(merged, b.merged(value, depth)...)
			continue
		}
		key := b.key(value.Key)
		if key == nil {
			continue
		}
		if first := seen[key.text]; first != nil {
			if len(b.twice) >= maxProblems {
				continue
			}
			b.twice = append(b.twice, key.at.problem("", fmt.Sprintf("the key %s is there twice; first in line %d", quote(key.text), first.at.line), "keep one of them"))
			continue
		}
		seen[key.text] = key
		child := b.build(value.Value, depth+1)
		if child.kind == kindNull && child.text == "" {
			child.at = key.at // an empty value has no place of its own
		}
		object.entries = append(object.entries, entry{key, child})
	}
	for _, from := range merged {
		for _, e := range from.entries {
			if seen[e.key.text] == nil {
				seen[e.key.text] = e.key
				object.entries = append(object.entries, e)
			}
		}
	}
	return b.counted(object)
}

// key returns a mapping's key as a text, or nil with a problem.
func (b *builder) key(n ast.MapKeyNode) *node {
	at := tokenPlace(b.src, n.GetToken())
	switch n.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		return textNode(strings.TrimSpace(n.GetToken().Value), at)
	}
	b.report(at, "a key must be plain text", "write `key: value`")
	return nil
}

func (b *builder) merged(value *ast.MappingValueNode, depth int) []*node {
	from := b.build(value.Value, depth+1)
	nodes := []*node{from}
	if from.kind == kindList {
		nodes = from.items
	}
	for _, n := range nodes {
		if n.kind != kindObject {
			b.report(tokenPlace(b.src, value.Key.GetToken()), "<< takes a mapping, or a list of mappings, but this is "+n.what(), "write `<<: *anchor`")
			return nil
		}
	}
	return nodes
}

func (b *builder) anchor(n *ast.AnchorNode, depth int) *node {
	name := ""
	if n.Name != nil {
		name = n.Name.GetToken().Value
	}
	b.anchors[name] = nil
	value := b.build(n.Value, depth+1)
	b.anchors[name] = value
	return value
}

func (b *builder) alias(n *ast.AliasNode) *node {
	at, name := tokenPlace(b.src, n.GetToken()), ""
	if n.Value != nil {
		name = strings.TrimSpace(n.Value.GetToken().Value)
		at.width = 1 + len([]rune(name))
	}
	value, known := b.anchors[name]
	switch {
	case value != nil:
		return value
	case known:
		b.report(at, fmt.Sprintf("*%s refers to itself", shorten(name)), "an alias can't stand within its own anchor")
	default:
		suggestion := "put the text in quotes if it is no alias; an alias needs its &anchor further up"
		b.report(at, fmt.Sprintf("there is no anchor &%s above this alias", shorten(name)), suggestion)
	}
	return plainScalar("", at)
}

func (b *builder) tag(n *ast.TagNode, depth int) *node {
	at := tokenPlace(b.src, n.GetToken())
	if strings.TrimSpace(n.GetToken().Value) == "!!str" {
		if s, ok := n.Value.(ast.ScalarNode); ok {
			switch s.(type) {
			case *ast.TagNode, *ast.AnchorNode, *ast.AliasNode:
			default:
				return textNode(strings.TrimSpace(s.GetToken().Value), tokenPlace(b.src, s.GetToken()))
			}
		}
	}
	b.report(at, "YAML tags are not supported", "delete "+quote(strings.TrimSpace(n.GetToken().Value)))
	return plainScalar("", at)
}
