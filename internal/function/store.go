package function

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

// record is a row of function_versions.
type record struct {
	Function
	number int64  // 0 is $LATEST
	origin string // of a published version: content() of $LATEST at that time
	loops  bool   // RecursiveLoop is Allow
}

// settings is what of a version is kept as JSON.
type settings struct {
	Description  string            `json:"description,omitempty"`
	Runtime      string            `json:"runtime"`
	Handler      string            `json:"handler"`
	Role         string            `json:"role"`
	Memory       int               `json:"memory"`
	Ephemeral    int               `json:"ephemeral"`
	Timeout      time.Duration     `json:"timeout"` // nanoseconds
	Environment  map[string]string `json:"environment"`
	Architecture string            `json:"architecture"`
	TracingMode  string            `json:"tracingMode"`
	logging
	SnapStart   bool           `json:"snapStart,omitempty"`
	Layers      []hansom.Layer `json:"layers,omitempty"` // left out where they are not set, as what follows, so that content() is as it was
	Concurrency int            `json:"concurrency,omitempty"`
	Ready       string         `json:"ready,omitempty"`
	Egress      string         `json:"egress,omitempty"`
	DeadLetter  string         `json:"deadLetter,omitempty"`
}

// logging is hansom.Logging as it is stored.
type logging struct {
	Format      string `json:"logFormat"`
	Application string `json:"applicationLogLevel,omitempty"`
	System      string `json:"systemLogLevel,omitempty"`
	Group       string `json:"logGroup,omitempty"`
}

func (r *record) settings() settings {
	return settings{r.Description, r.Runtime, r.Handler, r.Role, r.Memory, r.Ephemeral, r.Timeout, r.Environment,
		r.Architecture, r.TracingMode, logging(r.Logging), r.SnapStart, r.Layers, r.Concurrency, r.Ready, r.Egress, r.DeadLetter}
}

func (r *record) apply(s settings) {
	r.Description, r.Runtime, r.Handler, r.Role = s.Description, s.Runtime, s.Handler, s.Role
	r.Memory, r.Ephemeral, r.Timeout, r.Environment = s.Memory, s.Ephemeral, s.Timeout, s.Environment
	r.Architecture, r.TracingMode, r.Logging, r.SnapStart = s.Architecture, s.TracingMode, hansom.Logging(s.logging), s.SnapStart
	r.Layers, r.Concurrency, r.Ready, r.Egress, r.DeadLetter = s.Layers, s.Concurrency, s.Ready, s.Egress, s.DeadLetter
}

// content is a digest of code and configuration: two versions with the same one do the same.
func (r *record) content() string {
	b, err := json.Marshal(r.settings())
	if err != nil {
		panic(err) // strings and numbers always encode
	}
	sum := sha256.Sum256(append(b, r.CodeSHA256...))
	return hex.EncodeToString(sum[:])
}

func (r *record) pending() bool {
	return r.State == StatePending || r.LastUpdateStatus == UpdateInProgress
}

func numberOf(version string) (int64, bool) {
	if version == hansom.Latest {
		return 0, true
	}
	n, err := strconv.ParseInt(version, 10, 64)
	return n, err == nil && n > 0 && strconv.FormatInt(n, 10) == version
}

func versionName(number int64) string {
	if number == 0 {
		return hansom.Latest
	}
	return strconv.FormatInt(number, 10)
}

func failed(op string, err error) error {
	return hansom.Errorf(hansom.KindOf(err), op, "%w", err)
}

const selectRecords = `SELECT v.project, v.name, v.number, v.revision, v.revision_id, v.code_sha256, v.code_size, v.settings, v.origin,
	v.state, v.state_reason, v.state_code, v.update_status, v.update_reason, v.update_code, v.modified, f.app, f.reserved, f.recursion
	FROM function_versions v JOIN functions f ON f.project = v.project AND f.name = v.name `

