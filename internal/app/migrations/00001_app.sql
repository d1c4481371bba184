-- +goose Up
CREATE TABLE app (
    project    TEXT   NOT NULL,
    name       TEXT   NOT NULL,
    deployment BIGINT NOT NULL, -- number of the current one
    created_at BIGINT NOT NULL,
    PRIMARY KEY (project, name)
);

CREATE TABLE app_deployment (
    project    TEXT   NOT NULL,
    app        TEXT   NOT NULL,
    number     BIGINT NOT NULL, -- counts up from 1
    manifest   TEXT   NOT NULL, -- resolved, JSON
    actor      TEXT   NOT NULL, -- ARN of who applied it
    created_at BIGINT NOT NULL,
    PRIMARY KEY (project, app, number)
);

-- +goose Down
DROP TABLE app_deployment;
DROP TABLE app;
