-- +goose Up
CREATE TABLE hansom_changes ( -- on PostgreSQL, for the other processes
    revision BIGINT NOT NULL PRIMARY KEY,
    domain   TEXT   NOT NULL,
    keys     TEXT   NOT NULL -- JSON
);

-- +goose Down
DROP TABLE hansom_changes;
