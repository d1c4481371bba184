-- +goose Up
CREATE TABLE archives (
    project     TEXT   NOT NULL,
    name        TEXT   NOT NULL,
    id          TEXT   NOT NULL, -- of this archive: one that is made again under the name has another
    bus         TEXT   NOT NULL, -- name
    description TEXT   NOT NULL,
    pattern     TEXT   NOT NULL, -- '' for all events
    retention   BIGINT NOT NULL, -- days; 0 for ever
    events      BIGINT NOT NULL, -- how many it has
    bytes       BIGINT NOT NULL, -- of these together
    created     BIGINT NOT NULL,
    PRIMARY KEY (project, name)
);

CREATE TABLE archived_events (
    archive TEXT   NOT NULL, -- id
    time    BIGINT NOT NULL, -- of the event
    id      TEXT   NOT NULL, -- of the event
    body    TEXT   NOT NULL, -- JSON
    PRIMARY KEY (archive, time, id)
);

CREATE TABLE deleted_archives ( -- whose events are to be deleted
    id TEXT NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE replays (
    project     TEXT   NOT NULL,
    name        TEXT   NOT NULL,
    archive     TEXT   NOT NULL, -- id
    source      TEXT   NOT NULL, -- name of the archive
    bus         TEXT   NOT NULL, -- name
    filters     TEXT   NOT NULL, -- JSON, ARNs of rules
    description TEXT   NOT NULL,
    since       BIGINT NOT NULL, -- of events
    until       BIGINT NOT NULL, -- of events
    state       TEXT   NOT NULL,
    reason      TEXT   NOT NULL,
    last_time   BIGINT NOT NULL, -- of the event that was sent last; 0 for none
    last_id     TEXT   NOT NULL,
    started     BIGINT NOT NULL,
    ended       BIGINT NOT NULL, -- 0 while it runs
    PRIMARY KEY (project, name)
);

-- +goose Down
DROP TABLE replays;
DROP TABLE deleted_archives;
DROP TABLE archived_events;
DROP TABLE archives;
