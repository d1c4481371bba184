package openapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/hansomcloud/hansom/internal/manifest"
)

// kind of a node.
type kind uint8

const (
	null kind = iota
	object
	array
	text
	number
	boolean
)

func (k kind) String() string {
	return [...]string{"nothing", "an object", "a list", "text", "a number", "true or false"}[k]
}

// node is a value of a document with its place. What YAML's aliases name is there once: it is shared, and never changed.
type node struct {
	kind         kind
	text         string // of scalars, as they are written
	fields       []field
	items        []*node
	line, column int
}

type field struct {
	name string
	*node
}

// get returns a field of an object; nil when it has none or is none.
func (n *node) get(name string) *node {
	if n == nil {
		return nil
	}
	for i := range n.fields {
		if n.fields[i].name == name {
			return n.fields[i].node
		}
	}
	return nil
}

// at follows a JSON pointer without its first slash, as RFC 6901 has it in fragments of URIs.
func (n *node) at(pointer string) *node {
	for step := range strings.SplitSeq(pointer, "/") {
		name, err := url.PathUnescape(step)
		if err != nil {
			return nil
		}
		n = n.get(strings.NewReplacer("~1", "/", "~0", "~").Replace(name))
	}
	return n
}

// Limits of a document. The size is API Gateway's.
const (
	maxDocument = 6 << 20 // bytes
	maxDepth    = 100
	maxFlow     = 64 // of nesting within lines, in YAML
	maxNodes    = 1 << 20
)

// parse reads a document in JSON, which begins with a brace, or in YAML.
func parse(doc []byte) (*node, *Fault) {
	if len(doc) > maxDocument {
		return nil, faultf(nil, "the document has %d bytes; the limit is %d", len(doc), maxDocument)
	}
	doc = bytes.TrimPrefix(doc, []byte("\ufeff"))
	if start := bytes.TrimLeft(doc, " \t\r\n"); len(start) > 0 && start[0] == '{' {
		return parseJSON(doc)
	}
	root, err := manifest.ParseYAML(doc, maxFlow)
	if err != nil {
		return nil, &Fault{Line: err.Line, Column: err.Column, Message: err.Message}
	}
	if root == nil {
		return nil, faultf(nil, "the document is empty")
	}
	r := yamlReader{anchors: map[string]*node{}}
	return r.node(root, 0)
}

// jsonReader makes nodes of the tokens of a JSON text.
type jsonReader struct {
	doc          []byte
	dec          *json.Decoder
	at           int // offset that line and column are of
	line, column int
	nodes        int
}

func parseJSON(doc []byte) (*node, *Fault) {
	r := jsonReader{doc: doc, dec: json.NewDecoder(bytes.NewReader(doc)), line: 1, column: 1}
	r.dec.UseNumber()
	root, fault := r.value(0)
	if fault != nil {
		return nil, fault
	}
	r.move(int(r.dec.InputOffset()))
	if _, err := r.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, r.fault("the document goes on after its end")
	}
	return root, nil
}

func (r *jsonReader) fault(message string) *Fault {
	return &Fault{Line: r.line, Column: r.column, Message: message}
}

// move counts lines and columns on to the next token after an offset.
func (r *jsonReader) move(to int) {
	for to < len(r.doc) && strings.IndexByte(" \t\r\n,:", r.doc[to]) >= 0 {
		to++
	}
	for ; r.at < to; r.at++ {
		switch c := r.doc[r.at]; {
		case c == '\n':
			r.line, r.column = r.line+1, 1
		case c&0xc0 != 0x80: // not within a character
			r.column++
		}
	}
}

func (r *jsonReader) token() (json.Token, *Fault) {
	r.move(int(r.dec.InputOffset()))
	t, err := r.dec.Token()
	var syntax *json.SyntaxError
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return nil, r.fault("the document ends in the middle")
	case errors.As(err, &syntax):
		r.move(max(r.at, int(syntax.Offset)-1))
		return nil, r.fault(syntax.Error())
	case err != nil:
		return nil, r.fault(err.Error())
	}
	return t, nil
}

func (r *jsonReader) value(depth int) (*node, *Fault) {
	t, fault := r.token()
	if fault != nil {
		return nil, fault
	}
	n := &node{line: r.line, column: r.column}
	r.nodes++
	if depth > maxDepth || r.nodes > maxNodes {
		return nil, r.fault(tooLarge)
	}
	switch t := t.(type) {
	case string:
		n.kind, n.text = text, t
	case json.Number:
		n.kind, n.text = number, t.String()
	case bool:
		n.kind, n.text = boolean, "false"
		if t {
			n.text = "true"
		}
	case json.Delim:
		if t == '[' {
			n.kind = array
			for r.dec.More() {
				item, fault := r.value(depth + 1)
				if fault != nil {
					return nil, fault
				}
				n.items = append(n.items, item)
			}
		} else if fault := r.object(n, depth); fault != nil {
			return nil, fault
		}
		_, fault := r.token() // the end
		return n, fault
	}
	return n, nil
}

