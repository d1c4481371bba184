package gateway

import "testing"

func TestTraces(t *testing.T) {
	for parent, trace := range map[string]string{
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01":       "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=00f067aa0ba902b7;Sampled=1",
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02":       "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=00f067aa0ba902b7;Sampled=0",
		"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03-extra": "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=00f067aa0ba902b7;Sampled=1",
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra": "",
		"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01":       "",
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01":       "",
		"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01":       "",
		"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01":       "",
		"00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01":        "",
		"": "", "x": "",
	} {
		if got := traceOf(parent); got != trace {
			t.Errorf("%s: %q, want %q", parent, got, trace)
		}
	}
	for trace, parent := range map[string]string{
		"Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=00f067aa0ba902b7;Sampled=1":          "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		"Self=x;Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=00f067aa0ba902b7;Lineage=a:1": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
		"Root=1": "", "": "", "Root=1-xbf92f35-77b34da6a3ce929d0e0e4736": "",
	} {
		if got := string(appendTraceParent(nil, trace)); got != parent {
			t.Errorf("%s: %q, want %q", trace, got, parent)
		}
	}
	if got := string(appendTraceParent(nil, "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736")); len(got) != 55 || traceOf(got) == "" {
		t.Errorf("without a parent: %q", got)
	}
}
