-- +goose Up
ALTER TABLE app_deployment ADD COLUMN layers TEXT NOT NULL DEFAULT 'null'; -- that its functions had, JSON

-- +goose Down
ALTER TABLE app_deployment DROP COLUMN layers;
