-- +goose Up
CREATE TABLE endpoint_connections (
    project     TEXT   NOT NULL,
    name        TEXT   NOT NULL,
    id          TEXT   NOT NULL, -- of this connection: one that is made again under the name has another
    kind        TEXT   NOT NULL, -- BASIC, API_KEY, OAUTH_CLIENT_CREDENTIALS
    state       TEXT   NOT NULL,
    reason      TEXT   NOT NULL,
    description TEXT   NOT NULL,
    auth        TEXT   NOT NULL, -- JSON, sealed
    created     BIGINT NOT NULL,
    modified    BIGINT NOT NULL,
    authorized  BIGINT NOT NULL, -- 0 for never
    PRIMARY KEY (project, name)
);

CREATE TABLE endpoint_destinations (
    project     TEXT   NOT NULL,
    name        TEXT   NOT NULL,
    id          TEXT   NOT NULL,
    connection  TEXT   NOT NULL, -- ARN
    url         TEXT   NOT NULL,
    method      TEXT   NOT NULL,
    rate        BIGINT NOT NULL, -- requests a second
    description TEXT   NOT NULL,
    created     BIGINT NOT NULL,
    modified    BIGINT NOT NULL,
    PRIMARY KEY (project, name)
);

-- +goose Down
DROP TABLE endpoint_destinations;
DROP TABLE endpoint_connections;
