-- +goose Up
CREATE TABLE buses ( -- the default bus has a row once something of it was set
    project  TEXT   NOT NULL,
    name     TEXT   NOT NULL,
    settings TEXT   NOT NULL, -- JSON
    policy   TEXT   NOT NULL, -- JSON document, '' for none
    tags     TEXT   NOT NULL, -- JSON
    created  BIGINT NOT NULL,
    modified BIGINT NOT NULL,
    PRIMARY KEY (project, name)
);

CREATE TABLE rules (
    project  TEXT   NOT NULL,
    bus      TEXT   NOT NULL,
    name     TEXT   NOT NULL,
    app      TEXT   NOT NULL, -- that made it; '' for the EventBridge API
    pattern  TEXT   NOT NULL, -- '' for none
    schedule TEXT   NOT NULL, -- '' for none
    settings TEXT   NOT NULL, -- JSON: state, description, role
    targets  TEXT   NOT NULL, -- JSON
    tags     TEXT   NOT NULL, -- JSON
    created  BIGINT NOT NULL,
    PRIMARY KEY (project, bus, name)
);
CREATE INDEX rules_app ON rules (project, app);

-- +goose Down
DROP TABLE rules;
DROP TABLE buses;
