-- +goose Up
-- Version numbers are never used twice, not even when all versions were deleted: these rows stay.
CREATE TABLE layer_numbers (
    project TEXT   NOT NULL,
    name    TEXT   NOT NULL,
    last    BIGINT NOT NULL,
    PRIMARY KEY (project, name)
);

CREATE TABLE layer_versions (
    project       TEXT   NOT NULL,
    name          TEXT   NOT NULL,
    number        BIGINT NOT NULL,
    sha256        TEXT   NOT NULL, -- of the zip, hex
    size          BIGINT NOT NULL, -- of the zip, bytes
    description   TEXT   NOT NULL,
    license       TEXT   NOT NULL,
    runtimes      TEXT   NOT NULL, -- JSON, 'null' when none were given
    architectures TEXT   NOT NULL, -- JSON, 'null' when none were given
    statements    TEXT   NOT NULL, -- JSON: its resource policy
    revision_id   TEXT   NOT NULL, -- of the policy
    created       BIGINT NOT NULL,
    PRIMARY KEY (project, name, number)
);
