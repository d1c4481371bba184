-- +goose Up
ALTER TABLE queues ADD COLUMN app TEXT NOT NULL DEFAULT ''; -- that made it

-- +goose Down
ALTER TABLE queues DROP COLUMN app;
