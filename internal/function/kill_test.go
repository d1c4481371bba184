package function

import (
	"bufio"
	"context"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/hansomcloud/hansom/internal/blob/disk"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
)

// killed makes TestKilled the process that is killed; it holds the data directory. killedFrom is the number of its first write.
const (
	killed     = "HANSOM_TEST_KILLED"
	killedFrom = "HANSOM_TEST_KILLED_FROM"
)

// Whatever create or update was acknowledged is there after kill -9, with its code, and becomes active.
func TestKilled(t *testing.T) {
	if dir := os.Getenv(killed); dir != "" {
		writeUntilKilled(t, dir)
		return
	}
	dir := t.TempDir()
	acknowledged := map[string]int{} // function -> number of its last write
	for round := range 6 {
		child := osexec.Command(os.Args[0], "-test.run=^TestKilled$")
		child.Env = append(os.Environ(), killed+"="+dir, fmt.Sprint(killedFrom, "=", round*1000))
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if n == 5+round*3 { // whatever it is doing after so many writes
				if err := child.Process.Kill(); err != nil {
					t.Error(err)
				}
			}
			name, text, _ := strings.Cut(lines.Text(), " ")
			number, err := strconv.Atoi(text)
			if err != nil {
				t.Errorf("the process said %q", lines.Text())
				continue
			}
			acknowledged[name] = number
		}
		child.Wait() // it says that it was killed
		checkAcknowledged(t, dir, acknowledged)
	}
	if len(acknowledged) < 20 {
		t.Errorf("only %d functions were acknowledged in all", len(acknowledged))
	}
}

func openAll(t *testing.T, dir string) *Service {
	t.Helper()
	blobs, err := disk.New(filepath.Join(dir, "blob"))
	if err != nil {
		t.Fatal(err)
	}
	return host{dir, blobs}.open(t, dbtest.Open(t, "sqlite:"+filepath.Join(dir, "hansom.db")))
}

func writeUntilKilled(t *testing.T, dir string) {
	s := openAll(t, dir)
	changed := changes(s.db)
	run(t, s)
	ctx := context.Background()
	old, _, err := s.List(ctx, project, false, Page{Max: 1})
	if err != nil {
		t.Fatal(err)
	}
	from, err := strconv.Atoi(os.Getenv(killedFrom))
	if err != nil {
		t.Fatal(err)
	}
	for i := from; ; i++ {
		in := simple(t, fmt.Sprint("f-", i))
		in.Code.Zip = archive(t, "index.py", fmt.Sprint(strings.Repeat("x", 5000), i))
		create(t, s, in)
		fmt.Println(in.Name, i)
		for _, f := range old {
			settle(t, s, changed, project, f.Version.Function)
			if _, err := s.UpdateCode(ctx, project, f.Version.Function, UpdateCodeInput{Code: in.Code}); err != nil {
				t.Fatal(err)
			}
			fmt.Println(f.Version.Function, i)
		}
	}
}

func checkAcknowledged(t *testing.T, dir string, acknowledged map[string]int) {
	t.Helper()
	t.Run("after", func(t *testing.T) {
		s := openAll(t, dir)
		changed := changes(s.db)
		run(t, s)
		for name, number := range acknowledged {
			f := settle(t, s, changed, project, name)
			target, err := s.Resolve(context.Background(), project, name, "")
			if err != nil || f.State != StateActive || f.LastUpdateStatus != UpdateSuccessful {
				t.Errorf("%s is %s, %s (%v)", name, f.State, f.LastUpdateStatus, err)
				continue
			}
			code, _, release, err := s.Code(context.Background(), target.Version)
			if err != nil {
				t.Errorf("the code of %s: %v", name, err)
				continue
			}
			release()
			// An update that was under way may have come through without being acknowledged.
			got, err := strconv.Atoi(strings.TrimLeft(read(t, code, "index.py"), "x"))
			if err != nil || got < number {
				t.Errorf("%s has the code of write %d (%v), acknowledged was %d", name, got, err, number)
			}
		}
		// What was not acknowledged is there in whole or not at all.
		page := Page{}
		for {
			list, next, err := s.List(context.Background(), project, false, page)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range list {
				settle(t, s, changed, project, f.Version.Function)
				if _, err := s.artifacts.Stat(context.Background(), project, f.CodeSHA256); err != nil {
					t.Errorf("%s: %v", f.Version.Function, err)
				}
			}
			if page.Marker = next; next == "" {
				return
			}
		}
	})
}
