package filespool

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/emersion/go-smtp"
)

// room remembers for a second how much fits.
type room struct {
	mu           sync.Mutex
	asked        time.Time
	bytes, files uint64
	err          error
}

// minFiles is how many files must still fit: a message that is deferred needs
// nothing new, but an undo log and a reason in corrupt/ do.
const minFiles = 100

func (s *Spool) checkRoom(size int64) error {
	if s.MinFree < 0 {
		return nil
	}
	r := &s.room
	r.mu.Lock()
	defer r.mu.Unlock()
	if since := time.Since(r.asked); since < 0 || since > time.Second || r.asked.IsZero() {
		r.bytes, r.files, r.err = s.FS.Free(s.dir)
		r.asked = time.Now()
	}
	if r.err != nil {
		return reply(fmt.Errorf("free space of %s: %w", s.dir, r.err))
	}
	size = max(size, 0)
	if need := uint64(s.MinFree) + uint64(size) + uint64(size)/2; r.bytes < need || r.files < minFiles {
		return reply(fmt.Errorf("%s has %d bytes and %d files left: %w", s.dir, r.bytes, r.files, syscall.ENOSPC))
	}
	return nil
}

// reply wraps a failure together with the answer for the client: 452 4.3.1 when
// the disk is full or cannot be written, 451 4.3.0 otherwise.
func reply(err error) error {
	var known *smtp.SMTPError
	if err == nil || errors.As(err, &known) {
		return err
	}
	answer := &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "Error: queue file write error"}
	if full(err) {
		answer = &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 3, 1}, Message: "Insufficient system storage"}
	}
	return fmt.Errorf("filespool: %w: %w", answer, err)
}

// full tells whether an error says that nothing more can be written.
func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EROFS)
}

// memory is what the drafts of a spool may still take.
type memory struct{ left atomic.Int64 }

func (m *memory) take(n int) bool {
	if m.left.Add(-int64(n)) >= 0 {
		return true
	}
	m.left.Add(int64(n))
	return false
}

func (m *memory) give(n int) { m.left.Add(int64(n)) }
