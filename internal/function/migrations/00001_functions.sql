-- +goose Up
CREATE TABLE functions (
    project  TEXT   NOT NULL,
    name     TEXT   NOT NULL,
    app      TEXT   NOT NULL, -- '' when it was made through the Lambda API
    reserved BIGINT NOT NULL, -- -1: none
    created  BIGINT NOT NULL,
    PRIMARY KEY (project, name)
);
CREATE INDEX functions_app ON functions (project, app);

-- Version numbers are never used twice, not even by a function that was deleted and made again: these rows stay.
CREATE TABLE function_numbers (
    project TEXT   NOT NULL,
    name    TEXT   NOT NULL,
    last    BIGINT NOT NULL,
    PRIMARY KEY (project, name)
);

CREATE TABLE function_versions (
    project       TEXT   NOT NULL,
    name          TEXT   NOT NULL,
    number        BIGINT NOT NULL, -- 0: $LATEST
    revision      TEXT   NOT NULL, -- of code and configuration
    revision_id   TEXT   NOT NULL, -- of everything, as the Lambda API has it
    code_sha256   TEXT   NOT NULL, -- hex
    code_size     BIGINT NOT NULL,
    settings      TEXT   NOT NULL, -- JSON
    origin        TEXT   NOT NULL, -- digest of what $LATEST was when this version was published; '' for $LATEST
    state         TEXT   NOT NULL,
    state_reason  TEXT   NOT NULL,
    state_code    TEXT   NOT NULL,
    update_status TEXT   NOT NULL,
    update_reason TEXT   NOT NULL,
    update_code   TEXT   NOT NULL,
    modified      BIGINT NOT NULL,
    PRIMARY KEY (project, name, number)
);

CREATE TABLE function_aliases (
    project     TEXT NOT NULL,
    name        TEXT NOT NULL,
    alias       TEXT NOT NULL,
    version     TEXT NOT NULL,
    description TEXT NOT NULL,
    weights     TEXT NOT NULL, -- JSON
    revision_id TEXT NOT NULL,
    PRIMARY KEY (project, name, alias)
);

CREATE TABLE function_policies (
    project     TEXT NOT NULL,
    name        TEXT NOT NULL,
    qualifier   TEXT NOT NULL, -- '' for the function itself
    statements  TEXT NOT NULL, -- JSON
    revision_id TEXT NOT NULL,
    PRIMARY KEY (project, name, qualifier)
);

CREATE TABLE function_urls (
    id          TEXT   NOT NULL PRIMARY KEY,
    project     TEXT   NOT NULL,
    name        TEXT   NOT NULL,
    qualifier   TEXT   NOT NULL, -- '' or an alias
    auth_type   TEXT   NOT NULL,
    invoke_mode TEXT   NOT NULL,
    cors        TEXT   NOT NULL, -- JSON, 'null' for none
    created     BIGINT NOT NULL,
    modified    BIGINT NOT NULL,
    UNIQUE (project, name, qualifier)
);
