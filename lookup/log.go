package lookup

import (
	"context"
	"log/slog"
	"time"
)

// Log tells of each lookup in a table: at LevelDebug, and at LevelWarn when the
// table fails.
type Log struct {
	Name   string       // of the table, "mysql:virtual"; "" means none
	Table  LookupTable  // required
	Logger *slog.Logger // nil means silence
	Secret bool         // values are passwords; false logs them
}

// Lookup asks the table.
func (t Log) Lookup(ctx context.Context, key string) (value string, ok bool, err error) {
	start := time.Now()
	value, ok, err = t.Table.Lookup(ctx, key)
	t.tell(ctx, key, value, ok, err, time.Since(start))
	return value, ok, err
}

// LookupPartial asks the table for a part of a key.
func (t Log) LookupPartial(ctx context.Context, key string) (value string, ok bool, err error) {
	start := time.Now()
	value, ok, err = LookupPartial(ctx, t.Table, key)
	t.tell(ctx, key, value, ok, err, time.Since(start))
	return value, ok, err
}

func (t Log) tell(ctx context.Context, key, value string, ok bool, err error, took time.Duration) {
	switch {
	case t.Logger == nil:
	case err != nil:
		t.Logger.WarnContext(ctx, "table cannot answer", "table", t.Name, "key", key, "took", took, "error", err)
	case t.Secret && ok:
		t.Logger.DebugContext(ctx, "lookup", "table", t.Name, "key", key, "took", took, "found", ok)
	default:
		t.Logger.DebugContext(ctx, "lookup", "table", t.Name, "key", key, "took", took, "found", ok, "value", value)
	}
}

// FullKeyOnly reports whether the table takes whole keys only.
func (t Log) FullKeyOnly() bool { return FullKeyOnly(t.Table) }
