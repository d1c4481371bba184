package function

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

// change sets the fields that by has, and the defaults of those that belong to the format.
func (l *logging) change(function string, by hansom.Logging) error {
	l.Format, l.Group = cmp.Or(by.Format, l.Format, LogText), cmp.Or(by.Group, l.Group)
	if l.Group == "/aws/lambda/"+function {
		l.Group = ""
	}
	if l.Format == LogJSON {
		l.Application = cmp.Or(by.Application, l.Application, defaultLogLevel)
		l.System = cmp.Or(by.System, l.System, defaultLogLevel)
		return nil
	}
	l.Application, l.System = "", ""
	if by.Application != "" || by.System != "" {
		return hansom.Errorf(hansom.Invalid, "check logging", `LogLevel is not supported when LogFormat is set to "Text". `+
			`Remove LogLevel from your request or change the LogFormat to "JSON" and try again.`)
	}
	return nil
}

// hasSnapStart says whether AWS has SnapStart for a runtime: Java 11, Python 3.12, .NET 8 and newer.
func hasSnapStart(runtime string) bool {
	for prefix, least := range map[string]int{"java": 11, "python3.": 12, "dotnet": 8} {
		var n int
		if rest, ok := strings.CutPrefix(runtime, prefix); ok {
			_, err := fmt.Sscanf(rest, "%d", &n)
			return err == nil && n >= least
		}
	}
	return false
}

// RuntimeManagement says when a version moves to a newer version of its runtime. It is kept and reported: what the host has runs.
type RuntimeManagement struct {
	FunctionARN string
	UpdateOn    string // "Auto", "FunctionUpdate" or "Manual"
	RuntimeARN  string // with "Manual", else ""
}

// GetRuntimeManagement reads that of $LATEST ("" too) or of a published version. Errors: NotFound.
func (s *Service) GetRuntimeManagement(ctx context.Context, project, name, version string) (RuntimeManagement, error) {
	number, ok := numberOf(cmp.Or(version, hansom.Latest))
	if !ok {
		return RuntimeManagement{}, s.notFound(project, name, version)
	}
	m := RuntimeManagement{FunctionARN: s.arn(project, name, version)}
	err := s.db.Read().QueryRowContext(ctx, `SELECT update_runtime_on, runtime_arn FROM function_versions WHERE project = ? AND name = ? AND number = ?`,
		project, name, number).Scan(&m.UpdateOn, &m.RuntimeARN)
	return m, s.noRow(err, project, name, version)
}

// PutRuntimeManagement sets it. Errors: NotFound; Invalid for a runtime version that the host does not have, or one without
// "Manual"; Conflict while the function is being created or updated.
func (s *Service) PutRuntimeManagement(ctx context.Context, project, name, version, updateOn, runtimeARN string) (RuntimeManagement, error) {
	const op = "manage runtime"
	number, ok := numberOf(cmp.Or(version, hansom.Latest))
	if !ok {
		return RuntimeManagement{}, s.notFound(project, name, version)
	}
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		r, ok, err := s.record(ctx, tx, project, name, number)
		switch {
		case err != nil:
			return err
		case !ok:
			return s.notFound(project, name, version)
		case updateOn == runtimeManual && runtimeARN == "":
			return hansom.Errorf(hansom.Invalid, op, "RuntimeVersionArn is required when UpdateRuntimeOn is Manual.")
		case updateOn != runtimeManual && runtimeARN != "":
			return hansom.Errorf(hansom.Invalid, op, "RuntimeVersionArn is not allowed when UpdateRuntimeOn is %s.", updateOn)
		case updateOn == runtimeManual && runtimeARN != r.RuntimeARN:
			return hansom.Errorf(hansom.Invalid, op, "The runtime version %s does not exist here. %s runs on %s.", runtimeARN, r.Runtime, r.RuntimeARN)
		}
		if err := s.settled(&r); err != nil {
			return err
		}
		return exec(ctx, tx, op, []any{updateOn, runtimeARN, project, name, number},
			`UPDATE function_versions SET update_runtime_on = ?, runtime_arn = ? WHERE project = ? AND name = ? AND number = ?`)
	})
	return RuntimeManagement{s.arn(project, name, version), updateOn, runtimeARN}, err
}

// recursionAllow lets functions call themselves in a loop.
const recursionAllow = "Allow"

// GetRecursion is what happens when a function calls itself in a loop, "Allow" or "Terminate". Errors: NotFound.
func (s *Service) GetRecursion(ctx context.Context, project, name string) (string, error) {
	var recursion string
	err := s.db.Read().QueryRowContext(ctx, `SELECT recursion FROM functions WHERE project = ? AND name = ?`, project, name).Scan(&recursion)
	return recursion, s.noRow(err, project, name, "")
}

func (s *Service) noRow(err error, project, name, qualifier string) error {
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return s.notFound(project, name, qualifier)
	case err != nil:
		return failed("read function", err)
	}
	return nil
}

// PutRecursion sets it. Errors: NotFound.
func (s *Service) PutRecursion(ctx context.Context, project, name, recursion string) error {
	return s.db.Write(ctx, func(tx *db.Tx) error {
		if _, err := s.latest(ctx, tx, project, name); err != nil {
			return err
		}
		note(tx, project, name)
		return exec(ctx, tx, "set recursion", []any{recursion, project, name}, `UPDATE functions SET recursion = ? WHERE project = ? AND name = ?`)
	})
}
