package payload

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzWriteResult(f *testing.F) {
	for _, seed := range []string{`{"statusCode":200,"body":"a\u00e9\ud83d\ude00","headers":{"a":["b","c"]},"cookies":["x"]}`, `"a\\"`, `{"a":{}`, `{"statusCode":1}`, "{}\x00\x00\x00\x00\x00\x00\x00\x00x", `{"body":"aGk=","isBase64Encoded":true,"statusCode":200}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, result []byte) {
		valid, text := json.Valid(result) && utf8.Valid(result), ""
		isString := valid && json.Unmarshal(result, &text) == nil && strings.HasPrefix(strings.TrimSpace(string(result)), `"`)
		w := httptest.NewRecorder()
		ok := WriteResult(w, append([]byte(nil), result...), false)
		if isString && (!ok || w.Body.String() != text) {
			t.Errorf("string %q came out as %q", text, w.Body)
		}
	})
}

func FuzzAppendString(f *testing.F) {
	f.Add("a\"\\\n\x00é\xff")
	f.Fuzz(func(t *testing.T, s string) {
		var back string
		if err := json.Unmarshal(AppendString(nil, s), &back); err != nil || back != strings.ToValidUTF8(s, "\ufffd") && back != string([]rune(s)) {
			t.Errorf("%q came back as %q, %v", s, back, err)
		}
	})
}
