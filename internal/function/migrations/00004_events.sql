-- +goose Up
-- How events are retried, and where they go.
CREATE TABLE function_event_configs (
    project    TEXT   NOT NULL,
    name       TEXT   NOT NULL,
    qualifier  TEXT   NOT NULL, -- '$LATEST', a version or an alias
    retries    BIGINT NOT NULL, -- -1: not said
    age        BIGINT NOT NULL, -- seconds; 0: not said
    on_success TEXT   NOT NULL, -- ARN or ''
    on_failure TEXT   NOT NULL,
    modified   BIGINT NOT NULL,
    PRIMARY KEY (project, name, qualifier)
);
