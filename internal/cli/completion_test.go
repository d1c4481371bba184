package cli

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/cli/command"
)

// Bash completes with the script as a user's shell does: commands, flags, and names from a server.
func TestBashCompletion(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is not installed")
	}
	srv := newTestServer(t, t.TempDir())
	srv.start(t)
	if _, err := srv.queues.Create(t.Context(), hansom.DefaultProject, "jobs", nil, nil); err != nil {
		t.Fatal(err)
	}
	environ := append(os.Environ(), "HANSOM_API="+srv.APIAddr(), "HANSOM_ACCESS_KEY_ID=test", "HANSOM_SECRET_ACCESS_KEY=test")
	var out, errs strings.Builder
	if code := Run(t.Context(), Options{Args: []string{"deploy", "testdata/app"}, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Environ: environ}); code != command.ExitOK {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	// complete does what readline does: it finds the function of the command and calls it with the words so far.
	const script = `
hansom() { program "$@"; }
source <(hansom completion bash)
complete_line() {
	COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9
	read -ra COMP_WORDS <<<"$1"
	[[ $1 == *' ' ]] && COMP_WORDS+=("")
	COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
	COMPREPLY=()
	local spec; spec=$(complete -p hansom); spec=${spec#*-F }
	${spec%% *} hansom "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
	echo "$1 => ${COMPREPLY[*]}"
}
for line in 'hansom dep' 'hansom invoke hel' 'hansom invoke hello-api --qual' 'hansom invoke hello-api --event dyn' 'hansom rollback ' 'hansom init --template fl' 'hansom deploy testd' 'hansom versions rm hello-api ' 'hansom queue peek ' 'hansom projects set x --egress pl'; do complete_line "$line"; done`
	cmd := exec.Command(bash, "--norc", "-c", script)
	cmd.Env = environ
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if strings.Contains(string(text), "not found") {
		t.Errorf("the script needs what is not there:\n%s", text)
	}
	for _, want := range []string{
		"hansom dep => deploy", "hansom invoke hel => hello-api", "hansom invoke hello-api --qual => --qualifier",
		"hansom invoke hello-api --event dyn => dynamodb", "hansom rollback  => hello",
		"hansom init --template fl => flask", "hansom deploy testd => testdata", "hansom versions rm hello-api  => \n", "hansom queue peek  => jobs", "hansom projects set x --egress pl => platform",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
}
