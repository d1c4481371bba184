package sqs

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi"
	"github.com/hansomcloud/hansom/internal/backlog"
	"github.com/hansomcloud/hansom/internal/bus"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
	"github.com/hansomcloud/hansom/internal/queue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var callers = map[string]hansom.Principal{
	"":         {Kind: hansom.Root, Project: hansom.DefaultProject, UserID: "AIDA", ARN: "arn:aws:iam::000000000000:root"},
	"other":    {Kind: hansom.Root, Project: "111111111111", UserID: "AIDB", ARN: "arn:aws:iam::111111111111:root"},
	"function": {Kind: hansom.FunctionSession, Project: hansom.DefaultProject, UserID: "AROA:f", ARN: "arn:aws:sts::000000000000:assumed-role/r/f"},
}

func newService(t testing.TB) *Service {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	b, err := bus.Open(t.Context(), bus.Config{Dir: t.TempDir()}, logger)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	messages, err := backlog.Open(t.Context(), backlog.DefaultConfig(), b, logger)
	if err != nil {
		t.Fatal(err)
	}
	cfg := queue.DefaultConfig()
	cfg.Key = []byte("key")
	queues, err := queue.New(t.Context(), cfg, dbtest.Open(t.(*testing.T), dbtest.SQLite(t.(*testing.T))), messages, logger)
	if err != nil {
		t.Fatal(err)
	}
	return New(hansom.DefaultRegion, queues, logger)
}

func serve(s *Service, caller string, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r.WithContext(awsapi.WithCall(r.Context(), callers[caller], "request-1")))
	return w
}

func jsonRequest(op, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "http://queues.test/", strings.NewReader(body))
	r.Header.Set("X-Amz-Target", "AmazonSQS."+op)
	r.Header.Set("Content-Type", "application/x-amz-json-1.0")
	return r
}

func formRequest(path string, form url.Values) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "http://queues.test"+path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

// flatten writes a request as the clients of the Query protocol do.
func flatten(form url.Values, op, prefix string, in map[string]any) {
	lists := map[string]string{"AttributeNames": "AttributeName", "MessageAttributeNames": "MessageAttributeName", "MessageSystemAttributeNames": "MessageSystemAttributeName",
		"AWSAccountIds": "AWSAccountId", "Actions": "ActionName", "TagKeys": "TagKey", "Entries": op + "RequestEntry"}
	mappings := map[string][3]string{"Attributes": {"Attribute", "Name", "Value"}, "Tags": {"Tag", "Key", "Value"}, "tags": {"Tag", "Key", "Value"},
		"MessageAttributes": {"MessageAttribute", "Name", "Value"}, "MessageSystemAttributes": {"MessageSystemAttribute", "Name", "Value"}}
	for name, x := range in {
		switch x := x.(type) {
		case []any:
			for i, e := range x {
				at := fmt.Sprintf("%s%s.%d", prefix, lists[name], i+1)
				if m, ok := e.(map[string]any); ok {
					flatten(form, op, at+".", m)
				} else {
					form.Set(at, fmt.Sprint(e))
				}
			}
		case map[string]any:
			i := 0
			for key, e := range x {
				i++
				names := mappings[name]
				at := fmt.Sprintf("%s%s.%d.", prefix, names[0], i)
				form.Set(at+names[1], key)
				if m, ok := e.(map[string]any); ok {
					flatten(form, op, at+names[2]+".", m)
				} else {
					form.Set(at+names[2], fmt.Sprint(e))
				}
			}
		default:
			form.Set(prefix+name, fmt.Sprint(x))
		}
	}
}

