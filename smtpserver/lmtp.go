package smtpserver

import (
	"sync"

	"github.com/emersion/go-smtp"
)

// statuses collects what an LMTPSession says of single recipients. Sessions that
// deliver to several at a time may say it from several goroutines.
type statuses struct {
	mu    sync.Mutex
	names []string
	errs  []error
	set   []bool
}

func newStatuses(names []string) *statuses {
	return &statuses{names: names, errs: make([]error, len(names)), set: make([]bool, len(names))}
}

// SetStatus sets the result of the first recipient of this name that has none.
func (s *statuses) SetStatus(name string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, n := range s.names {
		if n == name && !s.set[i] {
			s.errs[i], s.set[i] = err, true
			return
		}
	}
}

// answerEach sends a reply per recipient, in the order of their RCPT (RFC 2033,
// section 4.2). It reports whether one of them was taken.
func (c *Conn) answerEach(d delivery) (taken bool) {
	for i, name := range c.tx.names {
		err := d.err
		if d.each != nil && d.each.set[i] {
			err = d.each.errs[i]
		}
		r := okReply
		if told := c.replyOf(err); told != nil {
			r = coded(told)
		}
		c.send(&smtp.SMTPError{Code: r.Code, EnhancedCode: r.EnhancedCode, Message: "<" + name + "> " + r.Message})
		taken = taken || r.Code/100 == 2
	}
	return taken
}
