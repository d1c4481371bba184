-- +goose Up
ALTER TABLE functions ADD COLUMN tags TEXT NOT NULL DEFAULT '{}'; -- JSON
