package lookup

import (
	"log/slog"
	"time"
)

// Options are what the tables in files have in common.
type Options struct {
	// Logger is told of bad lines, of reloads and of files that cannot be read.
	// nil is silent.
	Logger *slog.Logger
	// Check is how often at most the file is looked at for changes. 0 means
	// every second; a negative one never, then Reload does it.
	Check time.Duration
	// Bare is the value of lines that hold nothing but a key, for files that
	// are lists. "" means that such lines are skipped as faulty.
	Bare string
	// MatchTime is how long one lookup in a pcre table, or in a regexp table with back
	// references, may take before it fails. A
	// pattern that backtracks is stopped then; as it may have begun just before, a
	// lookup can take twice that. 0 means a second.
	MatchTime time.Duration
	// Inspect is asked what else is wrong with a text of a File that comes into
	// force, beside what the table sees by itself, and returns *LineErrors. They
	// are logged and kept as the table's own, and change nothing. It is called
	// from one goroutine at a time for each File. nil finds nothing.
	Inspect func(file, text string) []error
}

// interval returns how often the file is looked at; 0 means never.
func (o Options) interval() time.Duration {
	switch {
	case o.Check < 0:
		return 0
	case o.Check == 0:
		return time.Second
	}
	return o.Check
}

// limit returns how long a lookup among patterns may take.
func (o Options) limit() time.Duration {
	if o.MatchTime <= 0 {
		return time.Second
	}
	return o.MatchTime
}

func (o Options) logger() *slog.Logger {
	if o.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Logger
}
