-- +goose Up
CREATE TABLE hansom_revision (
    id       BIGINT PRIMARY KEY,
    revision BIGINT NOT NULL
);
INSERT INTO hansom_revision (id, revision) VALUES (1, 0);
