-- +goose Up
-- Asynchronous invocations that were accepted and have not ended. Times are microseconds.
CREATE TABLE invoke_events (
    id        TEXT   NOT NULL PRIMARY KEY, -- request id
    project   TEXT   NOT NULL,
    name      TEXT   NOT NULL, -- of the function
    qualifier TEXT   NOT NULL,
    trace     TEXT   NOT NULL,
    payload   BYTEA  NOT NULL,
    failures  BIGINT NOT NULL, -- attempts that the function ended with an error
    accepted  BIGINT NOT NULL,
    due       BIGINT NOT NULL  -- of the next attempt
);
CREATE INDEX invoke_events_due ON invoke_events (project, name, due);
