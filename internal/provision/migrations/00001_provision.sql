-- +goose Up
CREATE TABLE provision_configs (
    project   TEXT   NOT NULL,
    name      TEXT   NOT NULL, -- of the function
    qualifier TEXT   NOT NULL, -- a version or an alias; '$LATEST' for what an app asks for
    requested BIGINT NOT NULL, -- concurrent executions
    modified  BIGINT NOT NULL,
    PRIMARY KEY (project, name, qualifier)
);