// records runs selectRecords with the rest of the statement.
func (s *Service) records(ctx context.Context, q db.Querier, rest string, args ...any) ([]record, error) {
	rows, err := q.QueryContext(ctx, selectRecords+rest, args...)
	if err != nil {
		return nil, failed("read versions", err)
	}
	defer rows.Close()
	var list []record
	for rows.Next() {
		var r record
		var text, recursion string
		var modified int64
		if err := rows.Scan(&r.Project, &r.Version.Function, &r.number, &r.Revision, &r.RevisionID, &r.CodeSHA256, &r.CodeSize, &text, &r.origin,
			&r.State, &r.StateReason, &r.StateReasonCode, &r.LastUpdateStatus, &r.LastUpdateStatusReason, &r.LastUpdateStatusReasonCode,
			&modified, &r.App, &r.Reserved, &recursion); err != nil {
			return nil, failed("read versions", err)
		}
		var set settings
		if err := json.Unmarshal([]byte(text), &set); err != nil {
			return nil, failed("read versions", err)
		}
		r.apply(set)
		r.loops = recursion == recursionAllow
		r.Region, r.Number, r.LastModified = s.cfg.Region, versionName(r.number), time.UnixMicro(modified).UTC()
		r.FunctionARN, r.RuntimeARN = s.arn(r.Project, r.Version.Function, ""), s.runtimes.RuntimeARN(r.Runtime)
		list = append(list, r)
	}
	if err := rows.Err(); err != nil {
		return nil, failed("read versions", err)
	}
	return list, nil
}

// record reads one version; ok is false when it is not there.
func (s *Service) record(ctx context.Context, q db.Querier, project, name string, number int64) (r record, ok bool, err error) {
	list, err := s.records(ctx, q, `WHERE v.project = ? AND v.name = ? AND v.number = ?`, project, name, number)
	if err != nil || len(list) == 0 {
		return record{}, false, err
	}
	return list[0], true, nil
}

// latest reads $LATEST, or fails with "Function not found".
func (s *Service) latest(ctx context.Context, q db.Querier, project, name string) (record, error) {
	r, ok, err := s.record(ctx, q, project, name, 0)
	if err == nil && !ok {
		err = s.notFound(project, name, "")
	}
	return r, err
}

// save writes a version, new or not, and notes the change.
func (s *Service) save(ctx context.Context, tx *db.Tx, r *record) error {
	text, err := json.Marshal(r.settings())
	if err != nil {
		return failed("write version", err)
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO function_versions (project, name, number, revision, revision_id, code_sha256, code_size, settings,
			origin, state, state_reason, state_code, update_status, update_reason, update_code, modified)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (project, name, number) DO UPDATE SET revision = excluded.revision, revision_id = excluded.revision_id,
			code_sha256 = excluded.code_sha256, code_size = excluded.code_size, settings = excluded.settings, origin = excluded.origin,
			state = excluded.state, state_reason = excluded.state_reason, state_code = excluded.state_code,
			update_status = excluded.update_status, update_reason = excluded.update_reason, update_code = excluded.update_code,
			modified = excluded.modified`,
		r.Project, r.Version.Function, r.number, r.Revision, r.RevisionID, r.CodeSHA256, r.CodeSize, string(text), r.origin,
		r.State, r.StateReason, r.StateReasonCode, r.LastUpdateStatus, r.LastUpdateStatusReason, r.LastUpdateStatusReasonCode, r.LastModified.UnixMicro())
	if err != nil {
		return failed("write version", err)
	}
	r.RuntimeARN = s.runtimes.RuntimeARN(r.Runtime)
	note(tx, r.Project, r.Version.Function)
	return nil
}

// note announces that something about a function has changed.
func note(tx *db.Tx, project, name string) { tx.Changed(domain, project+"/"+name) }

// noted is the reverse of note.
func noted(key string) (project, name string) {
	project, name, _ = strings.Cut(key, "/")
	return project, name
}

// exec runs statements that all take the same arguments.
func exec(ctx context.Context, tx *db.Tx, op string, args []any, statements ...string) error {
	for _, statement := range statements {
		if _, err := tx.ExecContext(ctx, statement, args...); err != nil {
			return failed(op, err)
		}
	}
	return nil
}

// lastNumber is the number of the version that was published last, 0 when none was.
func lastNumber(ctx context.Context, tx *db.Tx, project, name string) (int64, error) {
	var n int64
	err := tx.QueryRowContext(ctx, `SELECT last FROM function_numbers WHERE project = ? AND name = ?`, project, name).Scan(&n)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, failed("read version number", err)
	}
	return n, nil
}

func (s *Service) arn(project, name, qualifier string) string {
	return hansom.FunctionARN(s.cfg.Region, project, name, qualifier)
}

func (s *Service) notFound(project, name, qualifier string) error {
	return hansom.Errorf(hansom.NotFound, "find function", "Function not found: %s", s.arn(project, name, qualifier))
}

// noResource is what AWS answers where it does not tell what is missing.
func noResource() error {
	return hansom.Errorf(hansom.NotFound, "find function", "The resource you requested does not exist.")
}

func checkRevision(want, have string) error {
	if want == "" || want == have {
		return nil
	}
	return hansom.Errorf(hansom.Precondition, "check revision",
		"The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id")
}
