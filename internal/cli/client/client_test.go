package client

import "testing"

func TestAddress(t *testing.T) {
	for _, c := range []struct {
		candidates []string
		want       string
	}{
		{[]string{"", "10.0.0.1:80", "127.0.0.1:1"}, "http://10.0.0.1:80"},
		{[]string{"https://hansom.example.com"}, "https://hansom.example.com"},
		{[]string{":4567"}, "http://127.0.0.1:4567"},
		{[]string{"0.0.0.0:4567"}, "http://127.0.0.1:4567"},
		{[]string{"[::]:4567"}, "http://127.0.0.1:4567"},
		{[]string{"http://0.0.0.0"}, "http://127.0.0.1"},
		{[]string{"127.0.0.1:0", "127.0.0.1:4567"}, "http://127.0.0.1:4567"},
		{[]string{":0", "", DefaultAPI}, DefaultAPI},
		{[]string{"ftp://x", DefaultAPI}, ""},
		{[]string{"a b", DefaultAPI}, ""},
		{[]string{""}, ""},
	} {
		got := ""
		if u, err := address(c.candidates...); err == nil {
			got = u.String()
		}
		if got != c.want {
			t.Errorf("%q: %s, want %s", c.candidates, got, c.want)
		}
	}
}
