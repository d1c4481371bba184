-- +goose Up
ALTER TABLE functions ADD COLUMN recursion TEXT NOT NULL DEFAULT 'Terminate'; -- or Allow
ALTER TABLE function_versions ADD COLUMN update_runtime_on TEXT NOT NULL DEFAULT 'Auto'; -- or FunctionUpdate, Manual
ALTER TABLE function_versions ADD COLUMN runtime_arn TEXT NOT NULL DEFAULT ''; -- with Manual
