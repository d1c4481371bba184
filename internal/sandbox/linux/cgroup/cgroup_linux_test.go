package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFind(t *testing.T) {
	cases, err := filepath.Glob("testdata/*")
	if err != nil || len(cases) == 0 {
		t.Fatal("no cases", err)
	}
	for _, dir := range cases {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			read := func(name string) string {
				b, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				return string(b)
			}
			var got strings.Builder
			for _, m := range find(strings.NewReader(read("mountinfo")), strings.NewReader(read("cgroup"))) {
				name := strings.Join(m.controllers, ",")
				if m.unified {
					name = "v2"
				}
				fmt.Fprintln(&got, name, m.own)
			}
			if want := read("want"); got.String() != want {
				t.Errorf("got\n%swant\n%s", got.String(), want)
			}
		})
	}
}

func FuzzFind(f *testing.F) {
	cases, _ := filepath.Glob("testdata/*")
	for _, dir := range cases {
		mountinfo, _ := os.ReadFile(filepath.Join(dir, "mountinfo"))
		self, _ := os.ReadFile(filepath.Join(dir, "cgroup"))
		f.Add(string(mountinfo), string(self))
	}
	f.Fuzz(func(t *testing.T, mountinfo, self string) {
		for _, m := range find(strings.NewReader(mountinfo), strings.NewReader(self)) {
			if rel, err := filepath.Rel(m.dir, m.own); err != nil || strings.HasPrefix(rel, "..") {
				t.Errorf("the group %s is not below its mount %s", m.own, m.dir)
			}
		}
	})
}