func (r *jsonReader) object(n *node, depth int) *Fault {
	n.kind = object
	names := map[string]bool{}
	for r.dec.More() {
		t, fault := r.token()
		if fault != nil {
			return fault
		}
		name, _ := t.(string)
		if names[name] {
			return r.fault("the key " + quote(name) + " is there twice")
		}
		names[name] = true
		value, fault := r.value(depth + 1)
		if fault != nil {
			return fault
		}
		n.fields = append(n.fields, field{name, value})
	}
	return nil
}

const tooLarge = "the document is nested too deeply or has too many values"

// yamlReader makes nodes of a YAML syntax tree.
type yamlReader struct {
	anchors map[string]*node
	nodes   int
}

func place(n ast.Node) (line, column int) {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line, t.Position.Column
	}
	return 1, 1
}

func (r *yamlReader) fault(n ast.Node, format string, args ...any) *Fault {
	line, column := place(n)
	return faultf(&node{line: line, column: column}, format, args...)
}

func (r *yamlReader) node(y ast.Node, depth int) (*node, *Fault) {
	n := &node{}
	n.line, n.column = place(y)
	r.nodes++
	if depth > maxDepth || r.nodes > maxNodes {
		return nil, r.fault(y, tooLarge)
	}
	switch y := y.(type) {
	case *ast.MappingNode:
		return n, r.object(n, y.Values, depth)
	case *ast.MappingValueNode:
		return n, r.object(n, []*ast.MappingValueNode{y}, depth)
	case *ast.SequenceNode:
		n.kind = array
		for _, v := range y.Values {
			item, fault := r.node(v, depth+1)
			if fault != nil {
				return nil, fault
			}
			n.items = append(n.items, item)
		}
	case *ast.AnchorNode:
		value, fault := r.node(y.Value, depth+1) // the name is known after its value: no cycles
		if fault == nil {
			r.anchors[y.Name.GetToken().Value] = value
		}
		return value, fault
	case *ast.AliasNode:
		value := r.anchors[y.Value.GetToken().Value]
		if value == nil {
			return nil, r.fault(y, "the alias *%s names no anchor above it", y.Value.GetToken().Value)
		}
		return value, nil
	case *ast.StringNode:
		n.kind, n.text = text, y.Value
	case *ast.LiteralNode:
		n.kind, n.text = text, y.Value.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		n.kind, n.text = number, y.GetToken().Value
	case *ast.BoolNode:
		n.kind, n.text = boolean, strings.ToLower(y.GetToken().Value)
	case *ast.NullNode:
	case *ast.TagNode:
		return nil, r.fault(y, "the tag %s is not supported; write the value out", y.GetToken().Value)
	default:
		return nil, r.fault(y, "this is not supported; write plain YAML")
	}
	return n, nil
}

func (r *yamlReader) object(n *node, values []*ast.MappingValueNode, depth int) *Fault {
	n.kind = object
	names := map[string]bool{}
	var merged []*node
	for _, v := range values {
		value, fault := r.node(v.Value, depth+1)
		if fault != nil {
			return fault
		}
		if v.Key.IsMergeKey() {
			merged = append(merged, value)
			continue
		}
		key, fault := r.node(v.Key, depth+1)
		switch {
		case fault != nil:
			return fault
		case key.kind < text:
			return r.fault(v.Key, "a key must be plain text")
		case names[key.text]:
			return r.fault(v.Key, "the key %s is there twice", quote(key.text))
		}
		names[key.text] = true
		n.fields = append(n.fields, field{key.text, value})
	}
	for len(merged) > 0 { // the first to have a key has it for good
		from := merged[0]
		merged = merged[1:]
		if from.kind == array {
			merged = append(from.items[:len(from.items):len(from.items)], merged...)
			if r.nodes += len(from.items) + 1; r.nodes > maxNodes {
				return faultf(n, tooLarge)
			}
			continue
		}
		for _, f := range from.fields {
			if r.nodes++; r.nodes > maxNodes {
				return faultf(n, tooLarge)
			}
			if !names[f.name] {
				names[f.name] = true
				n.fields = append(n.fields, f)
			}
		}
	}
	return nil
}
