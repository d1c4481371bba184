-- +goose Up
CREATE TABLE throttle_usage (
    project TEXT   NOT NULL,
    plan    TEXT   NOT NULL,
    api_key TEXT   NOT NULL,
    day     BIGINT NOT NULL, -- since 1970, of UTC
    used    BIGINT NOT NULL,
    granted BIGINT NOT NULL, -- requests that do not count
    PRIMARY KEY (plan, api_key, day)
);
CREATE INDEX throttle_usage_day ON throttle_usage (day);
CREATE INDEX throttle_usage_project ON throttle_usage (project);

-- +goose Down
DROP TABLE throttle_usage;
