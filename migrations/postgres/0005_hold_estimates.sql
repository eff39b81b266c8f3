-- What a call is charged for if its instance is lost before it can tell: its hold becomes a charge.
ALTER TABLE budget_holds ADD COLUMN model TEXT NOT NULL DEFAULT '';
ALTER TABLE budget_holds ADD COLUMN provider TEXT NOT NULL DEFAULT '';
ALTER TABLE budget_holds ADD COLUMN likely_input_tokens BIGINT NOT NULL DEFAULT 0;
ALTER TABLE budget_holds ADD COLUMN likely_output_tokens BIGINT NOT NULL DEFAULT 0;
ALTER TABLE budget_holds ADD COLUMN likely_cost_nanos BIGINT NOT NULL DEFAULT 0;
ALTER TABLE budget_holds ADD COLUMN likely_call_micros BIGINT NOT NULL DEFAULT 0;

CREATE INDEX budget_holds_of_run ON budget_holds (run_id);
