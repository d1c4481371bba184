package iam

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
)

const trust = `{"Version":"2012-10-17","Statement":[]}`

// call sends one action as project and returns the status and what is inside the result, or the error.
func call(t *testing.T, s http.Handler, project, form string) (int, string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r = r.WithContext(awsapi.WithCall(r.Context(), hansom.Principal{Kind: hansom.Root, Project: project}, "id"))
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	text := w.Body.String()
	for _, volatile := range []string{`<RoleId>(AROA[A-Z2-7]{17})</RoleId>`, `<CreateDate>(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)</CreateDate>`} {
		for _, m := range regexp.MustCompile(volatile).FindAllStringSubmatch(text, -1) {
			text = strings.Replace(text, m[1], "*", 1)
		}
	}
	if m := regexp.MustCompile(`<(\w+)Result>(.*)</\w+Result>`).FindStringSubmatch(text); m != nil {
		text = m[2]
	} else if m := regexp.MustCompile(`<Error><Type>Sender</Type>(.*)</Error>`).FindStringSubmatch(text); m != nil {
		text = m[1]
	} else if w.Code == http.StatusOK {
		text = ""
	}
	return w.Code, text
}

// TestActions plays the script in testdata/roles.json, one action a row, on both engines.
func TestActions(t *testing.T) {
	text, err := os.ReadFile("testdata/roles.json")
	if err != nil {
		t.Fatal(err)
	}
	var steps []struct {
		Project, Answer string
		Form            map[string]string
		Status          int
	}
	if err := json.Unmarshal(text, &steps); err != nil {
		t.Fatal(err)
	}
	dbtest.Each(t, func(t *testing.T, database *db.DB) {
		s, err := New(t.Context(), database, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		for i, step := range steps {
			form := url.Values{}
			for k, v := range step.Form {
				form.Set(k, v)
			}
			if step.Project == "" {
				step.Project = hansom.DefaultProject
			}
			status, answer := call(t, s, step.Project, form.Encode())
			if status != step.Status || answer != step.Answer {
				t.Errorf("step %d, %v\ngot  %d %s\nwant %d %s", i+1, step.Form, status, answer, step.Status, step.Answer)
			}
		}
	})
}

func TestPages(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.DB) {
		s, err := New(t.Context(), database, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			if status, answer := call(t, s, "1", fmt.Sprintf("Action=CreateRole&RoleName=r%d&AssumeRolePolicyDocument=%s", i, url.QueryEscape(trust))); status != http.StatusOK {
				t.Fatal(answer)
			}
		}
		var names []string
		for marker := ""; ; {
			_, answer := call(t, s, "1", "Action=ListRoles&MaxItems=2&Marker="+marker)
			for _, m := range regexp.MustCompile(`<RoleName>(\w+)</RoleName>`).FindAllStringSubmatch(answer, -1) {
				names = append(names, m[1])
			}
			m := regexp.MustCompile(`<IsTruncated>true</IsTruncated><Marker>(.+)</Marker>`).FindStringSubmatch(answer)
			if m == nil {
				break
			}
			marker = m[1]
		}
		if strings.Join(names, " ") != "r0 r1 r2 r3 r4" {
			t.Errorf("listed %v", names)
		}
	})
}

// What was acknowledged is there after the database was opened again.
func TestReopen(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, dbURL string) {
		open := func() (http.Handler, *db.DB) {
			database, err := db.Open(t.Context(), dbURL, nil)
			if err != nil {
				t.Fatal(err)
			}
			s, err := New(t.Context(), database, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			return s, database
		}
		s, database := open()
		_, made := call(t, s, "1", "Action=CreateRole&RoleName=r&AssumeRolePolicyDocument="+url.QueryEscape(trust))
		if err := database.Close(); err != nil {
			t.Fatal(err)
		}
		s, database = open()
		defer database.Close()
		if _, got := call(t, s, "1", "Action=GetRole&RoleName=r"); got != made || !strings.Contains(made, "<RoleName>r</RoleName>") {
			t.Errorf("made %s\ngot  %s", made, got)
		}
	})
}
