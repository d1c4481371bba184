-- +goose Up
CREATE TABLE gateway_apis (
    id       TEXT NOT NULL PRIMARY KEY, -- the first label of its host
    project  TEXT NOT NULL,
    document TEXT NOT NULL              -- JSON of API
);
CREATE INDEX gateway_apis_project ON gateway_apis (project, id);
CREATE TABLE gateway_snapshots (
    api      TEXT NOT NULL,
    id       TEXT NOT NULL, -- of the deployment
    document TEXT NOT NULL, -- JSON of Snapshot
    PRIMARY KEY (api, id)
);
CREATE TABLE gateway_domains (
    name     TEXT NOT NULL PRIMARY KEY,
    project  TEXT NOT NULL,
    document TEXT NOT NULL -- JSON of Domain
);
CREATE INDEX gateway_domains_project ON gateway_domains (project, name);

-- +goose Down
DROP TABLE gateway_apis;
DROP TABLE gateway_snapshots;
DROP TABLE gateway_domains;
