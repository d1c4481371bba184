// Command gen turns AWS's model of an API into the compact table that validates requests: every operation with its route, and
// the constraints of its input. The model is the service-2.json (or .json.gz) that botocore ships:
//
//	go run ./internal/awsapi/gen -model PATH/lambda/2015-03-31/service-2.json.gz -out internal/awsapi/lambda/model_gen.go
//
// Only the inputs of the operations named by -served are kept; an API in the REST protocol has all of them without it.
package main

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"go/format"
	"io"
	"log"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

type model struct {
	Metadata   struct{ Protocol, ServiceID, ServiceFullName string }
	Operations map[string]struct {
		HTTP struct {
			Method, RequestURI string
			ResponseCode       int
		}
		Input struct{ Shape string }
	}
	Shapes map[string]shape
}

type ref struct{ Shape, Location, LocationName string }

type shape struct {
	Type, Pattern      string
	Required, Enum     []string
	Members            members
	Member, Key, Value ref
	Min, Max           *float64
	Sensitive          bool
	nullable           bool // as an element
	Payload            string
	Exception          bool
	Error              struct {
		HTTPStatusCode int
		SenderFault    bool
	}
}

// members keeps the order of the model, in which AWS reports errors.
type members struct {
	names []string
	refs  map[string]ref
}

func (m *members) UnmarshalJSON(b []byte) error {
	if err := json.Unmarshal(b, &m.refs); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	if _, err := dec.Token(); err != nil {
		return err
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return err
		}
		m.names = append(m.names, name.(string))
		var skip json.RawMessage
		if err := dec.Decode(&skip); err != nil {
			return err
		}
	}
	return nil
}

// lookarounds holds the patterns that Go's regexp cannot express: what must match, and what must not.
var lookarounds = map[string][2]string{
	`(?!^[0-9]+$)([a-zA-Z0-9-_]+)`:              {`[a-zA-Z0-9-_]+`, `[0-9]+`},
	`((?!^\d+$)^[0-9a-zA-Z-_]+$)`:               {`[0-9a-zA-Z-_]+`, `\d+`},
	`[0-9A-Za-z\.\-_]*(?<!\.)`:                  {`[0-9A-Za-z\.\-_]*`, `(?s).*\.`},
	`(^(?!(system\x2e)))(^[_a-zA-Z0-9])([^$]*)`: {`[_a-zA-Z0-9][^$]*`, `(?s)system\..*`},
	`^(?!\s*$).+`:                               {`.+`, `\s*`},
	`^(?=[/\.\-_A-Za-z0-9]+)((?!aws\.).*)|(\$(\.[\w_-]+(\[(\d+|\*)\])*)*)$`: {`[/\.\-_A-Za-z0-9].*|\$(\.[\w_-]+(\[(\d+|\*)\])*)*`, `aws\..*`},
}

// The service itself is ahead of its model in these: recorded answers show other constraints than the published ones.
var (
	regions = strings.NewReplacer(`[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}`, `(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}`)
	amended = map[string]func(*shape){
		"MemorySize": func(s *shape) { s.Max = ptr(10240) }, // 32,768 is for managed instances
		"Timeout":    func(s *shape) { s.Max = ptr(900) },
		"Runtime":    func(s *shape) { s.Enum = nil }, // the catalogue of runtimes decides
		"LayerVersionArn": func(s *shape) {
			s.Max = ptr(2048)
			s.Pattern = `(arn:(aws[a-zA-Z-]*)?:lambda:[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:layer:[a-zA-Z0-9-_]+:[0-9]+)|(arn:[a-zA-Z0-9-]+:lambda:::awslayer:[a-zA-Z0-9-_]+)`
		},
		"SecurityGroupId":                 func(s *shape) { s.Min, s.Max, s.Pattern, s.nullable = ptr(0), ptr(1024), `sg-[0-9a-zA-Z]*`, true },
		"StringWithLengthBetween1And1024": func(s *shape) { s.Max = ptr(3 << 10) }, // formats of access logs have 3 KB (developer guide, "Quotas")
		"StringWithLengthBetween1And512":  func(s *shape) { s.Min = ptr(0) },       // "" removes a parameter of an integration
		"SubnetId":                        func(s *shape) { s.Min, s.Max, s.Pattern, s.nullable = ptr(0), ptr(1024), `subnet-[0-9a-z]*`, true },
	}
	statusAmended = map[string]int{"DeleteFunction": 204} // 202 and 200 are for managed instances
)

