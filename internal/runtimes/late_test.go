package runtimes

import "testing"

func TestLate(t *testing.T) {
	for _, c := range []struct {
		family Family
		name   string
		want   bool
	}{
		{Node, "OWN", true}, {Node, "TZ", true}, {Node, "NODE_ENV", true}, {Node, "NODE_PATH", true}, {Node, "AWS_REGION", true}, {Node, "LANGUAGES", true},
		{Node, "NODE_OPTIONS", false}, {Node, "NODE_EXTRA_CA_CERTS", false}, {Node, "UV_THREADPOOL_SIZE", false}, {Node, "LANG", false}, {Node, "LC_ALL", false},
		{Node, "LD_PRELOAD", false}, {Node, "PYTHONPATH", true}, {Node, Wrapper, false}, {Node, "OPENSSL_CONF", false},
		{Python, "OWN", true}, {Python, "TZ", true}, {Python, "NODE_OPTIONS", true},
		{Python, "PYTHONPATH", false}, {Python, "PYTHONHASHSEED", false}, {Python, "LANG", false}, {Python, "LC_CTYPE", false}, {Python, "LD_LIBRARY_PATH", false}, {Python, Wrapper, false},
	} {
		r := &Runtime{Family: c.family, Frames: true}
		if got := r.Late(map[string]string{"ANY": "", c.name: "x"}); got != c.want {
			t.Errorf("%s with %s: %t, want %t", c.family, c.name, got, c.want)
		}
	}
	if (&Runtime{Family: Java}).Late(nil) {
		t.Error("a runtime without frames cannot take its environment later")
	}
}

func TestHeapClass(t *testing.T) {
	classes := map[int]bool{}
	for memory := 128; memory <= 10240; memory++ {
		class := heapClass(memory)
		if class > memory || class < memory*8/9 {
			t.Errorf("%d MB are of class %d", memory, class)
		}
		classes[class] = true
	}
	for _, memory := range []int{128, 192, 256, 320, 512, 768, 1024, 1536, 2048, 3072, 10240} {
		if heapClass(memory) != memory {
			t.Errorf("%d MB are of class %d", memory, heapClass(memory))
		}
	}
	if len(classes) > 64 {
		t.Errorf("%d classes", len(classes))
	}
}
