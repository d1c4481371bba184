package lambda

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi"
	"github.com/hansomcloud/hansom/internal/awsapi/model"
)

// TestRequests sends the requests of testdata/requests.json, one a row, and compares the errors.
func TestRequests(t *testing.T) {
	text, err := os.ReadFile("testdata/requests.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name, Request, Body, Code string
		Status                    int
		Message                   *string // nil: any
	}
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	s := newServer(t)
	root := hansom.Principal{Kind: hansom.Root, Project: hansom.DefaultProject, ARN: "arn:aws:iam::000000000000:root"}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			method, target, _ := strings.Cut(c.Request, " ")
			r := httptest.NewRequest(method, target, strings.NewReader(c.Body))
			r = r.WithContext(awsapi.WithCall(r.Context(), root, "id"))
			w := httptest.NewRecorder()
			s.api.ServeHTTP(w, r)
			var body struct{ Type, Message, Reason string }
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil { // finds message too
				t.Fatalf("%v in %s", err, w.Body)
			}
			if w.Code != c.Status || w.Header().Get("X-Amzn-Errortype") != c.Code || c.Message != nil && body.Message != *c.Message {
				t.Errorf("got  %d %s %q\nwant %d %s %q", w.Code, w.Header().Get("X-Amzn-Errortype"), body.Message, c.Status, c.Code, message(c.Message))
			}
		})
	}
}

func message(s *string) string {
	if s == nil {
		return "any"
	}
	return *s
}

// Which of Message and message an error has is the model's choice; ValidationException has no Type.
func TestErrorBodies(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{hansom.Errorf(hansom.NotFound, "x", "m"), `404 ResourceNotFoundException {"Type":"User","Message":"m"}`},
		{hansom.Errorf(hansom.Invalid, "x", "m"), `400 InvalidParameterValueException {"Type":"User","message":"m"}`},
		{hansom.Errorf(hansom.Conflict, "x", "m"), `409 ResourceConflictException {"Type":"User","message":"m"}`},
		{hansom.Errorf(hansom.Precondition, "x", "m"), `412 PreconditionFailedException {"Type":"User","message":"m"}`},
		{hansom.Errorf(hansom.TooLarge, "x", "m"), `413 RequestTooLargeException {"Type":"User","message":"m"}`},
		{&hansom.Error{Kind: hansom.Throttled, Message: "m", Reason: "r"}, `429 TooManyRequestsException {"Reason":"r","Type":"User","message":"m"}`},
		{hansom.Errorf(hansom.Invalid, "x", "m").WithCode("CodeStorageExceededException"), `400 CodeStorageExceededException {"Type":"User","message":"m"}`},
		{hansom.Errorf(hansom.Invalid, "x", "m").WithCode("ValidationException"), `400 ValidationException {"message":"m"}`},
		{hansom.Errorf(hansom.Denied, "x", "m"), `403 AccessDeniedException {"message":"m"}`},
		{hansom.Errorf(hansom.Unauthenticated, "x", "m").WithCode("InvalidSignatureException"), `403 InvalidSignatureException {"message":"m"}`},
		{hansom.Errorf(hansom.Unavailable, "x", "m"), `503 ServiceUnavailableException {"message":"m"}`},
		{hansom.Errorf(hansom.Internal, "x", "secret"), `500 ServiceException {"Type":"Service","Message":"The server met an internal error. Its log says more under request id id."}`},
	} {
		code, status, body := faultOf(c.err, "id")
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join([]string{jsonNumber(status), code, string(text)}, " "); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

func jsonNumber(n int) string { b, _ := json.Marshal(n); return string(b) }

// Every operation of the model has a route of its own.
func TestRoutes(t *testing.T) {
	s := &Service{routes: newRoutes()}
	for i := range operations {
		op := &operations[i]
		path := strings.NewReplacer("{", "%3Ax%2F", "}", "").Replace(op.Path) // a slash inside of a segment
		r := httptest.NewRequest(op.Method, path+"?"+op.Query, nil)
		got, vars := s.route(r)
		if got != op {
			t.Errorf("%s %s is routed to %+v", op.Method, path, got)
			continue
		}
		for name, v := range vars {
			if v != ":x/"+name {
				t.Errorf("%s: {%s} is %q", op.Name, name, v)
			}
		}
	}
}

// FuzzDecode feeds bodies to the input with most constraints. Whatever comes, decoding ends in values or in a clear error, and
// finds what encoding/json finds.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{}`, ` {"FunctionName":"f"} `, `{"Code":{"ZipFile":"aGk="},"Role":"r","a\u0062":[1,"\"]}",{"x":null}]}`, `{"Environment":{"Variables":{"A":"b"}},"Timeout":3.7}`,
		`{"Architectures":["arm64",null],"FileSystemConfigs":[{"Arn":null}],"Publish":true}`, `[]`, `"`, `{"Handler":"\ud83d\ude00\\"}`, "{\"Handler\":\"\xff\"}", `{"Tags":{"a":{}}}`, ``, `1`, `{"Description":"a","Description":null}`,
	} {
		f.Add([]byte(s))
	}
	var op *model.Operation
	var all []*model.Operation
	for i := range operations {
		all = append(all, &operations[i])
		if operations[i].Name == "CreateFunction" {
			op = &operations[i]
		}
	}
	v := newValidator(all)
	f.Fuzz(func(t *testing.T, body []byte) {
		in, err := v.decode(op, request{query: url.Values{}, header: http.Header{}, body: body})
		if err != nil {
			if hansom.KindOf(err) != hansom.Invalid || err.Error() == "" {
				t.Errorf("%v", err)
			}
			return
		}
		var want struct {
			Handler, Description, Role *string
			Code                       struct{ ZipFile []byte }
		}
		if err := json.Unmarshal(body, &want); err != nil {
			return // encoding/json folds the case of names
		}
		if h := in.textPtr("Handler"); h != nil && (want.Handler == nil || *h != *want.Handler) {
			t.Errorf("Handler is %q, encoding/json says %v", *h, want.Handler)
		}
		if zip, ok := in.sub("Code")["ZipFile"].([]byte); ok && !bytes.Equal(zip, want.Code.ZipFile) {
			t.Errorf("ZipFile is %q, encoding/json says %q", zip, want.Code.ZipFile)
		}
	})
}
