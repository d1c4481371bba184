-- +goose Up
ALTER TABLE event_mappings ADD COLUMN app TEXT NOT NULL DEFAULT ''; -- that made it

-- +goose Down
ALTER TABLE event_mappings DROP COLUMN app;
