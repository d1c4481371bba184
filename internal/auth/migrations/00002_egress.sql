-- +goose Up
ALTER TABLE auth_project ADD COLUMN egress TEXT NOT NULL DEFAULT ''; -- of functions that do not say; '' is the server's
