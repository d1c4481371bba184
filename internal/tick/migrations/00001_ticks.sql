-- +goose Up
CREATE TABLE tick_ticks (
    owner TEXT   NOT NULL,
    name  TEXT   NOT NULL,
    due   BIGINT NOT NULL,
    lease BIGINT NOT NULL, -- nobody else may fire it until then; 0 for none
    PRIMARY KEY (owner, name)
);
CREATE INDEX tick_due ON tick_ticks (owner, due);

-- +goose Down
DROP TABLE tick_ticks;
