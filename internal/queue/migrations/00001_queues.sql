-- +goose Up
CREATE TABLE queues (
    project    TEXT   NOT NULL,
    name       TEXT   NOT NULL,
    id         TEXT   NOT NULL, -- of this queue: one that is made again under the name has another
    attributes TEXT   NOT NULL, -- JSON, those that were set
    tags       TEXT   NOT NULL, -- JSON
    created    BIGINT NOT NULL,
    modified   BIGINT NOT NULL,
    PRIMARY KEY (project, name)
);

CREATE TABLE queue_moves (
    id          TEXT   NOT NULL,
    project     TEXT   NOT NULL,
    source      TEXT   NOT NULL, -- name of the queue
    destination TEXT   NOT NULL, -- ARN; '' moves each message to where it came from
    rate        BIGINT NOT NULL, -- messages a second; 0: as fast as it goes
    status      TEXT   NOT NULL,
    failure     TEXT   NOT NULL,
    moved       BIGINT NOT NULL,
    total       BIGINT NOT NULL,
    started     BIGINT NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX queue_moves_source ON queue_moves (project, source);

-- +goose Down
DROP TABLE queue_moves;
DROP TABLE queues;
