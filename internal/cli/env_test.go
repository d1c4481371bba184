package cli

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/cli/client"
	"github.com/hansomcloud/hansom/internal/cli/command"
)

// Of writers at the same moment none loses the other's variable.
func TestEnvAtOnce(t *testing.T) {
	srv := newTestServer(t, t.TempDir())
	srv.start(t)
	run := func(args ...string) error {
		var out strings.Builder
		code := Run(t.Context(), Options{Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out,
			Environ: append(os.Environ(), "HANSOM_API="+srv.APIAddr(), "HANSOM_ACCESS_KEY_ID=test", "HANSOM_SECRET_ACCESS_KEY=test")})
		if code != command.ExitOK {
			return fmt.Errorf("%v: exit code %d: %s", args, code, out.String())
		}
		return nil
	}
	if err := run("deploy", "testdata/app"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var want []string
	for i := range 8 {
		name := fmt.Sprintf("V%d", i)
		want = append(want, name)
		wg.Go(func() {
			if err := run("env", "set", "hello-api", name+"=x"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	cl := client.New("http://"+srv.APIAddr(), "", hansom.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, "")
	defer cl.Close()
	conf, err := cl.Configuration(t.Context(), "hello-api", "")
	if got := slices.Sorted(maps.Keys(conf.Environment.Variables)); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
}
