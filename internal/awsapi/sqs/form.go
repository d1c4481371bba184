package sqs

import (
	"encoding/base64"
	"encoding/xml"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi"
	"github.com/hansomcloud/hansom/internal/awsapi/model"
)

// maxDepth is the most dots that the name of a parameter has: SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.StringValue
const maxDepth = 8

// wireNames are the names of lists and maps in forms, where they are flattened: AttributeName.1, Tag.1.Key. That of Entries has the operation in it.
var wireNames = map[string]string{
	"AttributeNames": "AttributeName", "MessageAttributeNames": "MessageAttributeName", "MessageSystemAttributeNames": "MessageSystemAttributeName",
	"AWSAccountIds": "AWSAccountId", "Actions": "ActionName", "TagKeys": "TagKey", "Attributes": "Attribute", "Tags": "Tag", "tags": "Tag",
	"MessageAttributes": "MessageAttribute", "MessageSystemAttributes": "MessageSystemAttribute",
}

// node is the parameters of a form whose names have a beginning in common.
type node struct {
	value    string
	children map[string]*node
}

func (n *node) add(path []string, value string) {
	for _, name := range path {
		if n.children == nil {
			n.children = map[string]*node{}
		}
		if n.children[name] == nil {
			n.children[name] = &node{}
		}
		n = n.children[name]
	}
	n.value = value
}

// numbered returns the children whose names are numbers, in their order.
func (n *node) numbered() (list []*node) {
	var numbers []int
	for name := range n.children {
		if i, err := strconv.Atoi(name); err == nil {
			numbers = append(numbers, i)
		}
	}
	slices.Sort(numbers)
	for _, i := range numbers {
		list = append(list, n.children[strconv.Itoa(i)])
	}
	return list
}

// readForm reads a request of the Query protocol: a form in the body or in the query of the URL.
func (s *Service) readForm(w http.ResponseWriter, r *http.Request) (*call, error) {
	if err := awsapi.ParseForm(w, r, maxRequest); err != nil {
		return nil, err
	}
	name := r.Form.Get("Action")
	if name == "" {
		return nil, hansom.Errorf(hansom.Invalid, "route", "The request has no Action parameter.").WithCode("MissingAction")
	}
	c, err := newCall(r, name)
	if err != nil {
		return nil, err
	}
	c.in, err = s.decode(name, r.Form)
	return c, err
}

func (s *Service) decode(op string, form url.Values) (model.Params, error) {
	var root node
	for name, values := range form {
		if path := strings.Split(name, "."); len(path) <= maxDepth {
			root.add(path, values[0])
		}
	}
	return s.members(op, &shapes[operations[op]], &root)
}

func (s *Service) members(op string, shape *model.Shape, n *node) (model.Params, error) {
	out := model.Params{}
	for i := range shape.Members {
		m := &shape.Members[i]
		child := n.children[wireNames[m.Name]]
		switch {
		case m.Name == "Entries":
			child = n.children[op+"RequestEntry"]
		case child == nil:
			child = n.children[m.Name]
		}
		if child == nil {
			continue
		}
		value, err := s.value(op, m.Shape, child)
		if err != nil {
			return nil, err
		}
		out[m.Name] = value
	}
	return out, nil
}

func (s *Service) value(op string, index int, n *node) (any, error) {
	shape := &shapes[index]
	switch shape.Kind {
	case model.Structure:
		return s.members(op, shape, n)
	case model.List:
		list := []any{}
		for _, child := range n.numbered() {
			x, err := s.value(op, shape.Elem, child)
			if err != nil {
				return nil, err
			}
			list = append(list, x)
		}
		return list, nil
	case model.Mapping:
		out := map[string]any{}
		for _, child := range n.numbered() {
			key, value := child.children["Name"], child.children["Value"]
			if key == nil {
				key = child.children["Key"]
			}
			if key == nil {
				continue
			}
			if value == nil {
				value = &node{}
			}
			x, err := s.value(op, shape.Elem, value)
			if err != nil {
				return nil, err
			}
			out[key.value] = x
		}
		return out, nil
	case model.Octets:
		b, err := base64.StdEncoding.DecodeString(n.value)
		if err != nil {
			return nil, model.Unreadable("A binary value is not valid base64: " + err.Error())
		}
		return b, nil
	}
	return s.validator.Scalar(index, n.value)
}

// namedMap is a map of strings, which XML has as a list of elements with Name and Value.
type namedMap map[string]string

// MarshalXML writes an element called start for each entry.
func (m namedMap) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if err := e.EncodeElement(struct{ Name, Value string }{name, m[name]}, start); err != nil {
			return err
		}
	}
	return nil
}

// tagMap is namedMap with Key.
type tagMap map[string]string

// MarshalXML writes an element called start for each tag.
func (m tagMap) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if err := e.EncodeElement(struct{ Key, Value string }{key, m[key]}, start); err != nil {
			return err
		}
	}
	return nil
}

// attribute is a message attribute in an answer.
type attribute struct {
	StringValue string `json:",omitempty" xml:",omitempty"`
	BinaryValue []byte `json:",omitempty" xml:"-"`
	Binary      string `json:"-" xml:"BinaryValue,omitempty"` // base64, which JSON has by itself
	DataType    string
}

type attributeMap map[string]attribute

// MarshalXML writes an element called start for each attribute.
func (m attributeMap) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if err := e.EncodeElement(struct {
			Name  string
			Value attribute
		}{name, m[name]}, start); err != nil {
			return err
		}
	}
	return nil
}
