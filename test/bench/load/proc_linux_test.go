package load

import (
	"os"
	"os/exec"
	"slices"
	"testing"
)

// What a child used counts while it runs, and still once it was waited for.
func TestCPUTimeHasChildren(t *testing.T) {
	before := CPUTime(self())
	// It says when it has used at least 200 ms, and waits until its input ends.
	cmd := exec.Command("bash", "-c", `while read -r _ _ _ _ _ _ _ _ _ _ _ _ _ user system _ </proc/self/stat; [ $((user + system)) -lt 20 ]; do for _ in {1..2000}; do :; done; done; echo used; read -r _`)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(Tree(self()), cmd.Process.Pid) {
		t.Error("the child is not in the tree")
	}
	running := CPUTime(self()) - before
	in.Close()
	_ = cmd.Wait()
	ended := CPUTime(self()) - before
	if running < 200e6 || ended < running {
		t.Errorf("%v while the child ran, %v after it; want at least 200ms and no less", running, ended)
	}
	if Status(os.Getpid(), "VmRSS") < 1000 || Status(1<<30, "VmRSS") != 0 {
		t.Error("resident memory of this process or of none is wrong")
	}
}
