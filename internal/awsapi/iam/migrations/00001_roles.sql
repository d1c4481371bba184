-- +goose Up
CREATE TABLE iam_roles (
    project     TEXT NOT NULL,
    name        TEXT NOT NULL,
    folded      TEXT NOT NULL, -- lower case: names of roles differ in more than their case
    path        TEXT NOT NULL,
    id          TEXT NOT NULL,
    trust       TEXT NOT NULL,
    description TEXT NOT NULL,
    max_session BIGINT NOT NULL, -- seconds
    tags        TEXT NOT NULL, -- JSON object
    created     BIGINT NOT NULL,
    PRIMARY KEY (project, name),
    UNIQUE (project, folded)
);

CREATE TABLE iam_role_policies (
    project  TEXT NOT NULL,
    role     TEXT NOT NULL,
    name     TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (project, role, name)
);

CREATE TABLE iam_role_attachments (
    project TEXT NOT NULL,
    role    TEXT NOT NULL,
    arn     TEXT NOT NULL,
    PRIMARY KEY (project, role, arn)
);