func ptr(f float64) *float64 { return &f }

type generator struct {
	model  model
	index  map[string]int
	shapes []string // Go literals
	buf    bytes.Buffer
	pkg    string
}

func abs(path string) string {
	path, err := filepath.Abs(path)
	if err != nil {
		log.Fatalf("gen: %v", err)
	}
	return path
}

func main() {
	log.SetFlags(0)
	in := flag.String("model", "", "path of service-2.json or service-2.json.gz")
	out := flag.String("out", "model_gen.go", "file to write")
	served := flag.String("served", "", "operations that are offered, with commas; \"\" is all of an API in the REST protocol")
	flag.Parse()
	g := &generator{index: map[string]int{}, pkg: filepath.Base(filepath.Dir(abs(*out)))}
	if err := g.read(*in); err != nil {
		log.Fatalf("gen: %v", err)
	}
	src, err := g.generate(strings.Split(*served, ","))
	if err != nil {
		log.Fatalf("gen: %v", err)
	}
	if err := os.WriteFile(*out, src, 0o644); err != nil {
		log.Fatalf("gen: %v", err)
	}
}

func (g *generator) read(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			return err
		}
	}
	return json.NewDecoder(r).Decode(&g.model)
}

func (g *generator) generate(served []string) ([]byte, error) {
	var ops bytes.Buffer
	rest := g.model.Metadata.Protocol == "rest-json"
	for _, name := range slices.Sorted(maps.Keys(g.model.Operations)) {
		op := g.model.Operations[name]
		if !rest {
			input := -1
			if slices.Contains(served, name) {
				input = g.shape(op.Input.Shape)
			}
			fmt.Fprintf(&ops, "\t%q: %d,\n", name, input)
			continue
		}
		path, query, _ := strings.Cut(op.HTTP.RequestURI, "?")
		input := -1
		if served[0] == "" || slices.Contains(served, name) {
			input = g.shape(op.Input.Shape)
		}
		fmt.Fprintf(&ops, "\t{Name: %q, Method: %q, Path: %q, Query: %q, Status: %d, Input: %d, Payload: %q},\n",
			name, op.HTTP.Method, path, query, cmp.Or(statusAmended[name], op.HTTP.ResponseCode, 200), input, g.model.Shapes[op.Input.Shape].Payload)
	}
	p := func(format string, args ...any) { fmt.Fprintf(&g.buf, format, args...) }
	p("// Code generated by internal/awsapi/gen from AWS's model of %s. DO NOT EDIT.\n\npackage %s\n\n", g.model.Metadata.ServiceFullName, g.pkg)
	p("import \"github.com/hansomcloud/hansom/internal/awsapi/model\"\n\n")
	if rest {
		p("// operations are all operations of the model; the index of the input is into shapes%s.\nvar operations = []model.Operation{\n%s}\n\n", others(served), ops.Bytes())
	} else {
		p("// operations are all operations of the model, with the index of the input in shapes; -1 for those that are not offered.\nvar operations = map[string]int{\n%s}\n\n", ops.Bytes())
	}
	p("var shapes = [...]model.Shape{\n")
	for i, s := range g.shapes {
		p("\t%d: %s,\n", i, s)
	}
	p("}\n")
	if !rest {
		return format.Source(g.buf.Bytes())
	}
	p("\n// faults are the errors of the model: status, whose fault, and the name of the message's member.\nvar faults = map[string]fault{\n")
	for _, name := range slices.Sorted(maps.Keys(g.model.Shapes)) {
		if s := g.model.Shapes[name]; s.Exception {
			message := "message"
			if _, ok := s.Members.refs["Message"]; ok {
				message = "Message"
			}
			p("\t%q: {%d, %v, %q},\n", name, s.Error.HTTPStatusCode, s.Error.SenderFault, message)
		}
	}
	p("}\n")
	return format.Source(g.buf.Bytes())
}

