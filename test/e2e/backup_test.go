package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"github.com/hansomcloud/hansom/internal/db/dbtest"
	"github.com/hansomcloud/hansom/internal/hansomtest"
	"github.com/hansomcloud/hansom/internal/server"
)

// A backup that is made while functions come, change and go restores to a server on which every function runs its own code.
func TestBackup(t *testing.T) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) { testBackup(t, func() string { return "" }) })
	t.Run("postgres", func(t *testing.T) {
		for _, tool := range []string{"pg_dump", "psql"} {
			if _, err := exec.LookPath(tool); err != nil {
				t.Skip(tool, "is not installed; scripts/setup.sh installs it")
			}
		}
		testBackup(t, func() string { return dbtest.PostgresDatabase(t) })
	})
}

func testBackup(t *testing.T, database func() string) {
	s := start(t, func(c *server.Config) { c.DB = database() })
	c := client(t, s.API(), hansomtest.Credentials)
	create(t, c, "first", python311, naming(t, "first"))

	ctx, stop := context.WithCancel(t.Context())
	made, ended := make(chan int, 1000), make(chan error, 1)
	go func() {
		defer close(made)
		ended <- churn(ctx, t, c, made)
	}()
	var file string
	for i := range 3 { // each while others are made
		for range 4 {
			<-made
		}
		file = filepath.Join(t.TempDir(), fmt.Sprintf("backup-%d.tar.gz", i))
		if err := cli(t, s, hansomtest.Credentials, nil, "backup", file); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	for range made {
	}
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read the backup: %v %v", info.Mode(), err)
	}

	data, url := filepath.Join(t.TempDir(), "restored"), database()
	args := []string{"restore", file, "--data", data}
	if url != "" {
		args = append(args, "--db", url)
	}
	if err := cli(t, s, hansomtest.Credentials, nil, args...); err != nil {
		t.Fatal(err)
	}
	if url != "" {
		if err := cli(t, s, hansomtest.Credentials, nil, "restore", file, "--data", filepath.Join(t.TempDir(), "x"), "--db", url); err == nil {
			t.Error("restored into a database that is in use")
		}
	}
	again := start(t, func(c *server.Config) { c.Data, c.DB = data, url })
	r := client(t, again.API(), hansomtest.Credentials)
	n := 0
	for p := lambda.NewListFunctionsPaginator(r, &lambda.ListFunctionsInput{}); p.HasMorePages(); {
		page, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range page.Functions {
			n++
			waitActive(t, r, *f.FunctionName)
			waitUpdated(t, r, *f.FunctionName)
			var name string
			if mustInvoke(t, r, *f.FunctionName, "{}", &name); name != *f.FunctionName {
				t.Errorf("%s runs the code of %s", *f.FunctionName, name)
			}
		}
	}
	if n < 2 {
		t.Errorf("%d functions were restored", n)
	}
}

// naming is a function that answers with its name.
func naming(t *testing.T, name string) []byte {
	return source(t, python311, fmt.Sprintf("def handler(event, context):\n    return '%s'\n", name))
}

// churn makes functions, and deletes every third, until ctx ends.
func churn(ctx context.Context, t *testing.T, c *lambda.Client, made chan<- int) error {
	for i := 0; ; i++ {
		name := fmt.Sprintf("f%d", i)
		if _, err := c.CreateFunction(ctx, request(name, python311, naming(t, name))); err != nil {
			return err
		}
		if i%3 == 0 {
			if _, err := c.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: aws.String(name)}); err != nil {
				return err
			}
		}
		select {
		case made <- i:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
