package plan_test

import (
	"reflect"
	"testing"

	"github.com/hansomcloud/hansom/internal/sandbox/linux/init/plan"
)

var whole = plan.Plan{
	Root: "/run/root", Hostname: "sandbox",
	Steps:  []plan.Step{{Op: plan.Dir, Path: "usr", Mode: 0o755}, {Op: plan.Bind, Path: "usr", Source: "/usr", Mode: plan.BindReadOnly}},
	Listen: []uint32{9001, 4566}, User: true, UID: 1000, Filter: []byte{1, 2, 3}, Files: 1024, Processes: 512, Frames: true, Freezer: true, Forked: true, Zygote: true,
	Dir: "/var/task", Command: []string{"/usr/bin/node", ""}, Extend: []string{"/opt/extensions/a"}, Env: []string{"A=b\nc", "D="},
}

func TestRoundTrip(t *testing.T) {
	for name, p := range map[string]plan.Plan{"whole": whole, "empty": {Filter: []byte{}}} {
		b := p.Append(nil, nil)
		if n := int(plan.Uint32(b)); n != len(b)-4 {
			t.Errorf("%s: the length in front is %d of %d", name, n, len(b)-4)
		}
		got, ok := plan.Decode(b[4:])
		if !ok || !reflect.DeepEqual(*got, p) {
			t.Errorf("%s: %v\n%+v\nwant\n%+v", name, ok, *got, p)
		}
		for n := range b[4:] {
			if _, ok := plan.Decode(b[4:][:n]); ok {
				t.Errorf("%s: the first %d bytes were taken for a whole plan", name, n)
			}
		}
	}
	first := plan.AppendStep(nil, plan.Step{Op: plan.Link, Path: "bin", Source: "usr/bin"})
	got, ok := plan.Decode(whole.Append(nil, first)[4:])
	if !ok || len(got.Steps) != 3 || got.Steps[0].Path != "bin" || got.Steps[2].Path != "usr" {
		t.Errorf("encoded steps do not come first: %+v", got.Steps)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(whole.Append(nil, nil)[4:])
	f.Add((&plan.Plan{}).Append(nil, nil)[4:])
	f.Add([]byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, ok := plan.Decode(b)
		if !ok {
			return
		}
		again, ok := plan.Decode(p.Append(nil, nil)[4:])
		if !ok || !reflect.DeepEqual(p, again) {
			t.Errorf("%+v became %+v", p, again)
		}
	})
}