func others(served []string) string {
	if served[0] == "" {
		return ""
	}
	return ", -1 for those that are not offered"
}

// sized are the strings of API Gateway v2, whose bounds stand in the names of their shapes.
var sized = regexp.MustCompile(`^(?:String|Uri)WithLengthBetween(\d+)And(\d+)(K?)$`)

// bounds of a string by the name of its shape; nil for any other.
func bounds(name string) (least, most *float64) {
	m := sized.FindStringSubmatch(name)
	if m == nil {
		return nil, nil
	}
	low, _ := strconv.ParseFloat(m[1], 64)
	high, _ := strconv.ParseFloat(m[2], 64)
	if m[3] == "K" {
		high *= 1024
	}
	return &low, &high
}

var kinds = map[string]string{
	"structure": "Structure", "list": "List", "map": "Mapping", "string": "Text", "integer": "Integer", "long": "Long",
	"double": "Double", "float": "Double", "boolean": "Boolean", "blob": "Octets", "timestamp": "Timestamp",
}

// shape returns the index of a shape, after adding it and all that it holds.
func (g *generator) shape(name string) int {
	if i, ok := g.index[name]; ok {
		return i
	}
	s, ok := g.model.Shapes[name]
	kind, known := kinds[s.Type]
	if !ok || !known {
		log.Fatalf("gen: the model has no usable shape %q", name)
	}
	if least, most := bounds(name); most != nil {
		s.Min, s.Max = least, most
	}
	if amend := amended[name]; amend != nil {
		amend(&s)
	}
	i := len(g.shapes)
	g.index[name] = i
	g.shapes = append(g.shapes, "") // its place is taken before its members are added: shapes may hold themselves
	var b strings.Builder
	fmt.Fprintf(&b, "{Kind: model.%s", kind)
	if s.Min != nil {
		fmt.Fprintf(&b, ", HasMin: true, Min: %v", *s.Min)
	}
	if s.Max != nil {
		fmt.Fprintf(&b, ", HasMax: true, Max: %v", *s.Max)
	}
	if s.Pattern != "" {
		fmt.Fprintf(&b, ", Pattern: %#q", regions.Replace(s.Pattern))
		if l, ok := lookarounds[s.Pattern]; ok {
			fmt.Fprintf(&b, ", Match: %#q, Not: %#q", l[0], l[1])
		} else if strings.Contains(s.Pattern, "(?!") || strings.Contains(s.Pattern, "(?<") || strings.Contains(s.Pattern, "(?=") {
			log.Fatalf("gen: shape %s has a pattern with a lookaround: say in the generator what it means: %s", name, s.Pattern)
		}
	}
	if s.Enum != nil {
		fmt.Fprintf(&b, ", Enum: %#v", s.Enum)
	}
	if s.Sensitive {
		b.WriteString(", Sensitive: true")
	}
	if s.nullable {
		b.WriteString(", Nullable: true")
	}
	switch kind {
	case "Structure":
		b.WriteString(", Members: []model.Member{\n")
		for _, m := range s.Members.names {
			r := s.Members.refs[m]
			fmt.Fprintf(&b, "{Name: %q, Shape: %d", m, g.shape(r.Shape))
			switch r.Location {
			case "uri":
				b.WriteString(", In: model.InPath")
			case "querystring":
				b.WriteString(", In: model.InQuery")
			case "header":
				b.WriteString(", In: model.InHeader")
			}
			if r.LocationName != "" && r.LocationName != m {
				fmt.Fprintf(&b, ", Wire: %q", r.LocationName)
			}
			if slices.Contains(s.Required, m) {
				b.WriteString(", Required: true")
			}
			b.WriteString("},\n")
		}
		b.WriteString("}")
	case "List":
		fmt.Fprintf(&b, ", Elem: %d", g.shape(s.Member.Shape))
	case "Mapping":
		fmt.Fprintf(&b, ", Key: %d, Elem: %d", g.shape(s.Key.Shape), g.shape(s.Value.Shape))
	}
	b.WriteString("}")
	g.shapes[i] = b.String()
	return i
}
