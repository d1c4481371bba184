package db

import (
	"context"
	"encoding/json"

	"github.com/hansomcloud/hansom"
)

// Documents reads the JSON documents that a query of one column finds.
func Documents[T any](ctx context.Context, q Querier, query string, args ...any) (list []*T, err error) {
	defer func() {
		if err != nil {
			list, err = nil, hansom.Errorf(hansom.KindOf(err), "read documents", "%w", err)
		}
	}()
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var text []byte
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		var x T
		if err := json.Unmarshal(text, &x); err != nil {
			return nil, err
		}
		list = append(list, &x)
	}
	return list, rows.Err()
}

// Document is v, whose fields always encode, as Documents reads it.
func Document(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}