// TestRequests sends the requests of testdata/requests.json one after the other, once in each protocol. HANDLE and TASK in them stand
// for the last handle that was answered, and x*1000 for a thousand x.
func TestRequests(t *testing.T) {
	text, err := os.ReadFile("testdata/requests.json")
	if err != nil {
		t.Fatal(err)
	}
	text = regexp.MustCompile(`x\*\d+`).ReplaceAllFunc(text, func(m []byte) []byte {
		n, _ := strconv.Atoi(string(m[2:]))
		return bytes.Repeat([]byte("x"), n)
	})
	var cases []struct {
		As, Op      string
		In          map[string]any
		Want        map[string]any // members of the answer
		Has, Lacks  []string       // texts in the answer, whatever the protocol
		Type, Query string         // of an error, in JSON and in XML
		Status      int
		Message     string
	}
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	handles := regexp.MustCompile(`"ReceiptHandle":"([^"]+)"|<ReceiptHandle>([^<]+)<`)
	tasks := regexp.MustCompile(`"TaskHandle":"([^"]+)"|<TaskHandle>([^<]+)<`)
	for _, protocol := range []string{"json", "query"} {
		t.Run(protocol, func(t *testing.T) {
			s := newService(t)
			handle, task := "none", "none"
			for i, c := range cases {
				name := fmt.Sprint(i, " ", c.Op)
				body, _ := json.Marshal(c.In)
				in := strings.NewReplacer(`"HANDLE"`, `"`+handle+`"`, `"TASK"`, `"`+task+`"`).Replace(string(body))
				r := jsonRequest(c.Op, in)
				if protocol == "query" {
					var values map[string]any
					_ = json.Unmarshal([]byte(in), &values)
					form := url.Values{"Action": {c.Op}, "Version": {"2012-11-05"}}
					flatten(form, c.Op, "", values)
					r = formRequest("/", form)
				}
				w := serve(s, c.As, r)
				answer := w.Body.String()
				if m := handles.FindStringSubmatch(answer); m != nil {
					handle = m[1] + m[2]
				}
				if m := tasks.FindStringSubmatch(answer); m != nil {
					task = m[1] + m[2]
				}
				if c.Type != "" {
					status := c.Status
					if status == 0 {
						status = 400
					}
					query := c.Query
					if query == "" {
						query = c.Type
					}
					checkError(t, name, w, protocol, c.Type, query, c.Message, status)
					continue
				}
				if w.Code != 200 {
					t.Errorf("%s: %d %s", name, w.Code, answer)
					continue
				}
				for _, text := range c.Has {
					if protocol == "query" {
						text = strings.ReplaceAll(text, `"`, "&#34;")
					} else {
						text = strings.ReplaceAll(text, `"`, `\"`)
					}
					if !strings.Contains(answer, text) {
						t.Errorf("%s: no %s in %s", name, text, answer)
					}
				}
				for _, text := range c.Lacks {
					if strings.Contains(answer, text) {
						t.Errorf("%s: %s is in %s", name, text, answer)
					}
				}
				if protocol == "json" && c.Want != nil {
					var got map[string]any
					if err := json.Unmarshal([]byte(answer), &got); err != nil {
						t.Errorf("%s: %v in %s", name, err, answer)
					}
					for k := range maps.Keys(c.Want) {
						if !reflect.DeepEqual(got[k], c.Want[k]) {
							t.Errorf("%s: %s is %v, want %v", name, k, got[k], c.Want[k])
						}
					}
				}
				if protocol == "query" && (!strings.HasPrefix(answer, "<"+c.Op+`Response xmlns="http://queue.amazonaws.com/doc/2012-11-05/">`) || !strings.Contains(answer, "<RequestId>request-1</RequestId>")) {
					t.Errorf("%s: %s", name, answer)
				}
			}
		})
	}
}

func checkError(t *testing.T, name string, w *httptest.ResponseRecorder, protocol, typ, query, message string, status int) {
	t.Helper()
	var gotType, gotMessage string
	if protocol == "json" {
		var e struct {
			Type    string `json:"__type"`
			Message string `json:"message"`
		}
		_ = json.Unmarshal(w.Body.Bytes(), &e)
		_, gotType, _ = strings.Cut(e.Type, "#")
		gotMessage = e.Message
		if got := w.Header().Get("X-Amzn-Query-Error"); got != query+";Sender" {
			t.Errorf("%s: x-amzn-query-error %q, want %s", name, got, query)
		}
	} else {
		var e struct {
			Error struct{ Type, Code, Message string }
		}
		_ = xml.Unmarshal(w.Body.Bytes(), &e)
		gotType, gotMessage, typ = e.Error.Code, e.Error.Message, query
	}
	if gotType != typ || w.Code != status || message != "" && gotMessage != message {
		t.Errorf("%s: %d %s\nwant %d %s %s", name, w.Code, w.Body, status, typ, message)
	}
}

func TestMalformed(t *testing.T) {
	s := newService(t)
	for _, c := range []struct {
		what, typ string
		r         *http.Request
		status    int
	}{
		{"no JSON", "SerializationException", jsonRequest("SendMessage", "{"), 400},
		{"a number for a string", "SerializationException", jsonRequest("SendMessage", `{"MessageBody":1}`), 400},
		{"a string for a number", "SerializationException", jsonRequest("ReceiveMessage", `{"QueueUrl":"/000000000000/q","WaitTimeSeconds":"1"}`), 400},
		{"no such operation", "UnknownOperationException", jsonRequest("Sing", "{}"), 400},
		{"8 MB", "RequestEntityTooLarge", jsonRequest("SendMessage", `{"MessageBody":"`+strings.Repeat("x", maxRequest)+`"}`), 413},
		{"no address", "InvalidAddress", jsonRequest("PurgeQueue", `{"QueueUrl":"q"}`), 404},
		{"another project's queue", "QueueDoesNotExist", jsonRequest("PurgeQueue", `{"QueueUrl":"http://h/111111111111/q"}`), 400},
	} {
		w := serve(s, "", c.r)
		if w.Code != c.status || !strings.Contains(w.Body.String(), "#"+c.typ+`"`) {
			t.Errorf("%s: %d %s", c.what, w.Code, w.Body)
		}
	}
	for _, c := range []struct {
		form url.Values
		code string
	}{
		{url.Values{}, "MissingAction"}, {url.Values{"Action": {"Sing"}}, "InvalidAction"},
		{url.Values{"Action": {"ReceiveMessage"}, "QueueUrl": {"/000000000000/q"}, "WaitTimeSeconds": {"x"}}, "MalformedInput"},
		{url.Values{"Action": {"SendMessage"}, "MessageBody": {"a"}, "QueueUrl": {"/000000000000/q"}, "MessageAttribute.1.Name": {"a"}, "MessageAttribute.1.Value.BinaryValue": {"%"}}, "MalformedInput"},
	} {
		if w := serve(s, "", formRequest("/", c.form)); w.Code != 400 || !strings.Contains(w.Body.String(), "<Code>"+c.code+"</Code>") {
			t.Errorf("%v: %d %s", c.form, w.Code, w.Body)
		}
	}
}

