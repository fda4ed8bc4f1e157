// Package disk is what the spool and the Maildir agent ask of the operating
// system beyond package os, and how callers that wait for the disk share a sync.
package disk

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// Whole is a file system all of whose files are synced by one call.
type Whole struct{ f *os.File }

// Close gives the descriptor back.
func (w *Whole) Close() error { return w.f.Close() }

// linkMove moves by a second name, where the system has no rename that refuses
// to replace.
func linkMove(name, other string) error {
	if err := os.Link(name, other); err != nil {
		return err
	}
	return os.Remove(name)
}

// escape wraps os.Root's refusal, for which package os exports no sentinel (Go
// 1.26), in ErrEscape.
func escape(err error) error {
	if err == nil || errors.Is(err, ErrEscape) || !strings.Contains(err.Error(), "path escapes from parent") {
		return err
	}
	return fmt.Errorf("%w: %w", ErrEscape, err)
}
