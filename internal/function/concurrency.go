package function

import (
	"context"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

// minUnreserved is what reservations must leave to the functions without one.
const minUnreserved = 100

// totalCodeSize is AWS's quota for the packages of all versions, in bytes. It is reported, not enforced.
const totalCodeSize = 75 << 30

// PutConcurrency reserves part of the project's concurrency for a function, and limits it to that; 0 stops it.
// Errors: NotFound; Invalid when fewer than 100 would stay unreserved, or it is less than the function's provisioned concurrency.
func (s *Service) PutConcurrency(ctx context.Context, project, name string, reserved int) error {
	if reserved < 0 {
		return hansom.Errorf(hansom.Invalid, "reserve concurrency", "the reserved concurrency %d is less than 0", reserved)
	}
	return s.db.Write(ctx, func(tx *db.Tx) error {
		if _, err := s.latest(ctx, tx, project, name); err != nil {
			return err
		}
		others, own, err := s.taken(ctx, tx, project, name)
		if err != nil {
			return err
		}
		if reserved < own {
			return hansom.Errorf(hansom.Invalid, "reserve concurrency", " ReservedConcurrentExecutions  %d should not be lower than function's total provisioned concurrency [%d].", reserved, own)
		}
		if reserved > 0 && hansom.MaxConcurrency-others-reserved < minUnreserved {
			return hansom.Errorf(hansom.Invalid, "reserve concurrency", "Specified ReservedConcurrentExecutions for function decreases "+
				"account's UnreservedConcurrentExecution below its minimum value of [%d].", minUnreserved)
		}
		note(tx, project, name)
		return exec(ctx, tx, "reserve concurrency", []any{reserved, project, name}, `UPDATE functions SET reserved = ? WHERE project = ? AND name = ?`)
	})
}

// GetConcurrency is the reserved concurrency of a function, -1 when it has none. Errors: NotFound.
func (s *Service) GetConcurrency(ctx context.Context, project, name string) (int, error) {
	r, err := s.latest(ctx, s.db.Read(), project, name)
	return r.Reserved, err
}

// DeleteConcurrency gives the reservation back. Errors: NotFound.
func (s *Service) DeleteConcurrency(ctx context.Context, project, name string) error {
	return s.db.Write(ctx, func(tx *db.Tx) error {
		if _, err := s.latest(ctx, tx, project, name); err != nil {
			return err
		}
		note(tx, project, name)
		return exec(ctx, tx, "release concurrency", []any{project, name}, `UPDATE functions SET reserved = -1 WHERE project = ? AND name = ?`)
	})
}

// AccountSettings reports the limits of a project and what it uses.
func (s *Service) AccountSettings(ctx context.Context, project string) (AccountSettings, error) {
	taken, _, err := s.taken(ctx, s.db.Read(), project, "")
	if err != nil {
		return AccountSettings{}, err
	}
	a := AccountSettings{TotalCodeSize: totalCodeSize, CodeSizeUnzipped: hansom.MaxUnpacked, CodeSizeZipped: hansom.MaxZipInline,
		ConcurrentExecutions: hansom.MaxConcurrency, UnreservedConcurrency: hansom.MaxConcurrency - taken}
	err = s.db.Read().QueryRowContext(ctx, `SELECT COALESCE(CAST(SUM(code_size) AS BIGINT), 0), COUNT(DISTINCT name) FROM function_versions WHERE project = ?`,
		project).Scan(&a.UsedCodeSize, &a.FunctionCount)
	if err != nil {
		return AccountSettings{}, failed("read usage", err)
	}
	return a, nil
}

// taken is what all functions of a project but one have reserved, or have provisioned without a reservation; own is what that one has
// provisioned.
func (s *Service) taken(ctx context.Context, q db.Querier, project, except string) (others, own int, err error) {
	if others, err = reservedSum(ctx, q, project, except); err != nil {
		return 0, 0, err
	}
	sums, err := s.prepared.Sums(ctx, q, project)
	for name, n := range sums {
		if e := s.view.find(project, name); name != except && e != nil && e.reserved < 0 {
			others += n
		}
	}
	return others, sums[except], err
}

// reservedSum is what all functions of a project but one have reserved.
func reservedSum(ctx context.Context, q db.Querier, project, except string) (int, error) {
	var sum int
	err := q.QueryRowContext(ctx, `SELECT COALESCE(CAST(SUM(reserved) AS BIGINT), 0) FROM functions WHERE project = ? AND name <> ? AND reserved > 0`,
		project, except).Scan(&sum)
	if err != nil {
		return 0, failed("read reserved concurrency", err)
	}
	return sum, nil
}
