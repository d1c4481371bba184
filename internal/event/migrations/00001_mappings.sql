-- +goose Up
CREATE TABLE event_mappings (
    id        TEXT   NOT NULL PRIMARY KEY,
    project   TEXT   NOT NULL,
    source    TEXT   NOT NULL, -- ARN of the queue
    name      TEXT   NOT NULL, -- of the function
    qualifier TEXT   NOT NULL, -- '' when the function was named without
    enabled   BIGINT NOT NULL, -- 0 or 1
    settings  TEXT   NOT NULL, -- JSON
    tags      TEXT   NOT NULL, -- JSON
    created   BIGINT NOT NULL,
    modified  BIGINT NOT NULL,
    UNIQUE (project, source, name, qualifier)
);
