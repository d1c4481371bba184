-- +goose Up
CREATE TABLE schedules (
    project    TEXT   NOT NULL,
    grp        TEXT   NOT NULL,
    name       TEXT   NOT NULL,
    app        TEXT   NOT NULL, -- that made it; '' for none
    expression TEXT   NOT NULL,
    zone       TEXT   NOT NULL,
    starts     BIGINT NOT NULL, -- 0 for no StartDate
    ends       BIGINT NOT NULL, -- 0 for no EndDate
    phase      BIGINT NOT NULL, -- when a rate() begins that has no StartDate
    enabled    BIGINT NOT NULL, -- 0 or 1
    settings   TEXT   NOT NULL, -- JSON
    created    BIGINT NOT NULL,
    modified   BIGINT NOT NULL,
    PRIMARY KEY (project, grp, name)
);
CREATE INDEX schedules_app ON schedules (project, app);
CREATE TABLE schedule_groups (
    project  TEXT   NOT NULL,
    name     TEXT   NOT NULL,
    state    TEXT   NOT NULL, -- ACTIVE or DELETING
    tags     TEXT   NOT NULL, -- JSON
    created  BIGINT NOT NULL,
    modified BIGINT NOT NULL,
    PRIMARY KEY (project, name)
);
CREATE TABLE schedule_tokens (
    project TEXT   NOT NULL,
    token   TEXT   NOT NULL, -- ClientToken of a request that was carried out
    digest  TEXT   NOT NULL, -- of the request
    used    BIGINT NOT NULL,
    PRIMARY KEY (project, token)
);
CREATE INDEX schedule_tokens_used ON schedule_tokens (used);

-- +goose Down
DROP TABLE schedules;
DROP TABLE schedule_groups;
DROP TABLE schedule_tokens;
