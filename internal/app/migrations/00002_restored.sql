-- +goose Up
ALTER TABLE app_deployment ADD COLUMN restored BIGINT NOT NULL DEFAULT 0; -- the deployment that a rollback went back to

-- +goose Down
ALTER TABLE app_deployment DROP COLUMN restored;
