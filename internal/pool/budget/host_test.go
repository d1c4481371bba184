package budget

import "testing"

func TestHostMemory(t *testing.T) {
	if n, err := HostMemory(); err != nil || n < 64<<20 {
		t.Errorf("%d bytes, %v", n, err)
	}
}
