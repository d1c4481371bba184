package cloudevent

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/textproto"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hansomcloud/hansom"
)

var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// request is a case of testdata/requests.txt.
type request struct {
	name   string
	header http.Header
	body   []byte
	want   string
}

func requests(t testing.TB) (list []request) {
	t.Helper()
	text, err := os.ReadFile("testdata/requests.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range strings.Split("\n"+string(text), "\n=== ")[1:] {
		name, c, _ := strings.Cut(c, "\n")
		in, want, ok := strings.Cut(c+"\n", "---\n")
		head, body, ok2 := strings.Cut(in, "\n\n")
		h, err := textproto.NewReader(bufio.NewReader(strings.NewReader(head + "\n\n"))).ReadMIMEHeader()
		if !ok || !ok2 || err != nil {
			t.Fatal(name, err)
		}
		list = append(list, request{name, http.Header(h), []byte(strings.TrimSuffix(body, "\n")), strings.TrimSpace(want)})
	}
	return list
}

// A request is on the bus as the file says, and comes back from there as it was.
func TestRequests(t *testing.T) {
	kinds := map[string]hansom.Kind{"Invalid": hansom.Invalid, "Unsupported": hansom.Unsupported}
	for _, c := range requests(t) {
		t.Run(c.name, func(t *testing.T) {
			events, err := Read(c.header, c.body)
			if kind, text, _ := strings.Cut(c.want, ": "); kinds[kind] != 0 {
				if hansom.KindOf(err) != kinds[kind] || !strings.Contains(err.Error(), text) {
					t.Fatalf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for i := range events {
				onBus, err := events[i].ToBus("000000000000", "us-east-1", noon)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, string(onBus))
				back, ok := FromBus(onBus)
				again, err := back.ToBus("000000000000", "us-east-1", noon.Add(time.Hour))
				if !ok || err != nil || string(again) != string(onBus) {
					t.Errorf("back and again: %v %v %s", ok, err, again)
				}
			}
			if text := strings.Join(got, "\n"); text != c.want {
				t.Errorf("\ngot  %s\nwant %s", text, c.want)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	header := func(more ...string) http.Header {
		h := http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Source": {"s"}, "Ce-Type": {"t"}}
		for i := 0; i < len(more); i += 2 {
			h.Set(more[i], more[i+1])
		}
		return h
	}
	if _, err := Read(header("Ce-Subject", strings.Repeat("x", MaxAttributes)), nil); hansom.KindOf(err) != hansom.TooLarge {
		t.Error(err)
	}
	if _, err := Read(header("Ce-Type", strings.Repeat("é", MaxType)), nil); err != nil {
		t.Error(err)
	}
	if _, err := Read(header("Ce-Type", strings.Repeat("x", MaxType+1)), nil); hansom.KindOf(err) != hansom.Invalid {
		t.Error(err)
	}
	size := func(n int) error {
		events, err := Read(header(), []byte(`{"a":"`+strings.Repeat("x", n)+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		text, err := events[0].ToBus("000000000000", "us-east-1", noon)
		if err == nil && len(text) != n+len(`{"version":"0","id":"1","detail-type":"t","source":"s","account":"000000000000","time":"2026-11-30T12:00:00Z","region":"us-east-1","resources":[],"detail":{"a":""}}`) {
			t.Error(len(text))
		}
		return err
	}
	if err := size(MaxSize - 166); err != nil {
		t.Error(err)
	}
	if err := size(MaxSize); hansom.KindOf(err) != hansom.TooLarge {
		t.Error(err)
	}
}

func TestFromBus(t *testing.T) {
	e, ok := FromBus([]byte(`{"version":"0","id":"i","detail-type":"EC2 Instance State-change Notification","source":"aws.ec2","account":"123456789012",
		"time":"2026-11-30T21:29:54Z","region":"eu-west-1","resources":["arn:aws:ec2:x","arn \" é"],"detail":{"state":"pending"},"replay-name":"again"}`))
	if !ok {
		t.Fatal("it is none")
	}
	h := http.Header{}
	e.Binary(h)
	want := http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"i"}, "Ce-Source": {"aws.ec2"}, "Ce-Type": {"EC2 Instance State-change Notification"},
		"Ce-Time": {"2026-11-30T21:29:54Z"}, "Ce-Awsaccount": {"123456789012"}, "Ce-Awsregion": {"eu-west-1"}, "Ce-Replayname": {"again"},
		"Ce-Awsresources": {`[%22arn:aws:ec2:x%22,%22arn \%22 %C3%A9%22]`}, "Content-Type": {"application/json"}}
	if !reflect.DeepEqual(h, want) || string(e.Data) != `{"state":"pending"}` {
		t.Errorf("%v %s", h, e.Data)
	}
	for _, none := range []string{
		``, `{}`, `[]`, `"detail-type"`, `{"detail-type":"t"`,
		`{"version":"0","id":"i","detail-type":"t","source":"s"}`,
		`{"version":"0","id":"i","detail-type":"t","source":"s","Detail":{}}`,
		`{"version":"0","id":1,"detail-type":"t","source":"s","detail":{}}`,
		`{"version":"0","id":"","detail-type":"t","source":"s","detail":{}}`,
		`{"version":"0","id":"i","detail-type":"a\nb","source":"s","detail":{},"cloudevent":{"subject":"a\nb"}}`,
		`{"version":"0","id":"i","detail-type":"t","source":"s","detail":{},"cloudevent":{"x":[]}}`,
		`{"version":"0","id":"i","detail-type":"t","source":"s","detail":{},"cloudevent":{"data_in":"data"}}`,
		`{"version":"0","id":"i","detail-type":"t","source":"s","detail":{},"cloudevent":{"data_in":1}}`,
		`{"version":"0","id":"i","detail-type":"t","source":"s","detail":{},"resources":["` + strings.Repeat("x", MaxAttributes) + `"]}`,
	} {
		if e, ok := FromBus([]byte(none)); ok {
			t.Errorf("%s: %+v", none, e)
		}
	}
}

// Nothing of an event is lost on the way to a bus and to a function, whatever it is.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[ -~é€😀]{1,20}`)
		e := Event{ID: word.Draw(t, "id"), Source: rapid.StringMatching(`[a-z. %é]{1,20}`).Draw(t, "source"), Type: word.Draw(t, "type")}
		if strings.Contains(e.Source, "%") {
			e.Source = strings.ReplaceAll(e.Source, "%", "%41")
		}
		e.Subject = rapid.SampledFrom([]string{"", "x", " a b ", `"q"`, "100%", "%41"}).Draw(t, "subject")
		e.Time = rapid.SampledFrom([]string{"", "2018-04-05T17:31:00Z", "2018-04-05T17:31:00.5Z", "2018-04-05T17:31:00-07:00"}).Draw(t, "time")
		e.DataSchema = rapid.SampledFrom([]string{"", "urn:x"}).Draw(t, "dataschema")
		for _, name := range rapid.SliceOfN(rapid.StringMatching(`x[a-z0-9]{0,8}`), 0, 3).Draw(t, "names") {
			if e.Extensions == nil {
				e.Extensions = map[string]any{}
			}
			e.Extensions[name] = rapid.OneOf(rapid.Just(any(true)), rapid.Map(rapid.Int32(), func(n int32) any { return n }), rapid.Map(word, func(s string) any { return s })).Draw(t, "value")
		}
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			e.ContentType = "application/json"
			e.Data = []byte(rapid.SampledFrom([]string{`{}`, `{"data":"x"}`, `[1]`, `null`, `"x"`, `1.50`}).Draw(t, "json"))
		case 1:
			e.ContentType, e.Data = "text/plain; charset=utf-8", []byte(rapid.String().Draw(t, "text"))
		case 2:
			e.ContentType, e.Data = "image/png", rapid.SliceOfN(rapid.Byte(), 1, 9).Draw(t, "bytes")
		}
		onBus, err := e.ToBus("000000000000", "us-east-1", noon)
		if err != nil {
			t.Fatal(err)
		}
		back, ok := FromBus(onBus)
		if !ok {
			t.Fatalf("%s is no event", onBus)
		}
		delete(back.Extensions, account)
		delete(back.Extensions, region)
		if len(back.Extensions) == 0 {
			back.Extensions = nil
		}
		if e.Time == "" {
			back.Time = ""
		}
		if !reflect.DeepEqual(back, e) {
			t.Fatalf("from the bus:\ngot  %+v\nwant %+v", back, e)
		}
		h := http.Header{}
		e.Binary(h)
		for name, value := range e.Extensions {
			e.Extensions[name] = fmt.Sprint(value) // a header has strings
		}
		events, err := Read(h, e.Data)
		if len(e.Data) == 0 {
			e.Data = nil
		}
		if err != nil || !reflect.DeepEqual(events[0], e) {
			t.Fatalf("from the header:\ngot  %+v %v\nwant %+v", events, err, e)
		}
	})
}

// Whatever comes, it is read or refused with a reason; what is read has a place on the bus and comes back from there.
func FuzzRead(f *testing.F) {
	for _, c := range requests(f) {
		var head strings.Builder
		if err := c.header.Write(&head); err != nil {
			f.Fatal(err)
		}
		f.Add(head.String(), c.body)
	}
	f.Fuzz(func(t *testing.T, head string, body []byte) {
		h, err := textproto.NewReader(bufio.NewReader(strings.NewReader(head + "\r\n"))).ReadMIMEHeader()
		if err != nil {
			return
		}
		events, err := Read(http.Header(h), body)
		if err != nil {
			if k := hansom.KindOf(err); k != hansom.Invalid && k != hansom.Unsupported && k != hansom.TooLarge {
				t.Error(err)
			}
			return
		}
		for i := range events {
			onBus, err := events[i].ToBus("000000000000", "us-east-1", noon)
			if err != nil {
				if hansom.KindOf(err) != hansom.TooLarge {
					t.Error(err)
				}
				continue
			}
			if !json.Valid(onBus) {
				t.Errorf("%s is no JSON", onBus)
			}
			back, ok := FromBus(onBus)
			if !ok && events[i].size() < MaxAttributes-200 {
				t.Fatalf("%s is no event", onBus)
			}
			if ok {
				if again, err := back.ToBus("000000000000", "us-east-1", noon); err != nil || string(again) != string(onBus) {
					t.Errorf("%v\n%s\n%s", err, onBus, again)
				}
			}
		}
	})
}
