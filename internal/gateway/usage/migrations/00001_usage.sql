-- +goose Up
CREATE TABLE usage_keys (
    id       TEXT NOT NULL PRIMARY KEY,
    project  TEXT NOT NULL,
    digest   TEXT NOT NULL, -- of the value, with a key of the server's
    sealed   TEXT NOT NULL, -- the value, encrypted
    document TEXT NOT NULL, -- JSON of Key
    UNIQUE (project, digest)
);
CREATE TABLE usage_plans (
    id       TEXT NOT NULL PRIMARY KEY,
    project  TEXT NOT NULL,
    document TEXT NOT NULL -- JSON of Plan
);
CREATE INDEX usage_plans_project ON usage_plans (project, id);
CREATE TABLE usage_plan_keys (
    plan    TEXT NOT NULL,
    id      TEXT NOT NULL, -- of the key
    project TEXT NOT NULL,
    PRIMARY KEY (plan, id)
);
CREATE INDEX usage_plan_keys_id ON usage_plan_keys (id);

-- +goose Down
DROP TABLE usage_keys;
DROP TABLE usage_plans;
DROP TABLE usage_plan_keys;
