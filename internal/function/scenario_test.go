package function

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
)

// step is one line of a scenario under testdata/scenarios, which holds what AWS Lambda answers to a series of calls.
//
// Call names a method of Service; its arguments after the project are Args. Want lists some fields of the first result, or the whole
// of it when that is no struct; a result that is itself JSON text is compared as JSON. Rest holds the further results. In all of
// these a string "<x>" is a placeholder: a name seen first is bound to the value, and must be a value that no other name has;
// a name seen again stands for its value. "@zip a" is a package, "@sha a" its base64 digest. Call "settle" waits for the function
// in Args to be settled. A line that is empty or begins with # is skipped. "# no run" in the first line keeps Run from running.
type step struct {
	Call    string
	Project string // "" is the usual one
	Args    []json.RawMessage
	Want    json.RawMessage
	Rest    []json.RawMessage
	Error   *struct {
		Kind          string
		Code, Message string
	}
}

var kinds = map[string]hansom.Kind{"Invalid": hansom.Invalid, "NotFound": hansom.NotFound, "Conflict": hansom.Conflict, "Precondition": hansom.Precondition,
	"TooLarge": hansom.TooLarge}

func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/scenarios/*.jsonl")
	if err != nil || len(files) < 5 {
		t.Fatalf("there are %d scenarios (%v)", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".jsonl"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			dbtest.Each(t, func(t *testing.T, d *db.DB) {
				s := newHost(t).open(t, d)
				if !strings.HasPrefix(string(text), "# no run") {
					run(t, s)
				}
				p := player{t: t, s: s, changed: changes(d), bound: map[string]any{}}
				for i, line := range strings.Split(string(text), "\n") {
					if line != "" && !strings.HasPrefix(line, "#") {
						p.line = i + 1
						p.play(line)
					}
				}
			})
		})
	}
}

type player struct {
	t       *testing.T
	s       *Service
	changed <-chan struct{}
	bound   map[string]any
	line    int
}

func (p *player) errorf(format string, args ...any) {
	p.t.Helper()
	p.t.Errorf("line %d: "+format, append([]any{p.line}, args...)...)
}

func (p *player) play(line string) {
	p.t.Helper()
	var st step
	d := json.NewDecoder(strings.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&st); err != nil {
		p.t.Fatalf("line %d: %v", p.line, err)
	}
	if st.Project == "" {
		st.Project = project
	}
	if st.Call == "settle" {
		var name string
		if err := json.Unmarshal(st.Args[0], &name); err != nil {
			p.t.Fatal(err)
		}
		settle(p.t, p.s, p.changed, st.Project, name)
		return
	}
	method := reflect.ValueOf(p.s).MethodByName(st.Call)
	if !method.IsValid() {
		p.t.Fatalf("line %d: Service has no %s", p.line, st.Call)
	}
	in := []reflect.Value{reflect.ValueOf(context.Background()), reflect.ValueOf(st.Project)}
	for i := 2; i < method.Type().NumIn(); i++ {
		arg := reflect.New(method.Type().In(i))
		if i-2 < len(st.Args) {
			text, err := json.Marshal(p.fill(decode(p.t, st.Args[i-2])))
			if err == nil {
				err = json.Unmarshal(text, arg.Interface())
			}
			if err != nil {
				p.t.Fatalf("line %d, argument %d: %v", p.line, i-1, err)
			}
		}
		in = append(in, arg.Elem())
	}
	out := method.Call(in)
	err, _ := out[len(out)-1].Interface().(error)
	if st.Error != nil {
		var e *hansom.Error
		if !errors.As(err, &e) {
			p.errorf("%s: error %v, want %+v", st.Call, err, *st.Error)
			return
		}
		st.Error.Message = strings.ReplaceAll(st.Error.Message, "@sha a", p.fill("@sha a").(string))
		if e.Kind != kinds[st.Error.Kind] || e.Code != st.Error.Code || e.Message != st.Error.Message {
			p.errorf("%s: error of kind %d, code %q: %s\nwant %s %q: %s", st.Call, e.Kind, e.Code, e.Message, st.Error.Kind, st.Error.Code, st.Error.Message)
		}
		return
	}
	if err != nil {
		p.errorf("%s: %v", st.Call, err)
		return
	}
	for i, want := range append([]json.RawMessage{st.Want}, st.Rest...) {
		if len(want) > 0 {
			p.compare(st.Call, decode(p.t, want), out[i].Interface())
		}
	}
}

func decode(t *testing.T, text []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

// fill replaces what stands for a package or for a bound value.
func (p *player) fill(v any) any {
	switch v := v.(type) {
	case string:
		if content, ok := strings.CutPrefix(v, "@zip "); ok {
			return base64.StdEncoding.EncodeToString(archive(p.t, "index.py", content))
		}
		if content, ok := strings.CutPrefix(v, "@sha "); ok {
			b, _ := hex.DecodeString(digestOf(archive(p.t, "index.py", content)))
			return base64.StdEncoding.EncodeToString(b)
		}
		if bound, ok := p.bound[v]; ok {
			return bound
		}
	case []any:
		for i := range v {
			v[i] = p.fill(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = p.fill(v[k])
		}
	}
	return v
}

func (p *player) compare(call string, want, result any) {
	p.t.Helper()
	if f, ok := result.(Function); ok {
		result = shown(f)
	}
	if list, ok := result.([]Function); ok {
		all := make([]any, len(list))
		for i := range list {
			all[i] = shown(list[i])
		}
		result = all
	}
	text, err := json.Marshal(result)
	if s, ok := result.(string); ok && strings.HasPrefix(s, "{") {
		text = []byte(s)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	got := decode(p.t, text)
	if problem := p.match("", want, got); problem != "" {
		p.errorf("%s: %s\ngot %s", call, problem, text)
	}
}

// shown adds to the fields of a Function what its methods say.
func shown(f Function) any {
	return struct {
		Function
		CodeSha256, PackageType string
	}{f, f.CodeSha256(), f.PackageType()}
}

// match says what differs. Objects may have more fields than are wanted; of a field "-Name" it is wanted that it is not there.
func (p *player) match(path string, want, got any) string {
	switch want := want.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok {
			return fmt.Sprintf("%s is %v, want an object", path, got)
		}
		for k, w := range want {
			if name, absent := strings.CutPrefix(k, "-"); absent {
				if _, there := object[name]; there {
					return path + "/" + name + " is there"
				}
				continue
			}
			if problem := p.match(path+"/"+k, w, object[k]); problem != "" {
				return problem
			}
		}
		return ""
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			return fmt.Sprintf("%s has %v, want %d elements", path, got, len(want))
		}
		for i := range want {
			if problem := p.match(fmt.Sprint(path, "/", i), want[i], list[i]); problem != "" {
				return problem
			}
		}
		return ""
	case string:
		if strings.HasPrefix(want, "<") && strings.HasSuffix(want, ">") && p.bound[want] == nil {
			for other, value := range p.bound {
				if value == got {
					return fmt.Sprintf("%s is %v, the same as %s", path, got, other)
				}
			}
			if got == nil || got == "" {
				return path + " is empty"
			}
			p.bound[want] = got
			return ""
		}
	}
	if want := p.fill(want); !reflect.DeepEqual(want, got) {
		return fmt.Sprintf("%s is %v, want %v", path, got, want)
	}
	return ""
}
