-- +goose Up
CREATE TABLE auth_project (
    id      TEXT PRIMARY KEY,
    slug    TEXT NOT NULL UNIQUE,
    created BIGINT NOT NULL
);
CREATE TABLE auth_key (
    id      TEXT PRIMARY KEY,
    project TEXT NOT NULL,
    name    TEXT NOT NULL,
    secret  TEXT NOT NULL, -- AES-256-GCM, base64
    created BIGINT NOT NULL
);
CREATE INDEX auth_key_project ON auth_key (project);