// The path of a request names its queue, in both protocols, and a GET is as good as a POST.
func TestPath(t *testing.T) {
	s := newService(t)
	if w := serve(s, "", jsonRequest("CreateQueue", `{"QueueName":"q"}`)); w.Body.String() != `{"QueueUrl":"http://queues.test/000000000000/q"}` {
		t.Fatal(w.Body)
	}
	if w := serve(s, "", httptest.NewRequest(http.MethodGet, "http://queues.test/000000000000/q?Action=SendMessage&MessageBody=hello+there", nil)); w.Code != 200 {
		t.Error(w.Body)
	}
	r := jsonRequest("ReceiveMessage", "{}")
	r.URL.Path = "/000000000000/q"
	if w := serve(s, "", r); !strings.Contains(w.Body.String(), `"Body":"hello there"`) {
		t.Error(w.Body)
	}
	if w := serve(s, "", formRequest("/000000000000/q", url.Values{"Action": {"DeleteQueue"}})); w.Code != 200 {
		t.Error(w.Body)
	}
}

// The trace of a request goes on with its message.
func TestTrace(t *testing.T) {
	s := newService(t)
	serve(s, "", jsonRequest("CreateQueue", `{"QueueName":"q"}`))
	r := jsonRequest("SendMessage", `{"QueueUrl":"/000000000000/q","MessageBody":"a"}`)
	r.Header.Set("X-Amzn-Trace-Id", "Root=1-3152b799-8954dae64eda91bc9a23a7e8")
	if w := serve(s, "", r); w.Code != 200 || strings.Contains(w.Body.String(), "MD5OfMessageSystemAttributes") {
		t.Error(w.Body)
	}
	w := serve(s, "", jsonRequest("ReceiveMessage", `{"QueueUrl":"/000000000000/q","AttributeNames":["AWSTraceHeader"]}`))
	if !strings.Contains(w.Body.String(), `"Attributes":{"AWSTraceHeader":"Root=1-3152b799-8954dae64eda91bc9a23a7e8"}`) {
		t.Error(w.Body)
	}
}

// A client that has gone does not take what comes.
func TestGone(t *testing.T) {
	s := newService(t)
	serve(s, "", jsonRequest("CreateQueue", `{"QueueName":"q"}`))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.ServeHTTP(w, r.WithContext(awsapi.WithCall(r.Context(), callers[""], "id")))
	}))
	defer server.Close()
	client := &http.Client{Timeout: 50 * time.Millisecond, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := http.NewRequest(http.MethodPost, server.URL, strings.NewReader(`{"QueueUrl":"/000000000000/q","WaitTimeSeconds":20}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = jsonRequest("ReceiveMessage", "").Header
	if resp, err := client.Do(r); err == nil {
		resp.Body.Close()
		t.Fatal("there was an answer")
	}
	server.Close() // waits until the handler has ended
	serve(s, "", jsonRequest("SendMessage", `{"QueueUrl":"/000000000000/q","MessageBody":"for another"}`))
	if w := serve(s, "", jsonRequest("ReceiveMessage", `{"QueueUrl":"/000000000000/q"}`)); !strings.Contains(w.Body.String(), "for another") {
		t.Error(w.Body)
	}
}

func FuzzForm(f *testing.F) {
	f.Add("SendMessage", "QueueUrl=/0/q&MessageBody=x&MessageAttribute.1.Name=a&MessageAttribute.1.Value.StringValue=b")
	f.Add("SendMessageBatch", "SendMessageBatchRequestEntry.1.Id=a&SendMessageBatchRequestEntry.-1.Id=b&SendMessageBatchRequestEntry.x=y&.=&..=")
	s := New(hansom.DefaultRegion, nil, slog.New(slog.DiscardHandler))
	f.Fuzz(func(t *testing.T, op, query string) {
		form, err := url.ParseQuery(query)
		if err != nil || actions[op] == nil {
			return
		}
		_, _ = s.decode(op, form) // must not panic
	})
}
